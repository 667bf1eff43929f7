"""Which wallets and transactions there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from command_api.pagination import KeyOrder
from command_api.portfolio.models import Transaction, Wallet

WALLET_ORDER = KeyOrder((("client_id", str), ("wallet_id", str), ("symbol", str)))
TRANSACTION_ORDER = KeyOrder((("first_seen_at", datetime), ("id", int)), descending=True)

_WALLET_FILTERS = {
    "client_id": "client_id",
    "client": "client_id__exact",
    "wallet_id": "wallet_id",
    "symbol": "symbol",
    "updated_after": "updated_at__gte",
    "updated_before": "updated_at__lt",
}
_TRANSACTION_FILTERS = {
    "client_id": "client_id",
    "client": "client_id__exact",
    "transaction_id": "transaction_id",
    "symbol": "symbol",
    "status": "status",
    "type": "type",
    "after": "first_seen_at__gte",
    "before": "first_seen_at__lt",
    "updated_after": "updated_at__gte",
    "updated_before": "updated_at__lt",
}

_Row = TypeVar("_Row", bound=Model)


def wallets() -> QuerySet[Wallet]:
    """All wallets, without the columns that only the worker needs."""
    return Wallet.objects.defer(*_order_columns(Wallet))


def transactions() -> QuerySet[Transaction]:
    """All transactions, without the columns that only the worker needs."""
    return Transaction.objects.defer(*_order_columns(Transaction))


def select_wallets(asked: Mapping[str, Any]) -> QuerySet[Wallet]:
    """Filter by what a `WalletListQuery` holds; empty values select everything."""
    return _select(wallets(), _WALLET_FILTERS, asked)


def select_transactions(asked: Mapping[str, Any]) -> QuerySet[Transaction]:
    """Filter by what a `TransactionListQuery` holds; empty values select everything."""
    return _select(transactions(), _TRANSACTION_FILTERS, asked)


def _select(rows: QuerySet[_Row], lookups: Mapping[str, str], asked: Mapping[str, Any]) -> QuerySet[_Row]:
    return rows.filter(**{lookup: asked[name] for name, lookup in lookups.items() if asked[name]})


def _order_columns(model: type[Model]) -> list[str]:
    return [field.name for field in model._meta.get_fields() if field.name.endswith("_order")]  # noqa: SLF001  (Django's public name for it)
