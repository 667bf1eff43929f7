"""A gateway that does what the test says: a real gRPC server, for tests of the client authors' half of the SDK."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from crypto_streaming import pb
from crypto_streaming.agent import CryptoClient

TIMEOUT = 10.0


class ClientStream:
    """One stream of a client, seen from the server.

    Attributes:
        raw: every message as it came, heartbeats too.
        gone: set when the stream has ended, whoever ended it.
        half_closed: set when the client will send no more.
        metadata: what the client sent when connecting.
    """

    def __init__(self, context: Any) -> None:
        self.raw: list[bytes] = []
        self.gone = asyncio.Event()
        self.half_closed = asyncio.Event()
        self.metadata: dict[str, Any] = dict(context.invocation_metadata())
        self._context = context
        self._received: asyncio.Queue[pb.ClientMessage] = asyncio.Queue()
        self._end: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()

    async def next(self, kind: str | None = None) -> pb.ClientMessage:
        """The next message of the client, which must be of that kind; heartbeats are passed over unless asked for."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                message = await self._received.get()
                payload = message.WhichOneof("payload")
                if payload == "heartbeat" != kind:
                    continue
                assert kind in {None, payload}, f"expected {kind}, got {message}"
                return message

    @property
    def unread(self) -> int:
        """How many messages came that `next` did not return yet."""
        return self._received.qsize()

    async def send(self, command: pb.DjangoCommand | bytes) -> None:
        """Send a command or a notice; bytes go out as they are."""
        await self._context.write(command)

    async def welcome(
        self,
        *,
        messages: int = 1000,
        size: int = 1 << 20,
        max_message: int = 256 * 1024,
        heartbeat: float = 30.0,
    ) -> pb.ClientMessage:
        """Take the registration, and welcome the client."""
        registration = await self.next("register")
        notice = pb.Welcome(
            gateway_id="scripted", epoch=1, window_messages=messages, window_bytes=size, max_message_bytes=max_message
        )
        notice.heartbeat_interval.FromNanoseconds(int(heartbeat * 1e9))
        await self.send(pb.DjangoCommand(welcome=notice))
        return registration

    async def receipt(self, *messages: pb.ClientMessage | str) -> None:
        """Tell the client that these are in the durable log."""
        ids = [message if isinstance(message, str) else message.message_id for message in messages]
        await self.send(pb.DjangoCommand(receipt=pb.MessageReceipt(message_ids=ids)))

    def end(self, status: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> None:
        """End the stream."""
        if not self._end.done():
            self._end.set_result((status, details))

    async def serve(self) -> None:
        """The handler's body."""
        reader = asyncio.create_task(self._read())
        try:
            status, details = await self._end
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            self.gone.set()
        if status is not grpc.StatusCode.OK:
            await self._context.abort(status, details)

    async def _read(self) -> None:
        while (raw := await self._context.read()) is not grpc.aio.EOF:
            self.raw.append(raw)
            message = pb.ClientMessage.FromString(raw)
            self._received.put_nowait(message)
            if message.WhichOneof("payload") == "goodbye":
                self.end()
        self.half_closed.set()


class ScriptedGateway:
    """Serves `ConnectClient` on 127.0.0.1.

    Attributes:
        address: `host:port`.
        streams: every stream there was.
    """

    def __init__(self) -> None:
        self.address = ""
        self.streams: list[ClientStream] = []
        self._new: asyncio.Queue[ClientStream] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._connect, request_deserializer=None, response_serializer=_serialise
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(pb.SERVICE_NAME, {"ConnectClient": handler}),)
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        """End every stream, and stop listening."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def stream(self) -> ClientStream:
        """The next stream that a client opens."""
        async with asyncio.timeout(TIMEOUT):
            return await self._new.get()

    async def welcomed(self, **terms: Any) -> ClientStream:
        """The next stream, its client welcomed; see `ClientStream.welcome`."""
        stream = await self.stream()
        await stream.welcome(**terms)
        return stream

    async def _connect(self, _requests: object, context: Any) -> None:
        stream = ClientStream(context)
        self.streams.append(stream)
        self._new.put_nowait(stream)
        await stream.serve()


def _serialise(message: pb.DjangoCommand | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class ManualClock:
    """A clock that stands still until it is turned (implements `crypto_streaming.agent.Clock`).

    Attributes:
        waits: how long, in seconds, each wait with a bound was to be.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._now = 1000.0
        self._timers: list[tuple[float, asyncio.Event]] = []

    def time_ns(self) -> int:
        """See `Clock`."""
        return 1_700_000_000_000_000_000 + int(self._now * 1e9)

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._now

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """See `Clock`."""
        if seconds is None:
            return await event.wait()
        self.waits.append(seconds)
        timer = (self._now + seconds, asyncio.Event())
        self._timers.append(timer)
        waiters = [asyncio.create_task(event.wait()), asyncio.create_task(timer[1].wait())]
        try:
            if seconds > 0:
                await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            return event.is_set()
        finally:
            self._timers.remove(timer)
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)

    def waiting_for(self) -> list[float]:
        """Seconds that each bounded wait still has to go, the shortest first."""
        return sorted(at - self._now for at, _ in self._timers)

    def advance(self, seconds: float) -> None:
        """Turn the clock."""
        self._now += seconds
        for at, event in self._timers:
            if at <= self._now + 1e-9:
                event.set()


def inner_ids(messages: Iterable[pb.ClientMessage]) -> list[str]:
    """The ids of the reports in these messages, those in batches one by one."""
    return [
        report.message_id
        for message in messages
        for report in (message.batch.messages if message.HasField("batch") else [message])
    ]


@asynccontextmanager
async def running(gateway: ScriptedGateway, **options: Any) -> AsyncGenerator[CryptoClient]:
    """Run a client of this gateway; `options` are the client's."""
    options = {"announce_status": False, "random": lambda: 0.0} | options
    client = CryptoClient("c-1", address=gateway.address, **options)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
