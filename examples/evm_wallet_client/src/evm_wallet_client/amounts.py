"""Amounts: integers of the smallest unit on the chain, decimal strings in reports. No float, no rounding, ever."""

from __future__ import annotations

ETHER_DECIMALS = 18
MAX_DECIMALS = 78
"""What the database takes: 78 digits before the point and 78 after it (a uint256 has at most 78)."""


def to_decimal(raw: int, decimals: int) -> str:
    """Write an amount in an asset's own unit, exactly and in its shortest form.

    Args:
        raw: the amount in the smallest unit (wei), not negative.
        decimals: how many smallest units make one: ten to this power; 0 to 78.

    Returns:
        For example `to_decimal(1_500_000_000_000_000_000, 18) == "1.5"`.

    Raises:
        ValueError: `raw` is negative or `decimals` out of range.
    """
    if raw < 0:
        raise ValueError(f"an amount can not be negative: {raw}")
    if not 0 <= decimals <= MAX_DECIMALS:
        raise ValueError(f"decimals must be from 0 to {MAX_DECIMALS}, not {decimals}")
    whole, fraction = divmod(raw, 10**decimals)
    if not fraction:
        return str(whole)
    return f"{whole}." + str(fraction).zfill(decimals).rstrip("0")
