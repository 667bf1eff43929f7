"""From frames to rows: parse, expand batches, give ids to those that have none, and sort out what can not be stored.

Two ways lead through here. The fast one, `decode_frame`, goes over whole frames. The other, `split`, takes frames apart
into single pieces, so that a batch that the database refuses can be bisected down to the message that is to blame; both
end in the same functions, so that both make the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from crypto_streaming import pb
from crypto_streaming.client_ids import client_id_problem
from service_kit.deadletters import DeadLetterReason
from service_kit.frames import Frame, FrameEntry

from .handlers import HANDLERS, PRESENCE_ONLY, REFUSED_IN_BATCH
from .refused import RefusedError
from .rows import DeadLetter, Entry, Rows, dead_letter
from .texts import KEY_BYTES, text_problem
from .times import MAX_RECEIVED_US, POSTGRES_EPOCH_US, moment

log = logging.getLogger(__name__)

_BIGINT_MAX = 2**63 - 1
_KNOWN_IDS_MAX = 200_000
_HISTORY_KINDS = frozenset({"wallet_update", "transaction", "error", "log"})


@dataclass(frozen=True)
class StoredFrame:
    """One message of the durable log.

    Attributes:
        data: a serialised `Frame`.
        sequence: its number in the stream.
        stored_us: when the stream took it: microseconds since 1970-01-01 UTC.
        deliveries: how often it has been handed to a worker, this time included.
    """

    data: bytes
    sequence: int = 0
    stored_us: int = 0
    deliveries: int = 1


@dataclass(frozen=True)
class Piece:
    """The smallest part of a frame that is written, or refused, as one.

    Attributes:
        frame: the frame it came from.
        gateway_id: who wrote the frame.
        entry: the frame's entry; None when the frame itself can not be parsed.
        index: where in the frame the entry stood.
        inner: one message of the entry's batch; None for all other entries.
        inner_index: where in the batch it stood.
    """

    frame: StoredFrame
    gateway_id: str = ""
    entry: FrameEntry | None = None
    index: int = 0
    inner: pb.ClientMessage | None = None
    inner_index: int = 0


class Decoder:
    """Makes rows of frames. Keeps nothing between calls but the client ids that it has found valid."""

    def __init__(self) -> None:
        self._valid_ids: set[str] = set()

    def decode(self, frames: Iterable[StoredFrame]) -> Rows:
        """Make the rows of a batch of frames. Never raises: what is not understood becomes a dead letter."""
        rows = Rows()
        for frame in frames:
            self._frame(rows, frame)
        return rows

    def decode_pieces(self, pieces: Iterable[Piece]) -> Rows:
        """Make the rows of some pieces."""
        rows = Rows()
        for piece in pieces:
            if piece.entry is None:
                rows.bury(unparsable_frame(piece.frame))
                continue
            entry = self._header(rows, piece.frame, piece.gateway_id, piece.entry, piece.index)
            if entry is None:
                continue
            if piece.inner is None:
                self._entry(rows, entry, piece.entry)
            else:
                rows.seen(entry.client_id, entry.received)
                _inner(rows, entry, (piece.inner, piece.inner_index, True), _Taken())
        return rows

    def decode_letter(self, letter: DeadLetter) -> Rows:
        """Make the rows of a dead letter's message, as if it arrived where and when it did.

        Raises:
            RefusedError: only its beginning was kept.
        """
        if letter.payload_length > len(letter.payload):
            raise RefusedError(DeadLetterReason(letter.reason), "only the beginning of the message was kept")
        if not letter.client_id:
            return self.decode([StoredFrame(letter.payload, stored_us=letter.received_at + POSTGRES_EPOCH_US)])
        rows = Rows()
        entry = Entry(letter.gateway_id, letter.client_id, letter.epoch, letter.position, letter.received_at)
        rows.seen(entry.client_id, entry.received)
        _report(rows, entry, letter.payload, letter.message_id)
        return rows

    def bury_piece(self, piece: Piece, detail: str) -> Rows:
        """Make the rows for a piece that the database refuses: its dead letter and nothing else."""
        rows = Rows()
        if piece.entry is None:
            rows.bury(unparsable_frame(piece.frame))
            return rows
        entry = self._header(rows, piece.frame, piece.gateway_id, piece.entry, piece.index)
        if entry is None:
            return rows
        if piece.inner is not None:
            payload = piece.inner.SerializeToString()
            message_id = _message_id(entry, piece.inner, piece.inner_index)
        else:
            payload = piece.entry.report or piece.entry.SerializeToString()
            message_id = _message_id_of_payload(entry, piece.entry.report)
        rows.bury(dead_letter(entry, message_id, DeadLetterReason.UNWRITABLE, detail, payload))
        return rows

    def _frame(self, rows: Rows, stored: StoredFrame) -> None:
        try:
            frame = Frame.FromString(stored.data)
        except DecodeError:
            rows.bury(unparsable_frame(stored))
            return
        gateway_id = frame.gateway_id
        for index, raw in enumerate(frame.entries):
            entry = self._header(rows, stored, gateway_id, raw, index)
            if entry is not None:
                self._entry(rows, entry, raw)

    def _header(self, rows: Rows, stored: StoredFrame, gateway_id: str, raw: FrameEntry, index: int) -> Entry | None:
        """Check what the gateway wrote of an entry; an impossible one goes to the dead letters as a whole."""
        client_id = raw.client_id
        epoch = raw.epoch
        position = raw.position
        received_us = raw.received_at_us
        if (
            client_id in self._valid_ids
            and epoch <= _BIGINT_MAX
            and position <= _BIGINT_MAX
            and received_us <= MAX_RECEIVED_US
            and "\0" not in gateway_id
        ):
            return Entry(gateway_id, client_id, epoch, position, received_us - POSTGRES_EPOCH_US)
        problem = client_id_problem(client_id)
        if problem is None and (epoch > _BIGINT_MAX or position > _BIGINT_MAX or received_us > MAX_RECEIVED_US):
            problem = f"epoch {epoch}, position {position} or time {received_us} is out of range"
        if problem is None:
            problem = text_problem(gateway_id, KEY_BYTES) and "gateway_id is not usable"
        if problem is None:
            if len(self._valid_ids) >= _KNOWN_IDS_MAX:
                self._valid_ids.clear()
            self._valid_ids.add(client_id)
            return Entry(gateway_id, client_id, epoch, position, received_us - POSTGRES_EPOCH_US)
        rows.bury(
            _frame_letter(
                stored,
                f"frame-{stored.sequence}.{index}",
                f"entry {index} of a frame: {problem}",
                # A frame of this one entry, so that it is replayed like one.
                Frame(gateway_id=gateway_id, entries=[raw]).SerializeToString(),
            )
        )
        return None

    def _entry(self, rows: Rows, entry: Entry, raw: FrameEntry) -> None:
        state = rows.seen(entry.client_id, entry.received)
        report = raw.report
        if report:
            _report(rows, entry, report, "")
            return
        body = raw.WhichOneof("body")
        if body == "report":
            _report(rows, entry, report, "")
        elif body == "opened":
            state.session(entry.epoch, entry.gateway_id, _clean(raw.opened.peer), entry.received)
        elif body == "closed":
            state.closed(entry.epoch, entry.received, _clean(raw.closed.reason))
        elif body == "rejected":
            rejected = raw.rejected
            message_id = rejected.message_id
            if not message_id or text_problem(message_id, KEY_BYTES):
                message_id = synthetic_id(entry)
            rows.bury(
                DeadLetter(
                    client_id=entry.client_id,
                    message_id=message_id,
                    received_at=entry.received,
                    reason=_clean(rejected.reason),
                    detail=_clean(rejected.detail),
                    payload=rejected.payload,
                    payload_length=min(rejected.length, _BIGINT_MAX),
                    payload_sha256=rejected.sha256,
                    gateway_id=entry.gateway_id,
                    epoch=entry.epoch,
                    position=entry.position,
                )
            )
            rows.messages += 1
        else:
            rows.bury(
                dead_letter(
                    entry,
                    synthetic_id(entry),
                    DeadLetterReason.UNKNOWN_PAYLOAD,
                    "a frame's entry with a body that this version does not know",
                    raw.SerializeToString(),
                )
            )


def split(frames: Iterable[StoredFrame]) -> list[Piece]:
    """Take frames apart into the pieces that can be written one by one."""
    return [piece for frame in frames for piece in _split_frame(frame)]


def _split_frame(stored: StoredFrame) -> Iterator[Piece]:
    try:
        frame = Frame.FromString(stored.data)
    except DecodeError:
        yield Piece(stored)
        return
    for index, entry in enumerate(frame.entries):
        batch = _batch_of(entry)
        if batch is None:
            yield Piece(stored, frame.gateway_id, entry, index)
        else:
            for inner_index, inner in enumerate(batch):
                yield Piece(stored, frame.gateway_id, entry, index, inner, inner_index)


def _batch_of(entry: FrameEntry) -> list[pb.ClientMessage] | None:
    try:
        message = pb.ClientMessage.FromString(entry.report)
    except DecodeError:
        return None
    return list(message.batch.messages) if message.HasField("batch") else None


def unparsable_frame(stored: StoredFrame) -> DeadLetter:
    """Make the dead letter of a frame that is not one."""
    return _frame_letter(stored, f"frame-{stored.sequence}", "not a frame", stored.data)


def synthetic_id(entry: Entry) -> str:
    """Return the id of a message that came without one."""
    return f"~{entry.epoch}.{entry.position}"


def _frame_letter(stored: StoredFrame, message_id: str, detail: str, payload: bytes) -> DeadLetter:
    stored_us = min(stored.stored_us, MAX_RECEIVED_US)
    nowhere = Entry("", "", 0, 0, stored_us - POSTGRES_EPOCH_US)
    return dead_letter(nowhere, message_id, DeadLetterReason.UNPARSABLE, detail, payload)


def _message_id(entry: Entry, message: pb.ClientMessage, inner_index: int | None) -> str:
    message_id = message.message_id
    if message_id and text_problem(message_id, KEY_BYTES) is None:
        return message_id
    return synthetic_id(entry) if inner_index is None else f"{synthetic_id(entry)}.{inner_index}"


def _message_id_of_payload(entry: Entry, payload: bytes) -> str:
    try:
        return _message_id(entry, pb.ClientMessage.FromString(payload), None)
    except DecodeError:
        return synthetic_id(entry)


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd")


def _report(rows: Rows, entry: Entry, payload: bytes, given_id: str) -> None:
    """Take one client message; `given_id` is used when it has none of its own."""
    rows.messages += 1
    try:
        message = pb.ClientMessage.FromString(payload)
    except DecodeError:
        detail = "not a message of the contract"
        letter_id = given_id or synthetic_id(entry)
        rows.bury(dead_letter(entry, letter_id, DeadLetterReason.UNPARSABLE, detail, payload))
        return
    kind = message.WhichOneof("payload")
    if kind == "batch":
        _batch(rows, entry, message, payload)
        return
    message_id = message.message_id or given_id or f"~{entry.epoch}.{entry.position}"
    try:
        _store(rows, entry, message, kind, message_id, careful=len(payload) > KEY_BYTES or 0 in payload)
    except Exception as error:  # noqa: BLE001  (see _why)
        letter_id = given_id or _message_id(entry, message, None)
        rows.bury(dead_letter(entry, letter_id, *_why(error), payload))


def _store(
    rows: Rows, entry: Entry, message: pb.ClientMessage, kind: str | None, message_id: str, *, careful: bool
) -> None:
    handler = HANDLERS.get(kind) if kind is not None else None
    if handler is None:
        if kind in PRESENCE_ONLY:
            return
        raise RefusedError(DeadLetterReason.UNKNOWN_PAYLOAD, "no payload that this version knows")
    if careful:
        problem = text_problem(message_id, KEY_BYTES)
        if problem is not None:
            raise RefusedError(DeadLetterReason.INVALID_FIELD, f"message_id {problem}")
    sent = moment(message.timestamp, "timestamp") if message.HasField("timestamp") else None
    handler(rows, entry, message, (message_id, sent, careful))


def _batch(rows: Rows, entry: Entry, message: pb.ClientMessage, payload: bytes) -> None:
    taken = _Taken()
    has_zero = 0 in payload
    for index, inner in enumerate(message.batch.messages):
        _inner(rows, entry, (inner, index, has_zero or inner.ByteSize() > KEY_BYTES), taken)


class _Taken:
    """What of one batch has been dealt with: stored messages by kind and id, and the ids of dead letters.

    The messages of a batch came at the same instant. So that no two dead letters get the same key, the second one under
    a message_id is buried under the id of its place.
    """

    __slots__ = ("buried", "stored")

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], pb.ClientMessage] = {}
        self.buried: set[str] = set()


def _inner(rows: Rows, entry: Entry, place: tuple[pb.ClientMessage, int, bool], taken: _Taken) -> None:
    """Take one message of a batch; `place` is the message, its index, and whether its texts need care."""
    inner, index, careful = place
    rows.messages += 1
    message_id = inner.message_id or f"~{entry.epoch}.{entry.position}.{index}"
    kind = inner.WhichOneof("payload")
    try:
        if _is_repetition(entry, inner, kind, message_id, taken):
            return
        _store(rows, entry, inner, kind, message_id, careful=careful)
        if kind in _HISTORY_KINDS:
            taken.stored[kind, message_id] = inner
    except Exception as error:  # noqa: BLE001  (see _why)
        reason, detail = _why(error)
        letter_id = _message_id(entry, inner, index)
        if letter_id in taken.buried or reason is DeadLetterReason.MESSAGE_ID_CONFLICT:
            letter_id = f"~{entry.epoch}.{entry.position}.{index}"
        taken.buried.add(letter_id)
        rows.bury(dead_letter(entry, letter_id, reason, detail, inner.SerializeToString()))


def _why(error: Exception) -> tuple[DeadLetterReason, str]:
    """Say why a message is not stored. A fault of a handler's costs that message its place, not the whole batch."""
    if isinstance(error, RefusedError):
        return error.reason, error.detail
    log.error("a handler failed", exc_info=error)
    return DeadLetterReason.UNWRITABLE, repr(error)


def _is_repetition(entry: Entry, inner: pb.ClientMessage, kind: str | None, message_id: str, taken: _Taken) -> bool:
    """Tell whether the batch has said this already.

    Raises:
        RefusedError: it may not be in this batch.
    """
    if inner.client_id and inner.client_id != entry.client_id:
        raise RefusedError(
            DeadLetterReason.CLIENT_ID_MISMATCH, "a message of the batch names another client than the batch"
        )
    if kind in REFUSED_IN_BATCH:
        raise RefusedError(DeadLetterReason.MISPLACED_IN_BATCH, f"{kind} inside a batch")
    if kind not in _HISTORY_KINDS:
        return False
    first = taken.stored.get((kind, message_id))
    if first is None:
        return False
    if getattr(first, kind) != getattr(inner, kind):
        raise RefusedError(
            DeadLetterReason.MESSAGE_ID_CONFLICT, "the batch holds another content under this message_id"
        )
    return True
