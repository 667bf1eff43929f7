"""A network between a gateway and its bus that delays, holds up, loses, repeats and cuts.

Wraps any bus of the gateway's engine. What is sent in one direction stays in order, as on a TCP connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stream_gateway.engine.seams import Bus, BusMessage, BusUnavailable, SessionDirectory, Subscription

_Value = TypeVar("_Value")
_Step = Callable[[], None]


class _Line:
    """One direction of a connection: steps come out in order, each after its delay, none while it is held."""

    def __init__(self) -> None:
        self.delay: Callable[[], float] = lambda: 0.0
        self._steps: deque[tuple[float, _Step]] = deque()
        self._last = 0.0
        self._held = False

    def send(self, step: _Step) -> None:
        loop = asyncio.get_running_loop()
        self._last = max(self._last, loop.time() + self.delay())
        self._steps.append((self._last, step))
        loop.call_at(self._last, self._deliver)

    def hold(self, held: bool) -> None:
        self._held = held
        if not held:
            asyncio.get_running_loop().call_soon(self._deliver)

    def clear(self) -> None:
        self._steps.clear()

    def _deliver(self) -> None:
        # The loop calls a little early rather than late.
        now = asyncio.get_running_loop().time() + 1e-6
        while self._steps and not self._held and self._steps[0][0] <= now:
            self._steps.popleft()[1]()


class FaultyBus:
    """A `Bus` that reaches another one over a bad network.

    Args:
        bus: where everything goes in the end.
        on_cut: called when the connection is cut, as a real one calls back.

    Attributes:
        loses: says of each (subject, data) published from here whether it is lost.
        repeats: says of each (subject, data) published from here whether it arrives twice.
        published: every (subject, data) published from here.
    """

    def __init__(self, bus: Bus, on_cut: Callable[[], None] = lambda: None) -> None:
        self._bus = bus
        self.on_cut = on_cut
        self.loses: Callable[[str, bytes], bool] = lambda _subject, _data: False
        self.repeats: Callable[[str, bytes], bool] = lambda _subject, _data: False
        self.published: list[tuple[str, bytes]] = []
        self.connected = True
        self._out = _Line()
        self._in = _Line()
        # Those that are wanted here, and those that the other end knows of.
        self._subscriptions: set[_FaultySubscription] = set()
        self._far: set[_FaultySubscription] = set()
        self._tasks: set[asyncio.Future[None]] = set()

    # Faults

    def delay(self, out: Callable[[], float], back: Callable[[], float] | None = None) -> None:
        """Let each message take that many seconds, to the bus and from it."""
        self._out.delay = out
        self._in.delay = back or out

    def blackhole(self) -> None:
        """Hold everything up until `heal`; nobody is told."""
        self._out.hold(True)
        self._in.hold(True)

    def cut(self) -> None:
        """End the connection: what is under way is lost, and both sides know."""
        self.connected = False
        self._out.clear()
        self._in.clear()
        for subscription in self._far:
            self._start(subscription.leave())
        self._far.clear()
        self.on_cut()

    def heal(self) -> None:
        """Undo `blackhole` and `cut`; subscriptions are renewed first."""
        if not self.connected:
            self.connected = True
            for subscription in self._subscriptions:
                self._enter(subscription)
        self._out.hold(False)
        self._in.hold(False)

    # Bus

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """See `Bus`."""
        self._require_connection()
        self.published.append((subject, data))
        if self.loses(subject, data):
            return
        for _ in range(2 if self.repeats(subject, data) else 1):
            self._out.send(lambda: self._start(self._bus.publish(subject, data, reply)))

    def post(self, subject: str, data: bytes) -> None:
        """See `Bus`."""
        if self.connected:
            self._start(self.publish(subject, data))

    async def subscribe(self, subject: str, handler: Callable[[BusMessage], None]) -> Subscription:
        """See `Bus`."""
        self._require_connection()
        subscription = _FaultySubscription(self, subject, handler)
        self._subscriptions.add(subscription)
        self._enter(subscription)
        return subscription

    async def round_trip(self, timeout: float) -> None:  # noqa: ASYNC109  (see `Bus`)
        """See `Bus`."""
        await self.call(self._nothing, timeout)

    def new_inbox(self) -> str:
        """See `Bus`."""
        return self._bus.new_inbox()

    async def call(self, work: Callable[[], Awaitable[_Value]], timeout: float) -> _Value:  # noqa: ASYNC109  (see `Bus`)
        """Have something done at the other end of the network, and bring the result back.

        Raises:
            BusUnavailable: no answer within `timeout` seconds.
        """
        self._require_connection()
        answer: asyncio.Future[_Value] = asyncio.get_running_loop().create_future()

        async def work_there() -> None:
            value = await work()
            self._in.send(lambda: None if answer.done() else answer.set_result(value))

        self._out.send(lambda: self._start(work_there()))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise BusUnavailable("no answer in time") from None

    def _enter(self, subscription: _FaultySubscription) -> None:
        def enter() -> None:
            self._far.add(subscription)
            self._start(subscription.enter())

        self._out.send(enter)

    async def _nothing(self) -> None:
        pass

    def _require_connection(self) -> None:
        if not self.connected:
            raise BusUnavailable("not connected")

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # For subscriptions

    @property
    def far_bus(self) -> Bus:
        """What is at the other end."""
        return self._bus

    def bring(self, handler: Callable[[BusMessage], None], message: BusMessage) -> None:
        """Carry a message to a handler here."""
        self._in.send(lambda: handler(message))

    def end(self, subscription: _FaultySubscription) -> None:
        """Forget a subscription; what was routed to it before still arrives."""
        self._subscriptions.discard(subscription)

        def leave() -> None:
            self._far.discard(subscription)
            self._start(subscription.leave())

        if self.connected:
            self._out.send(leave)


class _FaultySubscription:
    def __init__(self, bus: FaultyBus, subject: str, handler: Callable[[BusMessage], None]) -> None:
        self._bus = bus
        self._subject = subject
        self._handler = handler
        self._far: Subscription | None = None

    async def enter(self) -> None:
        """Subscribe at the other end."""
        self._far = await self._bus.far_bus.subscribe(
            self._subject, lambda message: self._bus.bring(self._handler, message)
        )

    async def leave(self) -> None:
        """Unsubscribe at the other end."""
        if self._far is not None:
            await self._far.unsubscribe()
            self._far = None

    async def unsubscribe(self) -> None:
        """See `Subscription`."""
        self._bus.end(self)


class FarDirectory:
    """A `SessionDirectory` at the other end of a bad network.

    Args:
        bus: the network.
        directory: the directory.
        timeout: seconds after which an answer is not waited for.

    Attributes:
        available: whether it answers at all.
        takes: seconds until it does.
    """

    def __init__(self, bus: FaultyBus, directory: SessionDirectory, timeout: float = 2.0) -> None:
        self._bus = bus
        self._directory = directory
        self._timeout = timeout
        self.available = True
        self.takes = 0.0

    async def claim(self, token: str, gateway_id: str) -> int:
        """See `SessionDirectory`."""
        return await self._ask(lambda: self._directory.claim(token, gateway_id))

    async def current_epoch(self, token: str) -> int:
        """See `SessionDirectory`."""
        return await self._ask(lambda: self._directory.current_epoch(token))

    async def _ask(self, question: Callable[[], Awaitable[int]]) -> int:
        if not self.available:
            raise BusUnavailable("the directory does not answer")
        await asyncio.sleep(self.takes)
        return await self._bus.call(question, self._timeout)
