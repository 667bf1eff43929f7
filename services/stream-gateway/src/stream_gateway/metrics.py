"""Every metric of the gateway, declared once. No client ids in labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from service_kit.loop_metrics import LoopCounter, LoopGauge, LoopHistogram

STREAMS_OPEN = Gauge("gateway_streams_open", "Registered client streams.")
CONNECTS = Counter(
    "gateway_connects_total", "Streams by how their registration went (opened, or why it was refused).", ["outcome"]
)
STREAM_ENDS = Counter("gateway_stream_ends_total", "Registered streams that ended, by why.", ["reason"])
TAKEOVERS = Counter(
    "gateway_takeovers_total",
    "Sessions that replaced an older one, by where that was (local, remote, unresponsive).",
    ["old_holder"],
)
COMMANDS = LoopCounter(
    "gateway_commands_total",
    "Commands by RPC (send, execute), path (local, remote, none) and outcome (ok, refused, or an error code).",
    ["rpc", "path", "outcome"],
)
COMMAND_SECONDS = LoopHistogram(
    "gateway_command_seconds",
    "From a command's arrival to its answer.",
    ["rpc"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
)
ACK_WAITS = LoopGauge("gateway_ack_waits", "Commands that wait for their client's ack here.")
UNKNOWN_ACKS = Counter("gateway_unknown_acks_total", "Acks for commands that nobody waits for.")
UNSENT_COMMANDS = Counter(
    "gateway_unsent_commands_total",
    "Queued commands that were never written: the stream ended, or they expired.",
    ["why"],
)
LATE_REQUESTS = Counter(
    "gateway_late_requests_total", "Requests of other gateways that came after their caller had given up; not obeyed."
)
MESSAGES = LoopCounter("gateway_messages_total", "Messages from clients by kind.", ["kind"])
MESSAGE_BYTES = LoopCounter("gateway_message_bytes_total", "Bytes of messages from clients.")
REJECTED = Counter("gateway_rejected_messages_total", "Messages that can not be stored, by reason.", ["reason"])
PAUSES = Counter(
    "gateway_read_pauses_total", "Times a stream was not read from because a budget was spent.", ["budget"]
)
PAUSED = Gauge("gateway_streams_paused", "Streams that are not read from right now.")
FRAMES = Counter("gateway_frames_total", "Frames made durable.")
FRAME_ENTRIES = Counter("gateway_frame_entries_total", "Entries made durable.")
FRAME_RETRIES = Counter(
    "gateway_frame_retries_total", "Publishes of a frame that failed and were tried again.", ["why"]
)
UNDURABLE_BYTES = Gauge("gateway_undurable_bytes", "Bytes taken from clients and not yet durable.")
FRAME_SECONDS = Histogram(
    "gateway_frame_seconds",
    "From the first publish of a frame to its confirmation: the receipts' lag.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60),
)
BUS_CONNECTED = Gauge("gateway_bus_connected", "1 while NATS answers.")
LEASE_LAPSES = Counter(
    "gateway_lease_lapses_total", "Times the sessions had to be checked again after silence from NATS."
)
STALE_SESSIONS = Counter("gateway_stale_sessions_total", "Sessions found superseded when checked after an outage.")
DRAINING = Gauge("gateway_draining", "1 while the process is leaving.")
