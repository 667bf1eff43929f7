"""WalletUpdate: one row of history; `fold` makes the wallet's latest values of it."""

from __future__ import annotations

from crypto_streaming import pb
from ingest_worker.domain.amounts import parse_amount
from ingest_worker.domain.order import order_key
from ingest_worker.domain.rows import Entry, Head, Rows, content_hash
from ingest_worker.domain.texts import KEY_BYTES, check_texts, require
from ingest_worker.domain.times import column_time, moment


def handle(rows: Rows, entry: Entry, message: pb.ClientMessage, head: Head) -> None:
    """See `Handler`."""
    message_id, sent, careful = head
    update = message.wallet_update
    wallet_id = update.wallet_id
    symbol = update.symbol
    if not (wallet_id and symbol):
        require(wallet_id=wallet_id, symbol=symbol)
    if careful:
        check_texts(KEY_BYTES, wallet_id=wallet_id, symbol=symbol)
    available = parse_amount(update.balance_available, "balance_available")
    locked = parse_amount(update.balance_locked, "balance_locked")
    claimed = moment(update.last_sync, "last_sync") if update.HasField("last_sync") else None
    last_sync = None if claimed is None else column_time(claimed)
    rows.wallet_balances.add(
        (
            entry.client_id,
            message_id,
            wallet_id,
            symbol,
            available,
            locked,
            last_sync,
            None if sent is None else column_time(sent),
            entry.received,
            entry.epoch,
            entry.position,
            order_key(entry.moment, sent, claimed, message_id),
            content_hash(wallet_id, symbol, available or "", locked or "", str(last_sync)),
        )
    )
