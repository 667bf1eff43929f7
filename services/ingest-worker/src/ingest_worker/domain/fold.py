"""From history rows to the latest values: each field keeps its newest given value.

The same rule stands three times in the system, and tests hold the three together: here (within a batch), in the upsert
(between a batch and the table), and in the recomputation from history (after a row of history was replaced).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .rows import ORDER_KEY, RECEIVED, Row

State = list[Any]
"""One row of `wallets` or `transactions`, in the order of the columns below; changed in place."""

WALLET_COLUMNS = (
    "client_id",
    "wallet_id",
    "symbol",
    "balance_available",
    "balance_available_order",
    "balance_locked",
    "balance_locked_order",
    "last_sync",
    "last_sync_order",
    "updated_at",
)
TRANSACTION_COLUMNS = (
    "client_id",
    "transaction_id",
    "type",
    "type_order",
    "symbol",
    "symbol_order",
    "amount",
    "amount_order",
    "status",
    "status_order",
    "details",
    "details_order",
    "updated_at",
    "first_seen_at",
)


def fold_wallets(history: Iterable[Row]) -> list[State]:
    """Fold rows of `wallet_balances`.

    Returns:
        Sorted by key; beside the columns, each ends in the newest order of any given value, which is not stored.
    """
    states: dict[tuple[str, str, str], State] = {}
    for row in history:
        key = (row[0], row[2], row[3])
        order = row[ORDER_KEY]
        available, locked, last_sync = row[4:7]
        state = states.get(key)
        if state is None:
            given = available is not None or locked is not None or last_sync is not None
            states[key] = [
                *key,
                available,
                None if available is None else order,
                locked,
                None if locked is None else order,
                last_sync,
                None if last_sync is None else order,
                row[RECEIVED],
                order if given else b"",
            ]
            continue
        newest = b""
        for at, value in ((3, available), (5, locked), (7, last_sync)):
            if value is not None:
                newest = order
                if state[at + 1] is None or order > state[at + 1]:
                    state[at] = value
                    state[at + 1] = order
        _touch(state, 9, newest, row[RECEIVED])
    return [states[key] for key in sorted(states)]


def fold_transactions(history: Iterable[Row]) -> list[State]:
    """Fold rows of `transaction_events`; see `fold_wallets`."""
    states: dict[tuple[str, str], State] = {}
    for row in history:
        key = (row[0], row[2])
        order = row[ORDER_KEY]
        received = row[RECEIVED]
        kind, symbol, amount, status, details = row[3:8]
        state = states.get(key)
        if state is None:
            given = kind or symbol or amount is not None or status or details
            states[key] = [
                *key,
                kind,
                order if kind else None,
                symbol,
                order if symbol else None,
                amount,
                None if amount is None else order,
                status,
                order if status else None,
                details,
                order if details else None,
                received,
                received,
                order if given else b"",
            ]
            continue
        newest = b""
        # An amount is plain digits or None, so that "given" is "true" for all five.
        for at, value in ((2, kind), (4, symbol), (6, amount), (8, status), (10, details)):
            if value:
                newest = order
                if state[at + 1] is None or order > state[at + 1]:
                    state[at] = value
                    state[at + 1] = order
        _touch(state, 12, newest, received)
        state[13] = min(received, state[13])
    return [states[key] for key in sorted(states)]


def _touch(state: State, at: int, newest: bytes, received: int) -> None:
    """Keep, in column `at`, when the newest given value was received; as long as none was given, the least time."""
    if newest > state[-1]:
        state[-1] = newest
        state[at] = received
    elif newest == state[-1]:
        state[at] = min(received, state[at])
