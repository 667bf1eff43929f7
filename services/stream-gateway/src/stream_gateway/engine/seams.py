"""The engine's seams: the bus between gateways, the session directory, and the durable log.

Each has an implementation in memory (`memory.py`: in-process mode, tests) and one over NATS (`adapters/`); the same
tests run over both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class BusUnavailable(Exception):  # noqa: N818  (a state of the world, not a mistake)
    """The bus or what lives on it can not be reached; nothing is known to have happened."""


class SinkFull(Exception):  # noqa: N818  (likewise)
    """The durable log is full and took nothing."""


@dataclass(slots=True)  # not frozen for the same reason as `Command`
class BusMessage:
    """What arrives on a subscription. Nobody changes it.

    Attributes:
        subject: where it was published.
        data: the payload.
        reply: where an answer goes; empty = none is wanted.
        no_responders: the bus itself says that nobody listens where the request went.
    """

    subject: str
    data: bytes
    reply: str = ""
    no_responders: bool = False


class Subscription(Protocol):
    """A standing interest in a subject."""

    async def unsubscribe(self) -> None:
        """End it; what was sent to it before still arrives. Does not raise; does nothing on a dead connection."""
        ...


class Bus(Protocol):
    """Subjects with at-most-once delivery, and immediate word when nobody listens.

    Handlers run on the event loop, one message at a time per subscription, and must not block.
    """

    @property
    def connected(self) -> bool:
        """Whether the connection is up as far as is known."""
        ...

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Hand a message over; with `reply`, a subject without listeners answers `no_responders` there.

        Raises:
            BusUnavailable: not connected; nothing was sent, and nothing will be sent later.
        """
        ...

    def post(self, subject: str, data: bytes) -> None:
        """Hand over a message whose loss its addressee copes with: an answer, a hint. Dropped when not connected."""
        ...

    async def subscribe(self, subject: str, handler: Callable[[BusMessage], None]) -> Subscription:
        """Listen on a subject (or, with a last token `*`, on all below). Renewed by itself after an outage.

        Raises:
            BusUnavailable: not connected.
        """
        ...

    async def round_trip(self, timeout: float) -> None:  # noqa: ASYNC109  (bounded by the caller's lease)
        """Wait until everything sent before has been taken by the bus: proof of contact.

        Raises:
            BusUnavailable: no answer within `timeout` seconds.
        """
        ...

    def new_inbox(self) -> str:
        """A subject that nobody else uses, as the prefix of reply subjects."""
        ...


class SessionDirectory(Protocol):
    """Who holds which client: the source of epochs. Survives every process."""

    async def claim(self, token: str, gateway_id: str) -> int:
        """Become the holder; the returned epoch is greater than every earlier one of this client.

        Raises:
            BusUnavailable: it is unknown whether the claim was taken.
        """
        ...

    async def current_epoch(self, token: str) -> int:
        """The epoch of the newest claim; 0 when there is none.

        Raises:
            BusUnavailable: it can not be read now.
        """
        ...


class FrameSink(Protocol):
    """The durable log."""

    async def publish(self, frame_id: str, data: bytes) -> None:
        """Return when the frame is durable. The same `frame_id` within two minutes is stored once.

        Raises:
            SinkFull: the log is full; nothing was stored.
            BusUnavailable: it is unknown whether it was stored; try again with the same id.
        """
        ...
