"""Amounts keep every digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evm_wallet_client.amounts import to_decimal


@pytest.mark.parametrize(
    ("raw", "decimals", "written"),
    [
        (0, 18, "0"),
        (1, 18, "0.000000000000000001"),
        (10**18, 18, "1"),
        (1_500_000_000_000_000_000, 18, "1.5"),
        (9_999_999_858_495_713_799_995, 18, "9999.999858495713799995"),
        (2**256 - 1, 18, "115792089237316195423570985008687907853269984665640564039457.584007913129639935"),
        (2**256 - 1, 0, str(2**256 - 1)),
        (1_000_001, 6, "1.000001"),
        (100, 0, "100"),
    ],
)
def test_known_amounts(raw: int, decimals: int, written: str) -> None:
    assert to_decimal(raw, decimals) == written


@given(st.integers(min_value=0, max_value=2**256 - 1), st.integers(min_value=0, max_value=78))
def test_no_digit_is_lost(raw: int, decimals: int) -> None:
    sign, digits, exponent = Decimal(to_decimal(raw, decimals)).as_tuple()
    assert isinstance(exponent, int)
    assert sign == 0
    assert int("".join(map(str, digits))) * 10 ** (decimals + exponent) == raw


@pytest.mark.parametrize(("raw", "decimals"), [(-1, 18), (1, -1), (1, 79)])
def test_what_is_no_amount_is_refused(raw: int, decimals: int) -> None:
    with pytest.raises(ValueError, match=r"amount|decimals"):
        to_decimal(raw, decimals)
