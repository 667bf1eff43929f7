"""The comparison that ends `make demo` finds what it looks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.audit import audit
from support.chain import ChainTransfer

ALICE, BOB, CAROL = ("0x" + letter * 40 for letter in "abc")
CLIENTS = {"wallet-1": [ALICE, BOB], "wallet-2": [CAROL]}
RAW = 2**200 + 1


class KnownChain:
    """A chain of three transfers."""

    rpc = token = description = ""

    def __init__(self) -> None:
        self.accounts = [ALICE, BOB, CAROL]

    def finished(self) -> bool:
        return True

    def transfers(self) -> list[ChainTransfer]:
        return [
            ChainTransfer("0x1", "ETH", ALICE, BOB, RAW, succeeded=True, block=1),
            ChainTransfer("0x2", "ETH", ALICE, CAROL, 5, succeeded=False, block=1),
            ChainTransfer("0x3:0", "DEMO", CAROL, ALICE, 1, succeeded=True, block=2),
        ]

    def balance(self, address: str, symbol: str) -> int:
        return RAW if (address, symbol) == (ALICE, "ETH") else 0


ETH = "1606938044258990275541962092341162602522202.993782792835301377"
TRANSACTIONS = [
    ("wallet-1", "0x1", "transfer", "ETH", ETH, "confirmed"),
    ("wallet-1", "0x2", "withdrawal", "ETH", "0.000000000000000005", "failed"),
    ("wallet-2", "0x2", "deposit", "ETH", "0.000000000000000005", "failed"),
    ("wallet-1", "0x3:0", "deposit", "DEMO", "0.000001", "confirmed"),
    ("wallet-2", "0x3:0", "withdrawal", "DEMO", "0.000001", "confirmed"),
    ("wallet-2", "0x4", "withdrawal", "DEMO", "1", "orphaned"),
]


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A database that agrees with `KnownChain`."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for client_id, transaction_id, kind, symbol, amount, status in TRANSACTIONS:
            connection.execute(
                "INSERT INTO transactions (client_id, transaction_id, type, symbol, amount, status, details,"
                " updated_at, first_seen_at) VALUES (%s, %s, %s, %s, %s, %s, '', now(), now())",
                [client_id, transaction_id, kind, symbol, amount, status],
            )
        for client_id, watched in CLIENTS.items():
            for address in watched:
                for symbol in ("ETH", "DEMO"):
                    amount = ETH if (address, symbol) == (ALICE, "ETH") else "0"
                    connection.execute(
                        "INSERT INTO wallets (client_id, wallet_id, symbol, balance_available, updated_at)"
                        " VALUES (%s, %s, %s, %s, now())",
                        [client_id, address, symbol, amount],
                    )
        yield connection


def test_what_agrees_is_counted(database: psycopg.Connection[Any]) -> None:
    result = audit(database, KnownChain(), CLIENTS)
    assert result.differences == []
    assert (result.transfers, result.orphaned, result.balances) == (5, 1, 6)


DAMAGES = {
    "a transfer is missing": "DELETE FROM transactions WHERE client_id = 'wallet-2' AND transaction_id = '0x2'",
    "an amount is off by one wei": """
        UPDATE transactions SET amount = amount + 0.000000000000000001 WHERE transaction_id = '0x1'""",
    "a status is not final": "UPDATE transactions SET status = 'pending' WHERE transaction_id = '0x1'",
    "a type is wrong": "UPDATE transactions SET type = 'deposit' WHERE transaction_id = '0x1'",
    "a transfer is not on the chain": "UPDATE transactions SET status = 'confirmed' WHERE transaction_id = '0x4'",
    "a balance is off by one wei": """
        UPDATE wallets SET balance_available = balance_available - 0.000000000000000001
        WHERE symbol = 'ETH' AND balance_available > 0""",
    "a balance is missing": "DELETE FROM wallets WHERE symbol = 'DEMO' AND client_id = 'wallet-2'",
    "a wallet is one too many": """
        INSERT INTO wallets (client_id, wallet_id, symbol, updated_at) VALUES ('wallet-2', '0xdd', 'ETH', now())""",
    "a report is stored twice": """
        INSERT INTO transaction_events (client_id, message_id, transaction_id, type, symbol, status, details,
                                        received_at, epoch, position, order_key, content_hash)
        SELECT 'wallet-1', n::text, '0x1', 'transfer', 'ETH', 'confirmed', '', now(), 1, n, '', ''
        FROM generate_series(1, 2) AS n""",
    "a dead letter": """
        INSERT INTO dead_letters (client_id, message_id, received_at, reason, detail, payload, payload_length,
                                  payload_sha256, gateway_id, epoch, position)
        VALUES ('wallet-1', '1', now(), 'X', '', '', 0, '', 'g', 1, 1)""",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(database: psycopg.Connection[Any], damage: str) -> None:
    assert database.execute(DAMAGES[damage].encode()).rowcount > 0
    assert audit(database, KnownChain(), CLIENTS).differences
