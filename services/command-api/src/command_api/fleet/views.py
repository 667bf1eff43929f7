"""REST of the fleet."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from command_api.django_settings import API
from command_api.errors import client_not_found
from command_api.fleet.bulk import command_online_clients
from command_api.fleet.commands import command_client
from command_api.fleet.inputs import command_input
from command_api.fleet.queries import CLIENT_ORDER, find_client, select_clients
from command_api.fleet.serializers import (
    BulkAnswerSerializer,
    ClientListQuery,
    ClientSerializer,
    CommandedClientSerializer,
    client_json,
)
from command_api.pagination import paginate
from command_api.parameters import StrictSerializer, query_values, request_values
from command_api.request_log import note
from command_api.responses import LINK_HEADER, REFUSED, ErrorSerializer
from crypto_streaming.commands import COMMANDS, Command
from crypto_streaming.contrib.drf import StreamingCommandViewSetMixin
from crypto_streaming.errors import ERRORS

CLIENT_ID = OpenApiParameter("client_id", str, OpenApiParameter.PATH, description="The client's own id.")

_FAILURES = dict.fromkeys(sorted({404, *(mapping.http_status for mapping in ERRORS.values())}), ErrorSerializer)


class ClientList(APIView):
    """The connected clients."""

    @extend_schema(
        operation_id="list_clients",
        summary="The connected clients",
        parameters=[ClientListQuery, LINK_HEADER],
        responses={
            200: OpenApiResponse(
                ClientSerializer(many=True), description="In the order of ids; a `Link` header names the next page."
            ),
            400: ErrorSerializer,
            **REFUSED,
        },
    )
    def get(self, request: Request) -> Response:
        """List the clients that are online, or all."""
        query = ClientListQuery(data=query_values(request.query_params, frozenset({"label"})))
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        now = timezone.now()
        found = select_clients(
            now=now,
            status=asked["status"],
            search=asked["search"],
            labels=dict(asked["label"]),
            offline=asked["all"],
        )
        page = paginate(found, CLIENT_ORDER, request, limit=asked["limit"], cursor=asked["cursor"])
        return Response([client_json(client, now) for client in page.rows], headers=page.headers)


class ClientDetail(APIView):
    """One client."""

    @extend_schema(
        operation_id="get_client",
        summary="One client",
        parameters=[CLIENT_ID],
        responses={200: ClientSerializer, 404: ErrorSerializer, **REFUSED},
    )
    def get(self, request: Request, client_id: str) -> Response:  # noqa: ARG002  (DRF's signature)
        """Show one client, online or not."""
        note(client_id=client_id)
        client = find_client(client_id)
        if client is None:
            raise client_not_found(client_id)
        return Response(client_json(client, timezone.now()))


class CommandView(StreamingCommandViewSetMixin, APIView):
    """Sends one command to one client; `command_view` makes one of these for each command."""

    kind: ClassVar[type[Command]]
    input_class: ClassVar[type[StrictSerializer]]

    def post(self, request: Request, client_id: str) -> Response:
        """Send the command and wait for the client's ack."""
        arguments, timeout = _command_input(request, self.input_class)
        client, ack = command_client(client_id, self.kind, arguments, timeout)
        answer = client_json(client, timezone.now())
        # It has just answered, whatever the database has heard of it so far.
        return self.format_command_response({**answer, "online": True, "connected": True}, ack)


class BulkCommandView(APIView):
    """Sends one command to every connected client; `bulk_command_view` makes one of these for each."""

    kind: ClassVar[type[Command]]
    input_class: ClassVar[type[StrictSerializer]]

    def post(self, request: Request) -> Response:
        """Send the command to all and wait for their acks, under one deadline."""
        arguments, timeout = _command_input(request, self.input_class)
        answer = command_online_clients(self.kind, arguments, timeout)
        note(command=self.kind.name, total=str(answer["total"]), failed=str(answer["failed"]))
        return Response(answer)


def _command_input(request: Request, input_class: type[StrictSerializer]) -> tuple[dict[str, Any], float]:
    serializer = input_class(data=request_values(request))
    serializer.is_valid(raise_exception=True)
    arguments = dict(serializer.validated_data)
    return arguments, arguments.pop("timeout", API.default_timeout)


def command_view(name: str) -> type[CommandView]:
    """Make the view of a command to one client."""
    kind = COMMANDS[name]
    input_class = command_input(kind)
    view = type(f"{kind.__name__}View", (CommandView,), {"kind": kind, "input_class": input_class})
    return extend_schema_view(
        post=extend_schema(
            operation_id=name,
            summary=f"{name.replace('_', ' ').capitalize()}: command one client and wait for its ack",
            description="Each field may also be given in the query; the body wins.",
            parameters=[CLIENT_ID, input_class],
            request=input_class,
            responses={200: CommandedClientSerializer, **REFUSED, **_FAILURES},
        )
    )(view)


def bulk_command_view(path: str, name: str) -> type[BulkCommandView]:
    """Make the view of a command to every connected client.

    Args:
        path: its name in URLs.
        name: the command.
    """
    kind = COMMANDS[name]
    input_class = command_input(kind)
    view = type(f"Bulk{kind.__name__}View", (BulkCommandView,), {"kind": kind, "input_class": input_class})
    return extend_schema_view(
        post=extend_schema(
            operation_id=path,
            summary=f"{name.replace('_', ' ').capitalize()} every connected client",
            description="Answers 200 whatever became of the single commands: each client has its own result. "
            "`timeout` is for all of it.",
            parameters=[input_class],
            request=input_class,
            responses={200: BulkAnswerSerializer, 400: ErrorSerializer, 503: ErrorSerializer, **REFUSED},
        )
    )(view)
