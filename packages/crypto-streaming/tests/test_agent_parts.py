"""Amounts, reports, retries and the wire form, each by itself."""

from __future__ import annotations

import datetime as dt
import decimal
from decimal import Decimal
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_streaming import pb
from crypto_streaming.agent import AgentSettings, CryptoClient, Entry, MemoryBuffer
from crypto_streaming.agent._retry import EndKind, RetryPolicy, SessionEnd
from crypto_streaming.agent._wire import BATCH_OVERHEAD, batch_of
from crypto_streaming.agent.amounts import amount_text
from crypto_streaming.agent.buffers import ENTRY_OVERHEAD

UINT256 = 2**256 - 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (UINT256, str(UINT256)),
        ("1.50", "1.50"),
        (Decimal("1E+3"), "1000"),
        ("1e-18", "0.000000000000000001"),
        (Decimal("-0"), "0"),
        ("+7", "7"),
        (" 5 ", "5"),
        ("9" * 78 + "." + "9" * 78, "9" * 78 + "." + "9" * 78),
    ],
)
def test_amounts_are_exact(value: Any, text: str) -> None:
    with decimal.localcontext(prec=3):
        assert amount_text(value) == text


@pytest.mark.parametrize(
    "value",
    ["", "x", "NaN", "-1", -1, Decimal("Infinity"), "sNaN", "1e400", "1e999999999", "1e-79", "9" * 79, "1" + "0" * 78],
)
def test_what_can_not_be_stored_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"number|negative|digits"):
        amount_text(value)


@pytest.mark.parametrize("value", [1.5, True, None, b"1"])
def test_inexact_or_strange_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        amount_text(value)


@given(st.decimals(min_value=0, max_value=10**70, allow_nan=False, allow_infinity=False, places=30))
def test_amounts_come_back(value: Decimal) -> None:
    assert Decimal(amount_text(value)) == value


async def kept(buffer: MemoryBuffer) -> list[pb.ClientMessage]:
    return [pb.ClientMessage.FromString(entry.payload) for entry in await buffer.read(0, 100, 1 << 30)]


async def test_reports_say_what_they_were_given() -> None:
    buffer = MemoryBuffer()
    client = CryptoClient("c-1", address="127.0.0.1:1", buffer=buffer)
    when = dt.datetime(2024, 1, 2, 3, 4, 5, 600_000, tzinfo=dt.UTC)
    ids = [
        await client.report_wallet("w", "ETH", available=Decimal("0.1"), last_sync=when),
        await client.report_transaction("t", type="deposit", symbol="ETH", amount=5, status="ok", details={"block": 7}),
        await client.report_transaction("t", details="text"),
        await client.report_status(pb.CLIENT_STATUS_ERROR, "why"),
        await client.report_error("m", severity="critical", traceback="tb"),
        await client.report_log("m", level="debug", extra={"a": [1]}),
    ]
    messages = await kept(buffer)
    assert [message.message_id for message in messages] == ids == sorted(ids)
    assert {message.client_id for message in messages} == {"c-1"}
    assert all(message.HasField("timestamp") for message in messages)
    wallet, transaction, text, status, error, log = messages
    assert wallet.wallet_update.last_sync.ToDatetime(dt.UTC) == when
    assert (wallet.wallet_update.balance_available, wallet.wallet_update.balance_locked) == ("0.1", "")
    assert transaction.transaction == pb.TransactionReport(
        transaction_id="t", type="deposit", symbol="ETH", amount="5", status="ok", details='{"block":7}'
    )
    assert text.transaction == pb.TransactionReport(transaction_id="t", details="text")
    assert status.status == pb.StatusUpdate(status=pb.CLIENT_STATUS_ERROR, details="why")
    assert error.error == pb.ErrorReport(severity="critical", message="m", traceback="tb")
    assert log.log == pb.LogEntry(level="debug", message="m", extra_data='{"a":[1]}')
    await client.stop()


async def test_bad_reports_are_refused_and_not_buffered() -> None:
    buffer = MemoryBuffer()
    client = CryptoClient("c-1", address="127.0.0.1:1", buffer=buffer)
    naive = dt.datetime(2024, 1, 2)  # noqa: DTZ001 (that is the point)
    with pytest.raises(TypeError, match="float"):
        await client.report_wallet("w", "ETH", available=0.1)  # pyright: ignore[reportArgumentType] (the type checker says so too)
    with pytest.raises(ValueError, match="negative"):
        await client.report_transaction("t", amount="-1")
    with pytest.raises(ValueError, match="time zone"):
        await client.report_wallet("w", "ETH", last_sync=naive)
    with pytest.raises(ValueError, match="wallet_id"):
        await client.report_wallet("", "ETH")
    with pytest.raises(ValueError, match="transaction_id"):
        await client.report_transaction("")
    with pytest.raises(ValueError, match=r"U\+0000"):
        await client.report_log("a\0b")
    with pytest.raises(ValueError, match="JSON"):
        await client.report_log("a", extra={"x": float("nan")})
    with pytest.raises(ValueError, match="at most 262144"):
        await client.report_log("x" * 262_144)
    assert len(buffer) == 0
    await client.stop()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=50), st.text(min_size=1, max_size=20))
def test_batches_are_what_protobuf_would_write(texts: list[bytes], client_id: str) -> None:
    reports = [pb.ClientMessage(message_id=str(n), log=pb.LogEntry(message=t.hex())) for n, t in enumerate(texts)]
    entries = [Entry(n, report.message_id, report.SerializeToString()) for n, report in enumerate(reports)]
    message_id, data = batch_of(client_id, 1_700_000_000_000_000_001, entries)
    message = pb.ClientMessage.FromString(data)
    assert message.SerializeToString() == data
    assert (message.message_id, message.client_id) == (message_id, client_id)
    assert message.timestamp.nanos == 1
    assert list(message.batch.messages) == reports


def test_overheads_are_upper_bounds() -> None:
    entries = [Entry(n, "", bytes(n * 5000)) for n in range(1, 52)]
    _, data = batch_of("x" * 128, 2**62, entries)
    inner = sum(len(entry.payload) + ENTRY_OVERHEAD for entry in entries)
    assert inner > 4 * 1024 * 1024
    assert len(data) <= inner + BATCH_OVERHEAD


LOST = SessionEnd(EndKind.LOST, grpc.StatusCode.UNAVAILABLE)


def test_backoff_is_bounded_and_random_between_nothing_and_the_bound() -> None:
    settings = AgentSettings(backoff_base=1, backoff_max=60)
    bounds = [RetryPolicy(settings, lambda: 1.0)] * 10_000
    assert [policy.delay(LOST) for policy in bounds][:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert bounds[0].delay(LOST) == 60
    assert RetryPolicy(settings, lambda: 0.0).delay(LOST) == 0


def test_backoff_starts_over_after_a_session_that_lasted() -> None:
    policy = RetryPolicy(AgentSettings(backoff_base=1, backoff_reset=10), lambda: 1.0)
    delays = [
        policy.delay(SessionEnd(EndKind.LOST, grpc.StatusCode.UNAVAILABLE, lasted=lasted)) for lasted in (0, 9, 10, 0)
    ]
    assert delays == [1, 2, 1, 2]


def test_superseded_waits_at_least_its_delay() -> None:
    settings = AgentSettings()
    aborted = SessionEnd(EndKind.LOST, grpc.StatusCode.ABORTED, lasted=100)
    assert RetryPolicy(settings, lambda: 0.0).delay(aborted) == 30
    assert RetryPolicy(settings, lambda: 0.999).delay(aborted) < 60


def test_reconnect_is_at_once_unless_it_comes_at_once() -> None:
    policy = RetryPolicy(AgentSettings(backoff_base=1), lambda: 1.0)
    assert policy.delay(SessionEnd(EndKind.RECONNECT, lasted=60)) == 0
    assert [policy.delay(SessionEnd(EndKind.RECONNECT, lasted=0)) for _ in range(3)] == [1, 2, 4]
