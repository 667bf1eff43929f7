"""Console pages of wallets and transactions."""

from __future__ import annotations

from django.contrib import admin

from command_api.admin_base import ReadOnlyAdmin
from command_api.fields import exact_text
from command_api.portfolio.models import Transaction, TransactionEvent, Wallet, WalletBalance


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    """Latest balances."""

    list_display = ("client_id", "wallet_id", "symbol", "available", "locked", "updated_at")
    search_fields = ("=client_id", "=wallet_id", "=symbol")
    ordering = ("client_id", "wallet_id", "symbol")

    @admin.display(description="available")
    def available(self, wallet: Wallet) -> str | None:
        """In plain digits."""
        return exact_text(wallet.balance_available)

    @admin.display(description="locked")
    def locked(self, wallet: Wallet) -> str | None:
        """In plain digits."""
        return exact_text(wallet.balance_locked)


@admin.register(WalletBalance)
class WalletBalanceAdmin(ReadOnlyAdmin):
    """Every update of a balance."""

    list_display = ("received_at", "client_id", "wallet_id", "symbol", "balance_available", "balance_locked")
    search_fields = ("=client_id", "=wallet_id", "=symbol")
    ordering = ("-id",)


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    """Transactions in their latest state."""

    list_display = ("first_seen_at", "client_id", "transaction_id", "type", "symbol", "exact_amount", "status")
    list_filter = ("type",)
    search_fields = ("=client_id", "=transaction_id", "=symbol", "=status")
    ordering = ("-first_seen_at", "-id")

    @admin.display(description="amount")
    def exact_amount(self, transaction: Transaction) -> str | None:
        """In plain digits."""
        return exact_text(transaction.amount)


@admin.register(TransactionEvent)
class TransactionEventAdmin(ReadOnlyAdmin):
    """Every report of a transaction."""

    list_display = ("received_at", "client_id", "transaction_id", "type", "symbol", "amount", "status")
    search_fields = ("=client_id", "=transaction_id")
    ordering = ("-id",)
