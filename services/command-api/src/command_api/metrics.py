"""Every metric of command-api, declared once."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "command_api_requests_total", "HTTP requests answered, by route pattern.", ["method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "command_api_request_seconds",
    "Time to answer an HTTP request; commands include the wait for the ack.",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120),
)
COMMANDS = Counter(
    "command_api_commands_total",
    "Commands sent. Outcome: acked, refused (by the client), or the code of the failure.",
    ["command", "outcome"],
)
WAITS = Gauge("command_api_waits_in_flight", "Requests that wait for an ack now.")
WAITS_REFUSED = Counter("command_api_waits_refused_total", "Requests answered 503 because too many waited already.")
READY = Gauge("command_api_ready", "1 once the database was reached and its schema found complete.")
