"""Exact decimal numbers: from what a client wrote to plain digits, without rounding and without floats.

Accepted: an optional sign, digits with at most one point, an optional exponent (`12`, `-0`, `.5`, `1e-18`), in ASCII,
nothing else, not even spaces. In plain digits, without zeros that carry no value in front, there may be at most 78
before and 78 after the point (a uint256 in wei has 78), and the value must not be negative. The result is as
PostgreSQL's `numeric` prints it: `1.50` stays `1.50`, `1.5e3` becomes `1500`.
"""

from __future__ import annotations

import re

from service_kit.deadletters import DeadLetterReason

from .refused import RefusedError

MAX_DIGITS = 78
# Longer texts are refused unread: sign, digits on both sides, point and exponent fit many times over.
MAX_TEXT = 1000
# An exponent of more digits can only belong to zero or to something out of range.
_MAX_EXPONENT_DIGITS = 6

_PLAIN = re.compile(r"(?:0|[1-9][0-9]{0,77})(?:\.[0-9]{1,78})?")
# Possessive quantifiers: no backtracking, so that the cost is linear.
_NUMBER = re.compile(r"([+-]?)(?:([0-9]++)(?:\.([0-9]*+))?|\.([0-9]++))(?:[eE]([+-]?)([0-9]++))?")
_is_plain = _PLAIN.fullmatch


def parse_amount(text: str, field: str) -> str | None:
    """Read one amount.

    The cost is bounded by the length of the text: an exponent is never expanded before it is known to be small.

    Returns:
        Plain digits, or None for an empty text ("not given").

    Raises:
        RefusedError: not a number, negative, or out of range.
    """
    if not text:
        return None
    if _is_plain(text):
        return text
    return _parse_general(text, field)


def _parse_general(text: str, field: str) -> str:
    shown = text if len(text) <= 100 else text[:100] + "…"
    if len(text) > MAX_TEXT:
        raise RefusedError(DeadLetterReason.INVALID_AMOUNT, f"{field} is longer than {MAX_TEXT} characters: {shown!r}")
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise RefusedError(DeadLetterReason.INVALID_AMOUNT, f"{field} is not a decimal number: {shown!r}")
    sign, whole, fraction, only_fraction, exponent_sign, exponent_digits = match.groups()
    fraction = only_fraction or fraction or ""
    exponent_digits = (exponent_digits or "").lstrip("0")
    digits = ((whole or "") + fraction).lstrip("0")
    if sign == "-" and digits:
        raise RefusedError(DeadLetterReason.INVALID_AMOUNT, f"{field} is negative: {shown!r}")
    if not digits:
        # Zero, whatever its exponent; its scale is kept as far as the bounds go.
        exponent_digits = ""
        fraction = fraction[:MAX_DIGITS]
    if len(exponent_digits) > _MAX_EXPONENT_DIGITS:
        raise _out_of_range(field, shown)
    exponent = int(exponent_digits or "0")
    # How many of the digits stand after the point; negative: so many zeros follow them.
    scale = len(fraction) + (exponent if exponent_sign == "-" else -exponent)
    if scale > MAX_DIGITS:
        # Zeros at the end carry no value: dropping them is not rounding.
        surplus = scale - MAX_DIGITS
        if digits[-surplus:].strip("0") or surplus > len(digits):
            raise _out_of_range(field, shown)
        digits = digits[:-surplus]
        scale = MAX_DIGITS
    if len(digits) - scale > MAX_DIGITS:
        raise _out_of_range(field, shown)
    if scale <= 0:
        return (digits + "0" * -scale) or "0"
    digits = digits.rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}"


def _out_of_range(field: str, shown: str) -> RefusedError:
    return RefusedError(
        DeadLetterReason.INVALID_AMOUNT,
        f"{field} has more than {MAX_DIGITS} digits before or after the point: {shown!r}",
    )
