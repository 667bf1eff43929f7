"""The client of a crypto client's author."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from crypto_streaming import pb
from crypto_streaming._callers import ADDRESS_VARIABLE, MetadataSource
from crypto_streaming.channels import new_aio_channel
from crypto_streaming.client_ids import client_id_problem
from crypto_streaming.tls import TlsOptions

from ._clock import Clock, SystemClock
from ._dispatch import Dispatcher, Handler
from ._outbox import Outbox
from ._reports import Reports
from ._retry import PERMANENT, EndKind, RetryPolicy, SessionEnd
from ._session import Session
from ._stats import Stats
from .ack import Ack
from .buffers import Buffer, MemoryBuffer
from .settings import AgentSettings, ClientRejectedError

log = logging.getLogger("crypto_streaming.agent")

_KEPT_AT_A_STRETCH = 128
"""Reports after which the loop is let run: a buffer with room never waits, and an author's loop of reports must not
keep commands and heartbeats out."""

TPayload = TypeVar("TPayload", bound=Message)


class CryptoClient(Reports):
    """Keeps one stream to the gateway, reports, and obeys.

    Everything runs on the event loop of `run`; none of it may be called from other threads. Reports may be made
    before `run`, and while there is no connection: they wait in the buffer, in order, and leave it when the server has
    them in its durable log. After a reconnect or a restart what has no receipt is sent again under the same id, which
    the server folds.

    Commands are answered one at a time, in order; those registered as concurrent (ping and request_status by default)
    at once. Ping, request_status, pause and resume have built-in handlers, which an author's replace.

    Attributes:
        client_id: who this is.
        settings: times and limits.
    """

    def __init__(
        self,
        client_id: str,
        *,
        address: str | None = None,
        channel: grpc.aio.Channel | None = None,
        client_name: str = "",
        client_type: str = "",
        version: str = "",
        api_url: str = "",
        labels: Mapping[str, str] | None = None,
        buffer: Buffer | None = None,
        tls: TlsOptions | None = None,
        metadata: MetadataSource | None = None,
        announce_status: bool = True,
        settings: AgentSettings | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Describe the client; nothing is connected yet.

        Args:
            client_id: unique in the fleet; see `crypto_streaming.client_ids`.
            address: `host:port` of a gateway, or what stands before it. Without it and `channel`, the environment
                variable `CRYPTO_STREAMING_ADDRESS` names it.
            channel: a channel of the author's own, in place of `address`; it is not closed.
            client_name: for people.
            client_type: kind of client, by which a fleet is told apart.
            version: of the client's own program.
            api_url: where the client's own interface is, if it has one.
            labels: by which operators choose clients.
            buffer: where reports wait; by default in memory. It is closed at the end of `run`.
            tls: certificates; None is plain text.
            metadata: sent when connecting, or a function that returns it (a token that expires).
            announce_status: report ACTIVE when `run` begins, and STOPPED when `stop` ends it.
            settings: times and limits.
            clock: the time; tests turn it by hand.
            random: gives numbers of [0, 1), for the delays between attempts.

        Raises:
            ValueError: the client_id is not one; both or none of address and channel; tls for a channel.
        """
        if problem := client_id_problem(client_id):
            raise ValueError(problem)
        if address is not None and channel is not None:
            raise ValueError("give one of address and channel")
        if channel is None and address is None:
            address = os.environ.get(ADDRESS_VARIABLE) or None
            if address is None:
                raise ValueError(f"give address or channel, or set {ADDRESS_VARIABLE}=host:port")
        if channel is not None and tls is not None:
            raise ValueError("tls belongs to an address")
        self.client_id = client_id
        self.settings = settings or AgentSettings()
        self._address = address
        self._channel = channel
        self._tls = tls
        self._metadata = metadata
        self._announce_status = announce_status
        self._registration = pb.ClientRegistration(
            client_name=client_name,
            client_type=client_type,
            version=version,
            api_url=api_url,
            labels=labels,
            capabilities=[pb.CLIENT_CAPABILITY_RECEIPTS, pb.CLIENT_CAPABILITY_RECONNECT],
        )
        self._clock = clock or SystemClock()
        self._retry = RetryPolicy(self.settings, random)
        self._buffer: Buffer = buffer if buffer is not None else MemoryBuffer()
        self._opening: asyncio.Future[None] | None = None
        self._kept = 0
        self._outbox = Outbox()
        self._counters = Stats(self._clock.time_ns())
        self._dispatcher = Dispatcher(client_id, self.settings, self._clock, self._outbox, lambda: self.stats)
        self._max_message_bytes = self.settings.max_message_bytes
        self._session: Session | None = None
        self._needs_welcome = False
        self._stopping = asyncio.Event()
        self._stop_timeout = 0.0
        self._finished: asyncio.Event | None = None
        for payload_class, function, concurrent in (
            (pb.PingCommand, self._ping, True),
            (pb.RequestStatusCommand, self._request_status, True),
            (pb.PauseClientCommand, self._obey, False),
            (pb.ResumeClientCommand, self._obey, False),
        ):
            self._dispatcher.register(payload_class, Handler(function, concurrent, built_in=True))

    # What is asked of it

    @property
    def status(self) -> pb.ClientStatus:
        """What this client says of itself; see `report_status`."""
        return self._dispatcher.status

    @property
    def connected(self) -> bool:
        """Whether reports can be sent now."""
        return self._session is not None and self._session.ready

    @property
    def stats(self) -> pb.ClientStats:
        """The counters since this object was made."""
        self._counters.commands_handled = self._dispatcher.handled
        self._counters.commands_failed = self._dispatcher.failed
        return self._counters.to_message(len(self._buffer))

    def on(
        self, payload_class: type[TPayload], *, concurrent: bool | None = None
    ) -> Callable[[Callable[[TPayload], Awaitable[Ack | None]]], Callable[[TPayload], Awaitable[Ack | None]]]:
        """Register the decorated coroutine function as the handler of a command.

        It is called with the command's payload. It returns an `Ack`, or None for a plain success; what it raises is
        logged and answered as `HANDLER_ERROR`. A command is executed at most once in a process.

        Args:
            payload_class: the command's message, such as `pb.PauseClientCommand`.
            concurrent: run at once, beside others, instead of in order; by default only ping and request_status do.

        Raises:
            ValueError: no command of the contract, or it has a handler already.
        """

        def register(
            function: Callable[[TPayload], Awaitable[Ack | None]],
        ) -> Callable[[TPayload], Awaitable[Ack | None]]:
            beside = concurrent
            if beside is None:
                beside = payload_class in {pb.PingCommand, pb.RequestStatusCommand}
            self._dispatcher.register(payload_class, Handler(function, beside))
            return function

        return register

    # Its life

    async def run(self) -> None:
        """Stay connected until `stop`; connect again, with growing random delays, whenever the stream is lost.

        Raises:
            ClientRejectedError: the server refuses this client, and would again.
            OSError: the buffer can not be opened.
            RuntimeError: it ran before; a client runs once.
        """
        if self._finished is not None:
            raise RuntimeError("a client runs once")
        self._finished = asyncio.Event()
        try:
            await self._open_buffer()
            if self._announce_status:
                # In the background: a full buffer must not keep the client from connecting, which empties it.
                announcing = asyncio.create_task(self.report_status(self.status, "started"))
            else:
                announcing = None
            try:
                await self._stay_connected()
            finally:
                if announcing is not None:
                    announcing.cancel()
                    await asyncio.gather(announcing, return_exceptions=True)
        finally:
            await self._dispatcher.stop()
            await self._buffer.close()
            if len(self._buffer) and isinstance(self._buffer, MemoryBuffer):
                log.warning("%d reports without a receipt are lost with this process", len(self._buffer))
            self._finished.set()

    async def stop(self, timeout: float = 10.0) -> None:
        """End `run` in order, and wait for it.

        Running handlers finish and reports get their receipts, for at most `timeout` seconds; then the client says
        goodbye. What has no receipt by then is kept if the buffer keeps it. Not to be awaited by a handler, which it
        would wait for.
        """
        if self._finished is None:
            self._finished = asyncio.Event()
            self._finished.set()
            if self._opening is not None:
                await self._buffer.close()
            return
        if not self._stopping.is_set():
            if self._announce_status and self.connected:
                announcing = asyncio.create_task(self.report_status(pb.CLIENT_STATUS_STOPPED, "stopped"))
                event = asyncio.Event()
                announcing.add_done_callback(lambda _task: event.set())
                if not await self._clock.wait(event, timeout):
                    announcing.cancel()
                await asyncio.gather(announcing, return_exceptions=True)
            self._stop_timeout = timeout
            self._stopping.set()
            if self._session is not None:
                self._session.stop(timeout)
        await self._finished.wait()

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until every report made so far has its receipt (without receipts: is sent).

        Raises:
            TimeoutError: not within `timeout` seconds; nothing is lost by it.
        """
        # What a former process left is in the buffer only once it is open.
        await self._open_buffer()
        last = self._buffer.newest
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        while (oldest := self._buffer.oldest) is not None and oldest <= last:
            left = None if deadline is None else deadline - self._clock.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"{len(self._buffer)} reports have no receipt yet")
            self._outbox.progress.clear()
            await self._clock.wait(self._outbox.progress, left)

    async def _stay_connected(self) -> None:
        while not self._stopping.is_set():
            end = await self._connect()
            if end.kind is EndKind.STOPPED or self._stopping.is_set():
                return
            if end.status in PERMANENT:
                raise ClientRejectedError(end.status, end.details)
            delay = self._retry.delay(end)
            level = logging.INFO if end.kind is EndKind.RECONNECT else logging.WARNING
            words = end.details or end.kind.name.lower()
            log.log(level, "stream ended: %s %s; connecting again in %.1f s", end.status.name, words, delay)
            await self._clock.wait(self._stopping, delay)
            self._counters.reconnects += 1

    async def _connect(self) -> SessionEnd:
        session = Session(
            client_id=self.client_id,
            registration=self._registration,
            settings=self.settings,
            clock=self._clock,
            buffer=self._buffer,
            outbox=self._outbox,
            dispatcher=self._dispatcher,
            stats=self._counters,
            needs_welcome=self._needs_welcome,
        )
        metadata = self._metadata() if callable(self._metadata) else self._metadata
        channel = self._channel
        if channel is None:
            assert self._address is not None
            # A connection of this session's own: a lost one's backoff must not delay the next attempt.
            channel = new_aio_channel(self._address, self._tls, [("grpc.use_local_subchannel_pool", 1)])
        self._session = session
        try:
            return await session.run(channel, metadata)
        finally:
            self._session = None
            if session.welcome is not None:
                self._needs_welcome = True
            if channel is not self._channel:
                await channel.close()

    async def _open_buffer(self) -> None:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._buffer.open(self.client_id))
        if not self._opening.done():
            # Whoever waits may be cancelled; others wait too.
            await asyncio.shield(self._opening)
        self._opening.result()

    async def _keep(self, message: pb.ClientMessage) -> str:
        data = message.SerializeToString()
        if self._session is not None and self._session.welcome is not None:
            self._max_message_bytes = self._session.welcome.max_message_bytes or self._max_message_bytes
        if len(data) > self._max_message_bytes:
            raise ValueError(f"a report of {len(data)} bytes; at most {self._max_message_bytes} are stored")
        await self._open_buffer()
        await self._buffer.put(message.message_id, data)
        self._outbox.wake.set()
        self._kept += 1
        if self._kept % _KEPT_AT_A_STRETCH == 0:
            await asyncio.sleep(0)
        return message.message_id

    # Built-in handlers

    async def _ping(self, command: pb.PingCommand) -> Ack:
        return Ack(message=f"pong {command.sequence}")

    async def _request_status(self, _command: pb.RequestStatusCommand) -> Ack:
        return Ack(message=pb.ClientStatus.Name(self.status))

    async def _obey(self, _command: Message) -> Ack:
        return Ack()
