"""Amounts: exact decimals, or refused."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MAX_DIGITS = 78
"""Before the point, and after it: what is stored. A uint256 has 78."""

Amount = Decimal | int | str


def amount_text(value: Amount) -> str:
    """Write an amount as the contract wants it: plain decimal digits.

    Args:
        value: a Decimal, an int, or a string of either; nothing is rounded.

    Raises:
        TypeError: a float (it has lost the exact value already), or another type.
        ValueError: not a number, infinite, negative, or of more than 78 digits before or after the point.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):  # pyright: ignore[reportUnnecessaryIsInstance] (callers without a type checker)
        raise TypeError(f"an amount is a Decimal, an int or a str, not {type(value).__name__}")
    try:
        # Exact, whatever the decimal context says.
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"not a number: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not a finite number: {value!r}")
    if number < 0:
        raise ValueError(f"negative amount: {value!r}")
    exponent = number.as_tuple().exponent
    # Before writing it out: "1e999999999" is short.
    if number.adjusted() >= MAX_DIGITS or (isinstance(exponent, int) and -exponent > MAX_DIGITS):
        raise ValueError(f"more than {MAX_DIGITS} digits before or after the point: {value!r}")
    # Not abs(): that is arithmetic, which rounds to the context.
    return format(number.copy_abs(), "f")
