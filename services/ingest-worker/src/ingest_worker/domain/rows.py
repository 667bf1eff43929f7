"""The rows of one batch, folded: at most one per key, so that one statement never touches a row twice.

History rows are plain tuples in the order of their table's columns: they are made by the hundred thousand, and go into
COPY as they are. Every one begins with its key, (client_id, message_id), and ends in the same six columns (`TAIL`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from crypto_streaming import pb
from service_kit.deadletters import DeadLetterReason

from .times import Moment, column_moment

Row = tuple[Any, ...]
Key = tuple[str, str]
TAIL = ("sent_at", "received_at", "epoch", "position", "order_key", "content_hash")
SENT, RECEIVED, EPOCH, POSITION, ORDER_KEY, CONTENT_HASH = range(-6, 0)

_HASH_BYTES = 16


def content_hash(*content: str) -> bytes:
    """Hash what a message says, without its id and times: equal for two copies of one report.

    The parts hold no U+0000, so that joining them by it is unambiguous.
    """
    return hashlib.blake2b("\0".join(content).encode(), digest_size=_HASH_BYTES).digest()


def rank(row: Row) -> tuple[int, int, int, bytes]:
    """Order the copies of one message: the least is kept, whichever comes first."""
    return row[RECEIVED], row[EPOCH], row[POSITION], row[CONTENT_HASH]


class Entry:
    """Where and when a message came in: one per frame entry.

    Attributes:
        gateway_id: the gateway that had it.
        client_id: valid and not empty.
        epoch: the session's fencing number.
        position: of the message on its stream, 0 for what the gateway says.
        received: when the gateway had it, as rows carry times.
        moment: the same, as a moment.
    """

    __slots__ = ("client_id", "epoch", "gateway_id", "moment", "position", "received")

    def __init__(self, gateway_id: str, client_id: str, epoch: int, position: int, received: int) -> None:
        self.gateway_id = gateway_id
        self.client_id = client_id
        self.epoch = epoch
        self.position = position
        self.received = received
        self.moment = column_moment(received)


class DeadLetter(NamedTuple):
    """One row of `dead_letters`, in the order of its columns."""

    client_id: str
    message_id: str
    received_at: int
    reason: str
    detail: str
    payload: bytes
    payload_length: int
    payload_sha256: bytes
    gateway_id: str
    epoch: int
    position: int

    def rank(self) -> tuple[int, int, str, bytes]:
        """Order the letters under one key: the least stands."""
        return self.epoch, self.position, self.reason, self.payload_sha256


def dead_letter(entry: Entry, message_id: str, reason: DeadLetterReason, detail: str, payload: bytes) -> DeadLetter:
    """Make the row for a message whose bytes are at hand in full."""
    return DeadLetter(
        client_id=entry.client_id,
        message_id=message_id,
        received_at=entry.received,
        reason=reason.value,
        detail=detail.replace("\0", "\ufffd"),
        payload=payload,
        payload_length=len(payload),
        payload_sha256=hashlib.sha256(payload).digest(),
        gateway_id=entry.gateway_id,
        epoch=entry.epoch,
        position=entry.position,
    )


class ClientState:
    """What a batch says of one client; every change is a maximum or minimum, so order does not matter.

    Attributes are columns of `clients`; None in an `*_order` or a time means "nothing said".
    """

    __slots__ = (
        "api_url",
        "api_url_order",
        "client_name",
        "client_name_order",
        "client_type",
        "client_type_order",
        "close_reason",
        "closed_epoch",
        "connected_at",
        "disconnected_at",
        "first_seen_at",
        "gateway_id",
        "labels",
        "labels_order",
        "last_seen_at",
        "peer",
        "session_epoch",
        "status",
        "status_at",
        "status_details",
        "status_details_order",
        "status_order",
        "version",
        "version_order",
    )

    def __init__(self, first_seen_at: int | None, last_seen_at: int) -> None:
        self.client_name = self.client_type = self.version = self.api_url = self.status_details = ""
        self.client_name_order: bytes | None = None
        self.client_type_order: bytes | None = None
        self.version_order: bytes | None = None
        self.api_url_order: bytes | None = None
        self.labels = "{}"
        self.labels_order: bytes | None = None
        self.status = "unknown"
        self.status_order: bytes | None = None
        self.status_details_order: bytes | None = None
        self.status_at: int | None = None
        self.session_epoch = 0
        self.gateway_id = self.peer = ""
        self.connected_at: int | None = None
        self.closed_epoch = 0
        self.disconnected_at: int | None = None
        self.close_reason = ""
        self.first_seen_at = first_seen_at
        self.last_seen_at = last_seen_at

    def offer(self, field: str, value: str, order: bytes) -> bool:
        """Take a value if it is given and newer than the known one; tell whether it was taken."""
        if not value:
            return False
        known: bytes | None = getattr(self, field + "_order")
        if known is not None and order <= known:
            return False
        setattr(self, field, value)
        setattr(self, field + "_order", order)
        return True

    def session(self, epoch: int, gateway_id: str, peer: str, connected_at: int | None) -> None:
        """Take a session if it is newer; what two sources say of the same one is merged."""
        if epoch > self.session_epoch:
            self.session_epoch = epoch
            self.gateway_id = gateway_id
            self.peer = peer
            self.connected_at = connected_at
        elif epoch == self.session_epoch:
            self.gateway_id = max(self.gateway_id, gateway_id)
            self.peer = max(self.peer, peer)
            if self.connected_at is None or (connected_at is not None and connected_at < self.connected_at):
                self.connected_at = connected_at

    def closed(self, epoch: int, at: int, reason: str) -> None:
        """Take the end of a session if it is of a newer one, or was said earlier of the same."""
        if epoch > self.closed_epoch or (
            epoch == self.closed_epoch
            and (self.disconnected_at is None or (at, reason) < (self.disconnected_at, self.close_reason))
        ):
            self.closed_epoch = epoch
            self.disconnected_at = at
            self.close_reason = reason


class History:
    """The rows of one history table: the least copy per key, and others beside it.

    Attributes:
        rows: by key.
        others: further copies under a key that say something else; the writer buries them.
    """

    __slots__ = ("others", "rows")

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.others: dict[Key, list[Row]] = {}

    def __len__(self) -> int:
        return len(self.rows) + sum(map(len, self.others.values()))

    def __iter__(self) -> Iterator[Row]:
        yield from self.rows.values()
        for rows in self.others.values():
            yield from rows

    def add(self, row: Row) -> None:
        """Take one row."""
        key = row[:2]
        known = self.rows.setdefault(key, row)
        if known is not row:
            least, greater = (row, known) if rank(row) < rank(known) else (known, row)
            self.rows[key] = least
            if least[CONTENT_HASH] != greater[CONTENT_HASH]:
                self.others.setdefault(key, []).append(greater)


class Letters(dict[tuple[str, str, int], DeadLetter]):
    """Dead letters by key."""

    def add(self, letter: DeadLetter) -> None:
        """Take one; of several under one key the least stands."""
        key = letter[:3]
        known = self.setdefault(key, letter)
        if known is not letter and letter.rank() < known.rank():
            self[key] = letter


@dataclass
class Rows:
    """Everything that one batch writes.

    Attributes:
        wallet_balances, transaction_events, client_errors, client_logs: the history tables.
        clients: by client_id.
        dead_letters: by key.
        messages: how many messages it was made of.
    """

    wallet_balances: History = field(default_factory=History)
    transaction_events: History = field(default_factory=History)
    client_errors: History = field(default_factory=History)
    client_logs: History = field(default_factory=History)
    clients: dict[str, ClientState] = field(default_factory=dict[str, ClientState])
    dead_letters: Letters = field(default_factory=Letters)
    messages: int = 0

    @property
    def size(self) -> int:
        """How many rows these are."""
        return sum(len(history) for _, history in self._histories()) + len(self.clients) + len(self.dead_letters)

    def parts(self, limit: int) -> list[Rows]:
        """Part these rows into some of at most `limit`: written one after the other, they end as all at once."""
        if self.size <= limit:
            return [self]
        parts = [Rows()]
        room = limit

        def part() -> Rows:
            nonlocal room
            if not room:
                parts.append(Rows())
                room = limit
            room -= 1
            return parts[-1]

        for name, history in self._histories():
            for row in history:
                getattr(part(), name).add(row)
        for client_id, state in self.clients.items():
            part().clients[client_id] = state
        for letter in self.dead_letters.values():
            part().bury(letter)
        return parts

    def _histories(self) -> Iterator[tuple[str, History]]:
        for name in ("wallet_balances", "transaction_events", "client_errors", "client_logs"):
            yield name, getattr(self, name)

    def bury(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        self.dead_letters.add(letter)

    def seen(self, client_id: str, received: int) -> ClientState:
        """Note that a client was there, and return its row."""
        state = self.clients.get(client_id)
        if state is None:
            state = self.clients[client_id] = ClientState(received, received)
        elif received > state.last_seen_at:
            state.last_seen_at = received
        elif state.first_seen_at is None or received < state.first_seen_at:
            state.first_seen_at = received
        return state


Head = tuple[str, Moment | None, bool]
"""What is known of a message before its payload is read: its id, its timestamp, and whether its texts need care."""

Handler = Callable[[Rows, Entry, pb.ClientMessage, Head], None]
"""Puts one message into the rows. Raises RefusedError when it can not be stored; it has then changed nothing."""
