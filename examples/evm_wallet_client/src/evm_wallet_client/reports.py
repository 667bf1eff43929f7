"""How what was found on the chain is worded for the streaming service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .amounts import to_decimal
from .follower import TransferReport, TransferStatus


class TransferType(StrEnum):
    """Which way a transfer went, seen from the watched addresses."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    """From one watched address to another, or to itself: one transfer, reported once."""


@dataclass(frozen=True)
class TransactionFields:
    """The arguments of `CryptoClient.report_transaction`."""

    transaction_id: str
    type: str
    symbol: str
    amount: str
    status: str
    details: dict[str, str | int | bool]


def transaction_fields(report: TransferReport, watched: frozenset[str]) -> TransactionFields:
    """Word one transfer. `details` says more: block, addresses, and the amount in the smallest unit."""
    transfer = report.transfer
    if transfer.sender not in watched:
        kind = TransferType.DEPOSIT
    elif transfer.recipient not in watched:
        kind = TransferType.WITHDRAWAL
    else:
        kind = TransferType.TRANSFER
    details: dict[str, str | int | bool] = {
        "hash": transfer.transaction,
        "from": transfer.sender,
        "to": transfer.recipient or "",
        "raw": str(transfer.raw),
    }
    if report.status is not TransferStatus.ORPHANED:
        details |= {"block": report.block.number, "block_hash": report.block.hash, "block_time": report.timestamp}
    if transfer.asset.contract is not None:
        details["token"] = transfer.asset.contract
    if transfer.created:
        details["creates_contract"] = True
    return TransactionFields(
        transaction_id=transfer.id,
        type=kind,
        symbol=transfer.asset.symbol,
        amount=to_decimal(transfer.raw, transfer.asset.decimals),
        status=report.status,
        details=details,
    )
