"""Wallets and transactions as JSON, and the questions that can be asked about them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from command_api.fields import ExactDecimalField, exact_text
from command_api.parameters import StrictSerializer, StrictText
from command_api.portfolio.models import Transaction, Wallet

DEFAULT_PAGE = 100
MAX_PAGE = 1000


@extend_schema_field({"type": "string", "pattern": "^[0-9]+([.][0-9]+)?$", "example": "1.000000000000000001"})
class AmountField(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs only
    """An exact amount, as a string of plain digits."""

    def to_representation(self, value: Decimal) -> str | None:
        """Write every digit."""
        return exact_text(value)


class _ExactSerializer(serializers.ModelSerializer[Any]):
    serializer_field_mapping: ClassVar = {
        **serializers.ModelSerializer.serializer_field_mapping,
        ExactDecimalField: AmountField,
    }


class WalletSerializer(_ExactSerializer):
    """The latest balance of one symbol in one wallet. Amounts are exact decimal strings; null = never given."""

    class Meta:
        model = Wallet
        fields: ClassVar = [
            "id",
            "client_id",
            "wallet_id",
            "symbol",
            "balance_available",
            "balance_locked",
            "last_sync",
            "updated_at",
        ]
        read_only_fields = fields


class TransactionSerializer(_ExactSerializer):
    """The latest state of one transaction. The amount is an exact decimal string; null = never given."""

    class Meta:
        model = Transaction
        fields: ClassVar = [
            "id",
            "client_id",
            "transaction_id",
            "type",
            "symbol",
            "amount",
            "status",
            "details",
            "first_seen_at",
            "updated_at",
        ]
        read_only_fields = fields


def _exact_filter(words: str) -> StrictText:
    return StrictText(
        required=False, default="", allow_blank=True, trim_whitespace=False, max_length=1000, help_text=words
    )


def _moment_filter(words: str) -> serializers.DateTimeField:
    return serializers.DateTimeField(required=False, default=None, help_text=f"{words} ISO 8601; UTC unless it says.")


class WalletListQuery(StrictSerializer):
    """Filters of the list of wallets."""

    client_id = _exact_filter("Of this client.")
    client = _exact_filter("The same, shorter.")
    wallet_id = _exact_filter("This wallet.")
    symbol = _exact_filter("Of this symbol.")
    updated_after = _moment_filter("Updated at this moment or later.")
    updated_before = _moment_filter("Updated before this moment.")
    limit = serializers.IntegerField(
        required=False, default=DEFAULT_PAGE, min_value=1, max_value=MAX_PAGE, help_text="The most rows of a page."
    )
    cursor = StrictText(
        required=False, default="", allow_blank=True, help_text="Where the page begins; from a `Link` header."
    )


class TransactionListQuery(StrictSerializer):
    """Filters of the list of transactions."""

    client_id = _exact_filter("Of this client.")
    client = _exact_filter("The same, shorter.")
    transaction_id = _exact_filter("This transaction.")
    symbol = _exact_filter("Of this symbol.")
    status = _exact_filter("In this state.")
    type = _exact_filter("Of this type: deposit, withdrawal or transfer.")
    after = _moment_filter("First seen at this moment or later.")
    before = _moment_filter("First seen before this moment.")
    updated_after = _moment_filter("Updated at this moment or later.")
    updated_before = _moment_filter("Updated before this moment.")
    limit = serializers.IntegerField(
        required=False, default=DEFAULT_PAGE, min_value=1, max_value=MAX_PAGE, help_text="The most rows of a page."
    )
    cursor = StrictText(
        required=False, default="", allow_blank=True, help_text="Where the page begins; from a `Link` header."
    )
