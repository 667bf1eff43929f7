"""Commands to handlers, and their answers back."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from crypto_streaming import pb
from crypto_streaming.commands import COMMANDS
from crypto_streaming.errors import ErrorCode

from ._clock import Clock
from ._outbox import Outbox
from ._wire import new_message
from .ack import Ack
from .settings import AgentSettings

log = logging.getLogger("crypto_streaming.agent")

AnyHandler = Callable[[Any], Awaitable[Ack | None]]

_STATUS_AFTER = {
    "pause": pb.CLIENT_STATUS_PAUSED,
    "resume": pb.CLIENT_STATUS_ACTIVE,
}


@dataclass(frozen=True)
class Handler:
    """What a command is handed to.

    Attributes:
        function: the author's, or a built-in one.
        concurrent: runs beside others, at once, instead of in order.
        built_in: gives way to an author's.
    """

    function: AnyHandler
    concurrent: bool
    built_in: bool = False


@dataclass(frozen=True)
class _Waiting:
    command: pb.DjangoCommand
    name: str
    handler: Handler
    arrived: float


class Dispatcher:
    """Runs one handler at a time, in the order of the commands, but for those that run beside others.

    A command is executed at most once in this process: delivered again, it gets the same answer, or the one that is
    still being made. Answers outlive the session that the command came by.

    Args:
        client_id: named in the answers.
        settings: bounds of what is remembered and of what may wait.
        clock: the time.
        outbox: where answers go.
        stats: gives the counters, for those who ask.
    """

    def __init__(
        self,
        client_id: str,
        settings: AgentSettings,
        clock: Clock,
        outbox: Outbox,
        stats: Callable[[], pb.ClientStats],
    ) -> None:
        self.status: pb.ClientStatus = pb.CLIENT_STATUS_ACTIVE
        self.handled = 0
        self.failed = 0
        self._client_id = client_id
        self._settings = settings
        self._clock = clock
        self._outbox = outbox
        self._stats = stats
        self._handlers: dict[str, Handler] = {}
        # Answers by command_id, None while it is being made; the latest last.
        self._answered: OrderedDict[str, bytes | None] = OrderedDict()
        self._waiting: deque[_Waiting] = deque()
        self._in_order: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """No handler runs or waits."""
        return not self._beside and not self._waiting and (self._in_order is None or self._in_order.done())

    def register(self, payload_class: type[Message], handler: Handler) -> None:
        """Say who handles a command.

        Raises:
            ValueError: it is no command of the contract, or an author's handler is there already.
        """
        names = [name for name, command in COMMANDS.items() if command.payload_class is payload_class]
        if not names:
            raise ValueError(f"{payload_class.__name__} is not a command")
        before = self._handlers.get(names[0])
        if before is not None and not before.built_in:
            raise ValueError(f"{payload_class.__name__} has a handler already")
        self._handlers[names[0]] = handler

    def deliver(self, command: pb.DjangoCommand) -> None:
        """Take a command that arrived; does not wait for it."""
        if command.command_id:
            if command.command_id in self._answered:
                answer = self._answered[command.command_id]
                log.info("command %s delivered again", command.command_id)
                if answer is not None:
                    self._outbox.answer(answer)
                return
            self._remember(command.command_id, None)
        name = command.WhichOneof("command") or ""
        handler = self._handlers.get(name)
        if handler is None:
            self._answer(command, Ack(False, f"no handler for {name or 'this command'}", "UNSUPPORTED_COMMAND"))
            return
        waiting = _Waiting(command, name, handler, self._clock.monotonic())
        if handler.concurrent:
            task = asyncio.create_task(self._run(waiting))
            self._beside.add(task)
            task.add_done_callback(self._beside_done)
        elif len(self._waiting) >= self._settings.queued_commands:
            self._answer(command, Ack(False, "too many commands wait", "CLIENT_BUSY"))
        else:
            self._waiting.append(waiting)
            if self._in_order is None or self._in_order.done():
                self._in_order = asyncio.create_task(self._run_in_order())
                self._in_order.add_done_callback(lambda _task: self._outbox.progress.set())

    async def stop(self) -> None:
        """Cancel what runs, forget what waits. Their commands stay without an answer."""
        self._waiting.clear()
        tasks = [*self._beside, *([self._in_order] if self._in_order else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_in_order(self) -> None:
        while self._waiting:
            # Stays in the queue while it runs, so that `idle` and the bound see it.
            await self._run(self._waiting[0])
            self._waiting.popleft()

    def _beside_done(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        self._outbox.progress.set()

    async def _run(self, waiting: _Waiting) -> None:
        command = waiting.command
        if self._expired(waiting):
            ack = Ack(False, "expires_at passed while it waited at the client", ErrorCode.COMMAND_EXPIRED)
        else:
            try:
                ack = await waiting.handler.function(getattr(command, waiting.name)) or Ack()
                if ack.success:
                    self.status = ack.status or _STATUS_AFTER.get(waiting.name, self.status)
                elif ack.status is not None:
                    self.status = ack.status
                self._answer(command, ack)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Something inside the handler was cancelled, not the handler: a failure like any other.
                log.exception("handler of %s was cancelled from inside", waiting.name)
                ack = Ack(False, "CancelledError", "HANDLER_ERROR")
            except Exception as error:
                log.exception("handler of %s failed", waiting.name)
                ack = Ack(False, f"{type(error).__name__}: {error}", "HANDLER_ERROR")
        self._answer(command, ack)

    def _expired(self, waiting: _Waiting) -> bool:
        """Whether a command outlived its time here, told without comparing two machines' clocks.

        `expires_at - timestamp` is a span by the sender's clock alone, the wait one by this machine's alone. What went
        by on the way is the server's to judge.
        """
        command = waiting.command
        if not (command.HasField("expires_at") and command.HasField("timestamp")):
            return False
        span_ns = command.expires_at.ToNanoseconds() - command.timestamp.ToNanoseconds()
        return (self._clock.monotonic() - waiting.arrived) * 1e9 > max(0, span_ns)

    def _answer(self, command: pb.DjangoCommand, ack: Ack) -> None:
        now_ns = self._clock.time_ns()
        message = new_message(self._client_id, now_ns)
        message.command_ack.CopyFrom(ack.to_message(command.command_id, self.status, now_ns))
        if ack.success and command.WhichOneof("command") == "request_status" and command.request_status.include_stats:
            message.command_ack.stats.CopyFrom(self._stats())
        answer = message.SerializeToString()
        self.handled += 1
        if not ack.success:
            self.failed += 1
        if command.command_id:
            self._remember(command.command_id, answer)
        self._outbox.answer(answer)

    def _remember(self, command_id: str, answer: bytes | None) -> None:
        self._answered[command_id] = answer
        self._answered.move_to_end(command_id)
        if len(self._answered) > self._settings.answered_commands:
            # Never one whose handler still runs: it would be executed twice.
            for oldest, kept in self._answered.items():
                if kept is not None:
                    del self._answered[oldest]
                    break
