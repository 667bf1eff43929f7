"""Wallets and transactions: exact amounts, filters, pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from django.db import connection

from command_api.fields import exact_text
from command_api.portfolio.models import Transaction, Wallet

T0 = datetime(2026, 1, 1, tzinfo=UTC)
UINT256 = 2**256 - 1
NEXT = re.compile(r'<(http://[^>]+)>; rel="next"')


def wallet(client_id: str = "c-1", wallet_id: str = "w", symbol: str = "ETH", **values: Any) -> Wallet:
    return Wallet.objects.create(
        client_id=client_id, wallet_id=wallet_id, symbol=symbol, **{"updated_at": T0, **values}
    )


def transaction(transaction_id: str, **values: Any) -> Transaction:
    defaults = {"client_id": "c-1", "first_seen_at": T0, "updated_at": T0}
    return Transaction.objects.create(transaction_id=transaction_id, **{**defaults, **values})


def all_pages(api: Any, target: str, key: str) -> list[Any]:
    seen: list[Any] = []
    while True:
        response = api.get(target)
        assert response.status_code == 200, response.content
        seen += [row[key] for row in response.json()]
        link = NEXT.search(response.get("Link", ""))
        if link is None:
            return seen
        target = link.group(1).partition("/api/crypto")[2]


@pytest.mark.parametrize(
    "amount",
    [
        str(UINT256),
        "0." + "0" * 77 + "1",
        "9" * 78 + "." + "9" * 78,
        "1.10",
        "0",
        "0.000",
        "1" + "0" * 77,
        "123456789012345678901234567890.123456789012345678901234567890",
    ],
)
def test_amounts_leave_digit_for_digit(api: Any, amount: str) -> None:
    # As the worker writes it: text that PostgreSQL reads.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wallets (client_id, wallet_id, symbol, balance_available, updated_at)"
            " VALUES ('c-1', 'w', 'ETH', %s::text::numeric, now()) RETURNING id",
            [amount],
        )
        pk = cast("tuple[int]", cursor.fetchone())[0]
    body = api.get(f"/wallets/{pk}/").json()
    assert body["balance_available"] == amount
    assert body["balance_locked"] is None
    # And back through the model.
    row = Wallet.objects.get(pk=pk)
    row.balance_locked = row.balance_available
    row.save()
    assert api.get(f"/wallets/{pk}/").json()["balance_locked"] == amount


def test_exact_text_never_uses_an_exponent() -> None:
    assert exact_text(Decimal("1E+30")) == "1" + "0" * 30
    assert exact_text(Decimal("1E-30")) == "0." + "0" * 29 + "1"
    assert exact_text(None) is None


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "many", ""])
def test_what_is_not_a_number_is_not_stored(rows: None, value: str) -> None:
    from django.core.exceptions import ValidationError

    with pytest.raises(ValidationError):
        wallet(balance_available=value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["w1", "w2", "w3", "w1"]),
        ("client_id=c-1", ["w1", "w2", "w3"]),
        ("client=c-1", ["w1", "w2", "w3"]),
        ("client=nobody", []),
        ("symbol=BTC", ["w2", "w1"]),
        ("symbol=BTC&client=c-2", ["w1"]),
        ("wallet_id=w3", ["w3"]),
        ("updated_after=2026-01-01T00:00:10Z", ["w2", "w3"]),
        ("updated_before=2026-01-01T00:00:10Z", ["w1", "w1"]),
        ("updated_after=2026-01-01T01:00:10%2B01:00&updated_before=2026-01-01T00:00:20Z", ["w2"]),
    ],
)
def test_filters_of_wallets(api: Any, query: str, expected: list[str]) -> None:
    wallet(wallet_id="w1", symbol="ETH")
    wallet(wallet_id="w2", symbol="BTC", updated_at=T0 + timedelta(seconds=10))
    wallet(wallet_id="w3", symbol="ETH", updated_at=T0 + timedelta(seconds=20))
    wallet(client_id="c-2", wallet_id="w1", symbol="BTC")
    assert [row["wallet_id"] for row in api.get(f"/wallets/?{query}").json()] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["t3", "t2", "t1"]),
        ("client=c-2", ["t3"]),
        ("symbol=ETH", ["t2", "t1"]),
        ("status=pending", ["t2"]),
        ("type=deposit", ["t1"]),
        ("transaction_id=t2", ["t2"]),
        ("after=2026-01-01T00:00:01Z", ["t3", "t2"]),
        ("before=2026-01-01T00:00:01Z", ["t1"]),
        ("updated_after=2026-01-02T00:00:00Z", ["t1"]),
        ("symbol=ETH&status=confirmed&type=deposit&client=c-1", ["t1"]),
    ],
)
def test_filters_of_transactions(api: Any, query: str, expected: list[str]) -> None:
    later = T0 + timedelta(days=1)
    transaction("t1", symbol="ETH", status="confirmed", type="deposit", updated_at=later)
    transaction("t2", symbol="ETH", status="pending", type="transfer", first_seen_at=T0 + timedelta(seconds=1))
    transaction("t3", symbol="BTC", status="confirmed", client_id="c-2", first_seen_at=T0 + timedelta(seconds=2))
    assert [row["transaction_id"] for row in api.get(f"/transactions/?{query}").json()] == expected


def test_a_transaction_in_full(api: Any) -> None:
    row = transaction(
        "0xabc", type="transfer", symbol="ETH", amount=Decimal(UINT256), status="confirmed", details='{"block": 7}'
    )
    assert api.get(f"/transactions/{row.pk}/").json() == {
        "id": row.pk,
        "client_id": "c-1",
        "transaction_id": "0xabc",
        "type": "transfer",
        "symbol": "ETH",
        "amount": str(UINT256),
        "status": "confirmed",
        "details": '{"block": 7}',
        "first_seen_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }


def test_pages_of_transactions_survive_equal_moments_and_new_rows(api: Any) -> None:
    for number in range(10):
        transaction(f"t{number}", first_seen_at=T0 + timedelta(microseconds=number // 4))
    first = api.get("/transactions/?limit=3")
    transaction("newest", first_seen_at=T0 + timedelta(days=1))
    link = NEXT.search(first["Link"])
    assert link is not None
    rest = all_pages(api, link.group(1).partition("/api/crypto")[2], "transaction_id")
    seen = [row["transaction_id"] for row in first.json()] + rest
    assert seen == [f"t{number}" for number in reversed(range(10))]


def test_pages_of_wallets_follow_their_key(api: Any) -> None:
    for client_id, wallet_id, symbol in [
        ("b", "w", "A"),
        ("a", "w2", "A"),
        ("a", "w1", "B"),
        ("a", "w1", "A"),
        ("B", "é", "€"),
    ]:
        wallet(client_id, wallet_id, symbol)
    pages = all_pages(api, "/wallets/?limit=1", "id")
    assert len(pages) == len(set(pages)) == 5
    assert all_pages(api, "/wallets/?limit=1", "client_id") == ["B", "a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("limit=5", "transactions_newest"),
        ("client=c-7&limit=5", "transactions_client"),
        ("symbol=S7&limit=5", "transactions_symbol"),
        ("status=rare&limit=5", "transactions_status"),
    ],
)
def test_pages_are_served_by_an_index(api: Any, statements: Any, query: str, index: str) -> None:
    Transaction.objects.bulk_create(
        [
            Transaction(
                client_id=f"c-{number % 50}",
                transaction_id=f"t{number}",
                symbol=f"S{number % 40}",
                status="rare" if number % 500 == 0 else "confirmed",
                first_seen_at=T0 + timedelta(seconds=number // 3),
                updated_at=T0,
            )
            for number in range(5000)
        ]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE transactions")
    first = api.get(f"/transactions/?{query}")
    link = NEXT.search(first["Link"])
    assert link is not None
    with statements() as captured:
        assert len(api.get(link.group(1).partition("/api/crypto")[2]).json()) == 5
    (query_sql,) = [entry["sql"] for entry in captured]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + query_sql.replace("%", "%%"))
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert index in plan
    assert "Sort" not in plan
