"""The connection to NATS, and the one home of subject, stream and bucket names.

Layout, for the namespace `crypto`:

| name | what |
|---|---|
| stream `crypto_frames`, subjects `crypto.frames.>` | the durable log: work queue, never drops |
| consumer `ingest` on it | shared by all workers |
| bucket `crypto_sessions` | client -> the gateway that holds it; an entry's revision is the session's epoch |
| `crypto.client.<token>` | requests to whichever gateway holds the client |
| `crypto.gateway.<id>.<verb>` | requests to one gateway |
| `crypto.presence` | snapshots of who is connected |
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from .settings import NatsSettings

log = logging.getLogger(__name__)

INGEST_CONSUMER = "ingest"
# Deliveries under way at once, over all workers: above workers x frames of a batch.
INGEST_MAX_ACK_PENDING = 20_000
# What a killed worker held comes to another one after this; a living one says that it is still at it.
INGEST_ACK_WAIT_SECONDS = 10.0
# Retries of a publish within this time are recognised by their Nats-Msg-Id.
DUPLICATE_WINDOW_SECONDS = 120.0


@dataclass(frozen=True)
class Subjects:
    """Every name on the bus, derived from the namespace."""

    namespace: str

    @property
    def frames_stream(self) -> str:
        """The durable log."""
        return f"{self.namespace}_frames"

    @property
    def sessions_bucket(self) -> str:
        """The session directory."""
        return f"{self.namespace}_sessions"

    @property
    def presence(self) -> str:
        """Snapshots of who is connected."""
        return f"{self.namespace}.presence"

    @property
    def frames_wildcard(self) -> str:
        """All subjects of the durable log."""
        return f"{self.namespace}.frames.>"

    def frames(self, gateway_id: str) -> str:
        """Where one gateway publishes its frames."""
        return f"{self.namespace}.frames.{gateway_id}"

    def client(self, token: str) -> str:
        """Requests to the holder of a client; `token` is the encoded client id."""
        return f"{self.namespace}.client.{token}"

    def gateway(self, gateway_id: str, verb: str) -> str:
        """Requests to one gateway."""
        return f"{self.namespace}.gateway.{gateway_id}.{verb}"


async def connect(
    settings: NatsSettings,
    *,
    name: str,
    on_disconnected: Callable[[], Awaitable[None]] | None = None,
    on_reconnected: Callable[[], Awaitable[None]] | None = None,
    on_closed: Callable[[], Awaitable[None]] | None = None,
) -> Client:
    """Connect to NATS, waiting for it as long as it takes; afterwards reconnect for ever.

    What is published while disconnected is refused at once instead of buffered, so that nothing is sent late under a
    stale claim.

    Args:
        settings: where NATS is.
        name: shown in NATS's connection list.
        on_disconnected: called when the connection is lost.
        on_reconnected: called when it is back; subscriptions have been renewed by then.
        on_closed: called when the connection is closed for good: by our own `close`, or because nats-py takes an error
            of the server (authentication expired, too many subscriptions) for final. Without it such a process would
            live on and do nothing.
    """
    client = Client()

    async def disconnected() -> None:
        log.warning("nats disconnected")
        # nats-py would send after the reconnect what the lost connection did not take any more; see above.
        client._pending = []  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        client._pending_data_size = 0  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if on_disconnected is not None:
            await on_disconnected()

    async def reconnected() -> None:
        log.info("nats reconnected")
        if on_reconnected is not None:
            await on_reconnected()

    async def failed(error: Exception) -> None:
        log.debug("nats error", extra={"error": repr(error)})

    await client.connect(
        servers=[url.strip() for url in settings.nats_url.split(",")],
        name=name,
        # With these, `connect` itself waits for the first contact, and a lost server is tried again and again.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # pyright: ignore[reportArgumentType]  (declared whole, used as any number)
        connect_timeout=2,
        # A silent server is given up after two missed pings.
        ping_interval=5,
        max_outstanding_pings=2,
        pending_size=0,
        flusher_queue_size=65_536,
        disconnected_cb=disconnected,
        reconnected_cb=reconnected,
        closed_cb=on_closed,
        error_cb=failed,
    )
    return client


async def ensure_frames_stream(js: JetStreamContext, settings: NatsSettings) -> None:
    """Create the durable log, or bring an existing one to these settings."""
    subjects = Subjects(settings.nats_namespace)
    config = StreamConfig(
        name=subjects.frames_stream,
        subjects=[subjects.frames_wildcard],
        storage=StorageType.FILE,
        retention=RetentionPolicy.WORK_QUEUE,
        # Full means "refuse", never "forget".
        discard=DiscardPolicy.NEW,
        max_bytes=settings.frames_max_bytes,
        max_age=0,
        num_replicas=settings.nats_replicas,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
    )
    try:
        await js.stream_info(subjects.frames_stream)
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)


async def ensure_ingest_consumer(js: JetStreamContext, settings: NatsSettings) -> None:
    """Create the one consumer that all workers share."""
    subjects = Subjects(settings.nats_namespace)
    await js.add_consumer(
        subjects.frames_stream,
        ConsumerConfig(
            durable_name=INGEST_CONSUMER,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=INGEST_ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=INGEST_MAX_ACK_PENDING,
        ),
    )


async def ensure_sessions_bucket(js: JetStreamContext, settings: NatsSettings) -> KeyValue:
    """Create or open the session directory."""
    subjects = Subjects(settings.nats_namespace)
    try:
        return await js.key_value(subjects.sessions_bucket)
    except NotFoundError:
        return await js.create_key_value(
            KeyValueConfig(
                bucket=subjects.sessions_bucket,
                history=1,
                storage=StorageType.FILE,
                replicas=settings.nats_replicas,
            )
        )
