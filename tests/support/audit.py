"""Compares what PostgreSQL holds with what a chain says: every transfer once, every balance equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

from support.chain import ChainTransfer
from support.example import DECIMALS, ExampleChain

SETTLED = {True: "confirmed", False: "failed"}
"""How a transfer ends, by whether it succeeded."""


@dataclass
class Audit:
    """What was compared, and what does not fit."""

    transfers: int = 0
    orphaned: int = 0
    balances: int = 0
    reports: int = 0
    differences: list[str] = field(default_factory=list[str])


def audit(connection: psycopg.Connection[Any], chain: ExampleChain, clients: Mapping[str, Sequence[str]]) -> Audit:
    """Compare once.

    Args:
        connection: to the database; read only.
        chain: the truth.
        clients: the addresses that each client watches.
    """
    result = Audit()
    transfers = chain.transfers()
    balances = {
        (address, symbol): chain.balance(address, symbol)
        for address in {address for watched in clients.values() for address in watched}
        for symbol in DECIMALS
    }
    with connection.transaction():
        for client_id, watched in clients.items():
            _compare_transfers(connection, result, client_id, frozenset(watched), transfers)
            _compare_history(connection, result, client_id)
            _compare_balances(connection, result, client_id, watched, balances)
        for client_id, reason, detail in connection.execute("SELECT client_id, reason, detail FROM dead_letters"):
            result.differences.append(f"{client_id}: dead letter {reason}: {detail}")
    return result


def _compare_transfers(
    connection: psycopg.Connection[Any],
    result: Audit,
    client_id: str,
    watched: frozenset[str],
    transfers: Sequence[ChainTransfer],
) -> None:
    """Every transfer that touches a watched address is there with its amount, type and status, and no other one is."""
    rows = connection.execute(
        "SELECT transaction_id, type, symbol, amount, status FROM transactions WHERE client_id = %s", [client_id]
    ).fetchall()
    found = {row[0]: tuple(row[1:]) for row in rows}
    if len(found) != len(rows):
        result.differences.append(f"{client_id}: {len(rows)} rows for {len(found)} transactions")
    for transfer in transfers:
        if transfer.sender not in watched and transfer.recipient not in watched:
            continue
        result.transfers += 1
        wanted = (
            _type(transfer, watched),
            transfer.symbol,
            _exact(transfer.raw, transfer.symbol),
            SETTLED[transfer.succeeded],
        )
        actual = found.pop(transfer.id, None)
        if actual != wanted:
            result.differences.append(f"{client_id}: {transfer.id}: {actual} where the chain has {wanted}")
    for transaction_id, fields in found.items():
        # What is not on the chain was on a block that went away, and must have been taken back.
        result.orphaned += 1
        if fields[3] != "orphaned":
            result.differences.append(f"{client_id}: {transaction_id} is {fields[3]} and not on the chain")


def _compare_history(connection: psycopg.Connection[Any], result: Audit, client_id: str) -> None:
    """No report is stored twice: a transfer has each status once."""
    rows = connection.execute(
        "SELECT transaction_id, status, details FROM transaction_events WHERE client_id = %s", [client_id]
    ).fetchall()
    result.reports += len(rows)
    for (transaction_id, status, _), count in Counter(rows).items():
        if count > 1:
            result.differences.append(f"{client_id}: {transaction_id} was reported as {status} {count} times")


def _compare_balances(
    connection: psycopg.Connection[Any],
    result: Audit,
    client_id: str,
    watched: Sequence[str],
    balances: Mapping[tuple[str, str], int],
) -> None:
    rows = connection.execute(
        "SELECT wallet_id, symbol, balance_available FROM wallets WHERE client_id = %s", [client_id]
    ).fetchall()
    actual = {(address, symbol): amount for address, symbol, amount in rows}
    wanted = {
        (address, symbol): _exact(balances[address, symbol], symbol) for address in watched for symbol in DECIMALS
    }
    result.balances += len(wanted)
    for address, symbol in sorted(wanted.keys() | actual.keys()):
        have, chain_has = actual.get((address, symbol)), wanted.get((address, symbol))
        if have is None or have != chain_has:
            result.differences.append(f"{client_id}: {address} has {have} {symbol} where the chain has {chain_has}")


def _type(transfer: ChainTransfer, watched: frozenset[str]) -> str:
    if transfer.sender not in watched:
        return "deposit"
    return "transfer" if transfer.recipient in watched else "withdrawal"


def _exact(raw: int, symbol: str) -> Decimal:
    """Shift the point without arithmetic, which would round at 28 digits."""
    return Decimal((0, tuple(map(int, str(raw))), -DECIMALS[symbol]))
