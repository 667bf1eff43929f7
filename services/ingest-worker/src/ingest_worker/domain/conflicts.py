"""Which copy of a message stands when several with other content share its id, whatever the order they came in.

What holds in the end, for each (client_id, message_id) of a history table: the copy of the least rank is stored; of
every other content the copy of the least rank is a dead letter. That is a function of the set of copies that came, so
any order, split or repetition of them ends the same. `settle` is one step towards it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from crypto_streaming import pb
from service_kit.deadletters import DeadLetterReason

from .order import sent_moment
from .rows import CONTENT_HASH, EPOCH, ORDER_KEY, POSITION, RECEIVED, DeadLetter, Row, rank
from .times import Moment, column_moment


@dataclass(frozen=True)
class BuriedCopy:
    """A dead letter that an earlier step has made.

    Attributes:
        id: of its row.
        content_hash: of what it says.
        rank: of the copy.
    """

    id: int
    content_hash: bytes
    rank: tuple[int, int, int]


@dataclass
class Settlement:
    """What to do about one key.

    Attributes:
        kept: the copy that stands.
        bury: copies that become dead letters.
        dig_up: ids of dead letters that are to be removed.
    """

    kept: Row
    bury: list[Row] = field(default_factory=list[Row])
    dig_up: list[int] = field(default_factory=list[int])


def settle(copies: Iterable[Row], buried: Iterable[BuriedCopy]) -> Settlement:
    """Take one step.

    Args:
        copies: the stored one, if any, and those that came; at least one.
        buried: the known dead letters of this key and of these contents.
    """
    ordered = sorted(copies, key=rank)
    kept = ordered[0]
    settlement = Settlement(kept)
    known = {letter.content_hash: letter for letter in buried}
    stands = known.pop(kept[CONTENT_HASH], None)
    if stands is not None:
        settlement.dig_up.append(stands.id)
    done = {kept[CONTENT_HASH]}
    for copy in ordered[1:]:
        content = copy[CONTENT_HASH]
        if content in done:
            continue
        done.add(content)
        letter = known.get(content)
        if letter is not None:
            if letter.rank <= rank(copy)[:3]:
                continue
            settlement.dig_up.append(letter.id)
        settlement.bury.append(copy)
    return settlement


_DETAIL = "another content is stored under this message_id; hash of this one: "


def conflict_detail(content_hash: bytes) -> str:
    """Say in a dead letter why, and of which content: the words by which it is found again."""
    return _DETAIL + content_hash.hex()


def hash_in_detail(detail: str) -> bytes:
    """Undo `conflict_detail`."""
    return bytes.fromhex(detail.removeprefix(_DETAIL))


def conflict_letter(table: str, row: Row) -> DeadLetter:
    """Make the dead letter of a copy that does not stand.

    Its payload is written anew from the row, whether the copy had been stored or not: else it would depend on which of
    two came first. For a message of the contract as every protobuf library writes it that is what was received, byte
    for byte; unusual spellings of amounts become plain digits. Rows do not tell which gateway they came by.
    """
    payload = rebuild(table, row).SerializeToString(deterministic=True)
    return DeadLetter(
        client_id=row[0],
        message_id=row[1],
        received_at=row[RECEIVED],
        reason=DeadLetterReason.MESSAGE_ID_CONFLICT.value,
        detail=conflict_detail(row[CONTENT_HASH]),
        payload=payload,
        payload_length=len(payload),
        payload_sha256=hashlib.sha256(payload).digest(),
        gateway_id="",
        epoch=row[EPOCH],
        position=row[POSITION],
    )


def rebuild(table: str, row: Row) -> pb.ClientMessage:
    """Make the message of which a history row was made."""
    message = pb.ClientMessage(client_id=row[0], message_id=row[1])
    sent = sent_moment(row[ORDER_KEY])
    if sent is not None:
        message.timestamp.CopyFrom(_timestamp(sent))
    _REBUILDERS[table](message, row)
    return message


def _timestamp(value: Moment) -> Timestamp:
    return Timestamp(seconds=value[0], nanos=value[1])


def _rebuild_wallet(message: pb.ClientMessage, row: Row) -> None:
    update = message.wallet_update
    update.SetInParent()
    update.wallet_id, update.symbol = row[2], row[3]
    update.balance_available, update.balance_locked = row[4] or "", row[5] or ""
    if row[6] is not None:
        update.last_sync.CopyFrom(_timestamp(column_moment(row[6])))


def _rebuild_transaction(message: pb.ClientMessage, row: Row) -> None:
    report = message.transaction
    report.SetInParent()
    report.transaction_id, report.type, report.symbol = row[2:5]
    report.amount = row[5] or ""
    report.status, report.details = row[6:8]


def _rebuild_error(message: pb.ClientMessage, row: Row) -> None:
    message.error.SetInParent()
    message.error.severity, message.error.message, message.error.traceback = row[2:5]


def _rebuild_log(message: pb.ClientMessage, row: Row) -> None:
    message.log.SetInParent()
    message.log.level, message.log.message, message.log.extra_data = row[2:5]


_REBUILDERS: dict[str, Callable[[pb.ClientMessage, Row], None]] = {
    "wallet_balances": _rebuild_wallet,
    "transaction_events": _rebuild_transaction,
    "client_errors": _rebuild_error,
    "client_logs": _rebuild_log,
}
