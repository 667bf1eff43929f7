"""Bus, session directory and durable log over NATS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.js import JetStreamContext
from nats.js.errors import APIError, KeyNotFoundError, NoStreamResponseError, NotFoundError
from nats.js.kv import KeyValue

from service_kit import bus as kit
from service_kit.settings import NatsSettings
from stream_gateway.engine.seams import BusMessage, BusUnavailable, SinkFull, Subscription

# JetStream's error codes for "no room": the stream's max_bytes, the account's or the server's storage.
_FULL = frozenset({10077, 10047, 10023, 10028})
_NO_RESPONDERS = "503"
JETSTREAM_SECONDS = 2.0
# How long a subscription that ends goes on listening for what was sent before the server knew.
UNSUBSCRIBE_SECONDS = 1.0
# NATS's own default for max_payload, and above what the frame writer makes.
MAX_FRAME_BYTES = 1024 * 1024
_T = TypeVar("_T")
_TRANSIENT = (nats.errors.Error, OSError, TimeoutError)


class NatsBus:
    """Implements `Bus`. Until `connect` has returned, it is a bus that is not connected."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._closing = False
        self._echo_subject = self.new_inbox()
        self._echo_numbers = itertools.count(1)
        self._echoes: dict[bytes, asyncio.Future[None]] = {}

    async def connect(
        self,
        settings: NatsSettings,
        name: str,
        on_disconnected: Callable[[], None],
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect, however long it takes.

        Args:
            settings: where NATS is.
            name: shown in NATS's connection list.
            on_disconnected: called whenever the connection is lost.
            on_closed: called when it is lost for good, other than by `close`.
        """

        async def disconnected() -> None:
            on_disconnected()

        async def closed() -> None:
            if not self._closing:
                on_closed()

        self._client = await kit.connect(settings, name=name, on_disconnected=disconnected, on_closed=closed)
        await self._client.subscribe(self._echo_subject, cb=self._echoed)

    async def close(self) -> None:
        """Send what is buffered and disconnect."""
        self._closing = True
        if self._client is not None:
            if self._client.is_connected:
                with contextlib.suppress(*_TRANSIENT):
                    await self._client.flush(1)
            with contextlib.suppress(*_TRANSIENT):
                await self._client.close()

    @property
    def client(self) -> Client:
        """The connection.

        Raises:
            BusUnavailable: there is none right now.
        """
        if self._client is None or not self._client.is_connected:
            raise BusUnavailable("not connected to NATS")
        return self._client

    @property
    def connected(self) -> bool:
        """See `Bus`."""
        return self._client is not None and self._client.is_connected

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """See `Bus`."""
        try:
            await self.client.publish(subject, data, reply=reply)
        except _TRANSIENT as error:
            raise BusUnavailable(str(error)) from error

    def post(self, subject: str, data: bytes) -> None:
        """See `Bus`. Saves the task, and so the turn of the loop, that awaiting `publish` would take."""
        if not self.connected:
            return
        publishing = self.client.publish(subject, data)
        try:
            publishing.send(None)
        except (StopIteration, *_TRANSIENT):
            return
        # It waits for room in nats-py's queue of flushes: the message is in the buffer, and a flush is on its way.
        publishing.close()

    async def subscribe(self, subject: str, handler: Callable[[BusMessage], None]) -> Subscription:
        """See `Bus`."""

        async def received(message: Msg) -> None:
            no_responders = not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS
            handler(BusMessage(message.subject, message.data, message.reply, no_responders))

        try:
            return _Subscription(self, await self.client.subscribe(subject, cb=received))
        except _TRANSIENT as error:
            raise BusUnavailable(str(error)) from error

    async def round_trip(self, timeout: float) -> None:  # noqa: ASYNC109  (see `Bus`)
        """See `Bus`."""
        # A message to ourselves. Not nats-py's `flush`: when its answer comes after the timeout, the task that reads
        # from the connection dies of it, and from then on `flush` succeeds without asking anybody.
        number = str(next(self._echo_numbers)).encode()
        echo = self._echoes[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self.publish(self._echo_subject, number)
                await echo
        except TimeoutError as error:
            raise BusUnavailable("no answer in time") from error
        finally:
            del self._echoes[number]

    async def _echoed(self, message: Msg) -> None:
        echo = self._echoes.get(message.data)
        if echo is not None and not echo.done():
            echo.set_result(None)

    def new_inbox(self) -> str:
        """See `Bus`."""
        return f"_INBOX.{secrets.token_hex(12)}"


class _Subscription:
    def __init__(self, bus: NatsBus, subscription: NatsSubscription) -> None:
        self._bus = bus
        self._subscription = subscription

    async def unsubscribe(self) -> None:
        """See `Subscription`."""
        # nats-py's own `unsubscribe` drops what the server has sent already, and who asked waits for nothing; its
        # `drain` never ends the subscription when the connection is lost meanwhile.
        with contextlib.suppress(BusUnavailable, *_TRANSIENT):
            await self._bus.client._send_unsubscribe(self._subscription._id)  # noqa: SLF001
            await self._bus.round_trip(UNSUBSCRIBE_SECONDS)
        with contextlib.suppress(*_TRANSIENT):
            await self._subscription.unsubscribe()


class NatsDirectory:
    """Implements `SessionDirectory`: a key per client, whose revision is the epoch."""

    def __init__(self, bus: NatsBus, settings: NatsSettings) -> None:
        self._bus = bus
        self._settings = settings
        self._bucket: KeyValue | None = None

    async def prepare(self) -> None:
        """Create or open the bucket."""
        js = self._bus.client.jetstream(timeout=JETSTREAM_SECONDS)
        self._bucket = await _reachable(kit.ensure_sessions_bucket(js, self._settings))

    async def claim(self, token: str, gateway_id: str) -> int:
        """See `SessionDirectory`."""
        try:
            return await self._open().put(token, gateway_id.encode())
        except (NotFoundError, NoStreamResponseError) as error:
            # JetStream answers and the bucket is gone: NATS came back without its files.
            await self.prepare()
            raise BusUnavailable(str(error)) from error
        except _TRANSIENT as error:
            raise BusUnavailable(str(error)) from error

    async def current_epoch(self, token: str) -> int:
        """See `SessionDirectory`."""
        try:
            entry = await self._open().get(token)
        except KeyNotFoundError:
            return 0
        except _TRANSIENT as error:
            raise BusUnavailable(str(error)) from error
        return entry.revision or 0

    def _open(self) -> KeyValue:
        if self._bucket is None or not self._bus.connected:
            raise BusUnavailable("not connected to NATS")
        return self._bucket


class FrameStream:
    """Implements `FrameSink`: the stream of frames."""

    def __init__(self, bus: NatsBus, settings: NatsSettings, subject: str) -> None:
        self._bus = bus
        self._settings = settings
        self._subject = subject
        self._js: JetStreamContext | None = None

    async def prepare(self) -> None:
        """Create or update the stream.

        Raises:
            ValueError: the server takes smaller messages than a frame can be.
        """
        if self._bus.client.max_payload < MAX_FRAME_BYTES:
            raise ValueError(
                f"NATS takes messages of {self._bus.client.max_payload} bytes; max_payload must be {MAX_FRAME_BYTES}"
            )
        js = self._bus.client.jetstream(timeout=JETSTREAM_SECONDS)
        await _reachable(kit.ensure_frames_stream(js, self._settings))
        self._js = js

    async def publish(self, frame_id: str, data: bytes) -> None:
        """See `FrameSink`."""
        if self._js is None or not self._bus.connected:
            raise BusUnavailable("not connected to NATS")
        try:
            await self._js.publish(self._subject, data, headers={"Nats-Msg-Id": frame_id})
        except NoStreamResponseError as error:
            # Nobody takes frames: JetStream is not up yet, or NATS came back without its files.
            await self.prepare()
            raise BusUnavailable(str(error)) from error
        except APIError as error:
            if error.err_code in _FULL:
                raise SinkFull(str(error)) from error
            raise BusUnavailable(str(error)) from error
        except _TRANSIENT as error:
            raise BusUnavailable(str(error)) from error


async def _reachable(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except _TRANSIENT as error:
        raise BusUnavailable(str(error)) from error
