"""What a client can report."""

from __future__ import annotations

import json
import traceback as tracebacks
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crypto_streaming import pb

from ._clock import Clock
from ._dispatch import Dispatcher
from ._wire import new_message
from .amounts import Amount, amount_text


class Reports(ABC):
    """The `report_…` methods.

    Each returns the report's message_id (a UUIDv7) once it is in the buffer; while the buffer is full it waits. Beside
    what each says, all raise `ValueError` for a report over the size limit, with text that can not be stored (U+0000),
    and `RuntimeError` once the client has ended; and what the buffer raises when it can not keep a report.
    """

    client_id: str
    _clock: Clock
    _dispatcher: Dispatcher

    @abstractmethod
    async def _keep(self, message: pb.ClientMessage) -> str:
        """Put a finished message into the buffer."""

    async def report_wallet(
        self,
        wallet_id: str,
        symbol: str,
        *,
        available: Amount | None = None,
        locked: Amount | None = None,
        last_sync: datetime | None = None,
    ) -> str:
        """Report a balance.

        Args:
            wallet_id: the wallet, in the client's own naming.
            symbol: the asset, such as `ETH`.
            available: what can be spent, in the symbol's own unit, exact; None = not given.
            locked: what can not, likewise.
            last_sync: when the balance was read, with its time zone; decides which of two reports is newer.

        Raises:
            TypeError: an amount is a float.
            ValueError: an amount is negative, no number, or too long; an id is empty; `last_sync` has no time zone.
        """
        message = self._new()
        message.wallet_update.CopyFrom(
            pb.WalletUpdate(
                wallet_id=_required("wallet_id", wallet_id),
                symbol=_required("symbol", symbol),
                balance_available="" if available is None else amount_text(available),
                balance_locked="" if locked is None else amount_text(locked),
            )
        )
        if last_sync is not None:
            if last_sync.tzinfo is None:
                raise ValueError("last_sync has no time zone")
            message.wallet_update.last_sync.FromDatetime(last_sync)
        return await self._keep(message)

    async def report_transaction(
        self,
        transaction_id: str,
        *,
        type: str = "",  # noqa: A002 (the contract's name)
        symbol: str = "",
        amount: Amount | None = None,
        status: str = "",
        details: str | Mapping[str, Any] = "",
    ) -> str:
        """Report a transaction, or what changed of one: fields left out keep what was reported before.

        Args:
            transaction_id: unique for this client; a hash, for instance.
            type: deposit, withdrawal or transfer.
            symbol: the asset.
            amount: in the symbol's own unit, exact.
            status: such as `pending` or `confirmed`.
            details: text, or a mapping that becomes a JSON object.

        Raises:
            TypeError: the amount is a float, or `details` holds what JSON can not.
            ValueError: the amount is negative, no number, or too long; the id is empty.
        """
        message = self._new()
        message.transaction.CopyFrom(
            pb.TransactionReport(
                transaction_id=_required("transaction_id", transaction_id),
                type=_text(type),
                symbol=_text(symbol),
                amount="" if amount is None else amount_text(amount),
                status=_text(status),
                details=_json(details),
            )
        )
        return await self._keep(message)

    async def report_status(self, status: pb.ClientStatus, details: str = "") -> str:
        """Report the client's status; acks carry it too, from now on."""
        message = self._new()
        message.status.CopyFrom(pb.StatusUpdate(status=status, details=_text(details)))
        self._dispatcher.status = status
        return await self._keep(message)

    async def report_error(
        self,
        message: str,
        *,
        severity: str = "error",
        traceback: str = "",
        exception: BaseException | None = None,
    ) -> str:
        """Report an error.

        Args:
            message: what happened.
            severity: such as `warning`, `error` or `critical`.
            traceback: text; made from `exception` when that is given instead.
            exception: the exception behind it.
        """
        if exception is not None and not traceback:
            traceback = "".join(tracebacks.format_exception(exception))
        report = self._new()
        report.error.CopyFrom(
            pb.ErrorReport(severity=_text(severity), message=_text(message), traceback=_text(traceback))
        )
        return await self._keep(report)

    async def report_log(self, message: str, *, level: str = "info", extra: str | Mapping[str, Any] = "") -> str:
        """Report a line of log.

        Args:
            message: the line.
            level: such as `debug`, `info` or `warning`.
            extra: text, or a mapping that becomes a JSON object.

        Raises:
            TypeError: `extra` holds what JSON can not.
        """
        report = self._new()
        report.log.CopyFrom(pb.LogEntry(level=_text(level), message=_text(message), extra_data=_json(extra)))
        return await self._keep(report)

    def _new(self) -> pb.ClientMessage:
        return new_message(self.client_id, self._clock.time_ns())


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("text with U+0000 can not be stored")
    return value


def _required(name: str, value: str) -> str:
    if not value:
        raise ValueError(f"{name} is empty")
    return _text(value)


def _json(value: str | Mapping[str, Any]) -> str:
    return _text(value if isinstance(value, str) else json.dumps(dict(value), separators=(",", ":"), allow_nan=False))
