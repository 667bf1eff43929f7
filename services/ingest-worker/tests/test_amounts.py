from __future__ import annotations

import time
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_worker.domain.amounts import parse_amount
from ingest_worker.domain.refused import RefusedError
from service_kit.deadletters import DeadLetterReason

UINT256_MAX = "115792089237316195423570985008687907853269984665640564039457584007913129639935"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", None),
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("+1.50", "1.50"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("1.5E3", "1500"),
        ("1.5e+1", "15"),
        ("15e-1", "1.5"),
        ("1e-18", "0.000000000000000001"),
        ("1e0000000000000000000000000000000000003", "1000"),
        ("0e400000000", "0"),
        (UINT256_MAX, UINT256_MAX),
        ("9" * 78 + "." + "9" * 78, "9" * 78 + "." + "9" * 78),
        ("1." + "0" * 100, "1." + "0" * 78),
        ("0" * 200 + "1", "1"),
        ("1e77", "1" + "0" * 77),
        ("1e-78", "0." + "0" * 77 + "1"),
    ],
)
def test_numbers_become_plain_digits(text: str, plain: str | None) -> None:
    assert parse_amount(text, "amount") == plain


@pytest.mark.parametrize(
    "text",
    [
        *("abc", " 1", "1 ", "1,5", "1.2.3", ".", "e5", "1e", "1e+", "--1", "0x10", "1_000", "\u0663", "\uff11"),
        *("NaN", "nan", "Infinity", "-inf", "-1", "-0.01", "-1e-400000000"),
        *("1e400", "1e400000000", "1e-400000000", "1e78", "1e-79", "9" * 79, "0." + "0" * 78 + "1", "1" * 5000),
        "1\0",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_amount(text, "amount")
    assert refused.value.reason is DeadLetterReason.INVALID_AMOUNT
    assert refused.value.detail.startswith("amount ")
    assert len(refused.value.detail) < 250


@pytest.mark.parametrize("text", ["1" * 999 + "x", "1" * 400 + "e" + "0" * 500 + "x", "1e" + "9" * 900, "9" * 100_000])
def test_the_cost_is_bounded(text: str) -> None:
    start = time.process_time()
    with pytest.raises(RefusedError):
        parse_amount(text, "amount")
    assert time.process_time() - start < 0.05


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, places=30), st.booleans())
def test_nothing_is_ever_rounded(number: Decimal, scientific: bool) -> None:
    plain = parse_amount(f"{number:e}" if scientific else f"{number:f}", "amount")
    assert plain is not None
    assert Decimal(plain) == number


@given(st.from_regex(r"[+-]?[0-9]{0,90}\.?[0-9]{0,90}([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_whatever_is_taken_has_the_value_that_was_written(text: str) -> None:
    try:
        plain = parse_amount(text, "amount")
    except RefusedError:
        return
    assert (plain is None) == (text == "")
    if plain is not None:
        assert Decimal(plain) == Decimal(text)
        whole, _, fraction = plain.partition(".")
        assert len(whole) <= 78
        assert len(fraction) <= 78


def test_the_database_prints_what_was_parsed(database_url: str) -> None:
    texts = ["1.50", "1e3", "-0.00", UINT256_MAX, "1e-78", ".5", "5.", "9" * 78 + "." + "9" * 78]
    plain = [parse_amount(text, "amount") for text in texts]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT x::numeric::text FROM unnest(%s::text[]) AS x", [plain]).fetchall()
    assert [row[0] for row in rows] == plain
