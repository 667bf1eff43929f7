"""Every metric of the worker, declared once. No client ids in labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

FRAMES = Counter("worker_frames_total", "Frames that were written and acknowledged.")
MESSAGES = Counter("worker_messages_total", "Client messages in those frames, dead letters and duplicates included.")
REDELIVERIES = Counter("worker_redelivered_frames_total", "Frames that came for the second time or more.")
SUSPECTS = Counter("worker_suspect_frames_total", "Frames delivered so often that they were written alone.")
BATCH_MESSAGES = Histogram(
    "worker_batch_messages",
    "Client messages in a batch.",
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000),
)
COMMIT_SECONDS = Histogram(
    "worker_commit_seconds",
    "From the first statement of a batch to its commit, retries and outages included.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
ROWS = Counter("worker_rows_total", "Rows written, by table: inserted history, merged latest values.", ["table"])
DEAD_LETTERS = Counter("worker_dead_letters_total", "Dead letters written, by reason.", ["reason"])
RETRIES = Counter(
    "worker_retries_total",
    "Attempts to write that failed and are repeated (conflict, outage, timeout, schema).",
    ["cause"],
)
BISECTIONS = Counter(
    "worker_bisections_total", "Batches that were taken apart: a message is refused, or they take too long."
)
PENDING = Gauge("worker_consumer_pending", "Frames that no worker has been given yet. The same from every worker.")
ACK_PENDING = Gauge("worker_consumer_ack_pending", "Frames that workers have and did not acknowledge yet. Likewise.")
PRESENCE_SNAPSHOTS = Counter("worker_presence_snapshots_total", "Presence snapshots received, by outcome.", ["outcome"])
PRESENCE_CLIENTS = Counter("worker_presence_clients_total", "Clients whose presence was written.")
CONNECTED = Gauge("worker_connected", "1 while the dependency answered last time (nats, database).", ["to"])
