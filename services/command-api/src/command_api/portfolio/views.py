"""REST of what was persisted."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from command_api.pagination import paginate
from command_api.parameters import StrictSerializer, query_values
from command_api.portfolio.queries import (
    TRANSACTION_ORDER,
    WALLET_ORDER,
    select_transactions,
    select_wallets,
    transactions,
    wallets,
)
from command_api.portfolio.serializers import (
    TransactionListQuery,
    TransactionSerializer,
    WalletListQuery,
    WalletSerializer,
)
from command_api.responses import LINK_HEADER, REFUSED, ErrorSerializer

_Row = TypeVar("_Row", bound=Model)


class WalletList(APIView):
    """The wallets."""

    @extend_schema(
        operation_id="list_wallets",
        summary="Wallets with their latest balances",
        parameters=[WalletListQuery, LINK_HEADER],
        responses={
            200: OpenApiResponse(
                WalletSerializer(many=True),
                description="In the order of client, wallet and symbol; a `Link` header names the next page.",
            ),
            400: ErrorSerializer,
            **REFUSED,
        },
    )
    def get(self, request: Request) -> Response:
        """List wallets."""
        asked = _asked(request, WalletListQuery)
        page = paginate(select_wallets(asked), WALLET_ORDER, request, limit=asked["limit"], cursor=asked["cursor"])
        return Response(WalletSerializer(page.rows, many=True).data, headers=page.headers)


class WalletDetail(APIView):
    """One wallet."""

    @extend_schema(
        operation_id="get_wallet",
        summary="One symbol of one wallet",
        responses={200: WalletSerializer, 404: ErrorSerializer, **REFUSED},
    )
    def get(self, request: Request, pk: int) -> Response:  # noqa: ARG002  (DRF's signature)
        """Show one symbol of one wallet."""
        return Response(WalletSerializer(_one(wallets(), pk)).data)


class TransactionList(APIView):
    """The transactions."""

    @extend_schema(
        operation_id="list_transactions",
        summary="Transactions in their latest state",
        parameters=[TransactionListQuery, LINK_HEADER],
        responses={
            200: OpenApiResponse(
                TransactionSerializer(many=True),
                description="Newest first, by `first_seen_at`; a `Link` header names the next page.",
            ),
            400: ErrorSerializer,
            **REFUSED,
        },
    )
    def get(self, request: Request) -> Response:
        """List transactions."""
        asked = _asked(request, TransactionListQuery)
        page = paginate(
            select_transactions(asked), TRANSACTION_ORDER, request, limit=asked["limit"], cursor=asked["cursor"]
        )
        return Response(TransactionSerializer(page.rows, many=True).data, headers=page.headers)


class TransactionDetail(APIView):
    """One transaction."""

    @extend_schema(
        operation_id="get_transaction",
        summary="One transaction",
        responses={200: TransactionSerializer, 404: ErrorSerializer, **REFUSED},
    )
    def get(self, request: Request, pk: int) -> Response:  # noqa: ARG002  (DRF's signature)
        """Show one transaction."""
        return Response(TransactionSerializer(_one(transactions(), pk)).data)


def _asked(request: Request, query_class: type[StrictSerializer]) -> dict[str, Any]:
    query = query_class(data=query_values(request.query_params))
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def _one(rows: QuerySet[_Row], pk: int) -> _Row:
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound
    return row
