"""Which clients there are, and which of them are online."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Q, QuerySet

from command_api.django_settings import API
from command_api.fleet.models import GOODBYE, Client
from command_api.pagination import KeyOrder
from crypto_streaming.client_ids import client_id_problem

CLIENT_ORDER = KeyOrder((("client_id", str),))

_COLUMNS = [field.name for field in Client._meta.concrete_fields]  # noqa: SLF001  (Django's public name for it)
_UNSHOWN = [name for name in _COLUMNS if name.endswith("_order")]
_SHOWN = [name for name in _COLUMNS if name not in _UNSHOWN]


def clients() -> QuerySet[Client]:
    """All clients, without the columns that only the worker needs."""
    return Client.objects.defer(*_UNSHOWN)


_FIND_CLIENT = clients().filter(pk="").query.sql_with_params()[0]


def online_filter(now: datetime) -> Q:
    """Select who is online at a moment; `Client.is_online` is the same rule for one row."""
    connected = Q(session_epoch__gt=F("closed_epoch"))
    returning = Q(disconnected_at__gte=now - timedelta(seconds=API.offline_grace)) & ~Q(close_reason=GOODBYE)
    return Q(last_seen_at__gte=now - timedelta(seconds=API.online_timeout)) & (connected | returning)


def find_client(client_id: str) -> Client | None:
    """Look one client up; None when it never reported."""
    if client_id_problem(client_id):
        return None
    # Every command ends here. The statement is compiled once: compiling takes longer than executing it.
    with connection.cursor() as cursor:
        cursor.execute(_FIND_CLIENT, [client_id])
        row = cursor.fetchone()
    if row is None:
        return None
    # What the field itself would do to a queryset's row.
    values = (json.loads(value) if name == "labels" else value for name, value in zip(_SHOWN, row, strict=True))
    return Client.from_db(connection.alias, _SHOWN, list(values))


def select_clients(
    *, now: datetime, status: str = "", search: str = "", labels: Mapping[str, str] | None = None, offline: bool = False
) -> QuerySet[Client]:
    """Filter clients.

    Args:
        now: the moment that "online" is meant at.
        status: the status they say they have; empty = any.
        search: part of the id, name, type or version, in any case; empty = any.
        labels: labels that they all must have.
        offline: also those that are offline.
    """
    found = clients()
    if not offline:
        found = found.filter(online_filter(now))
    if status:
        found = found.filter(status=status)
    if search:
        found = found.filter(
            Q(client_id__icontains=search)
            | Q(client_name__icontains=search)
            | Q(client_type__icontains=search)
            | Q(version__icontains=search)
        )
    if labels:
        found = found.filter(labels__contains=dict(labels))
    return found


def online_client_ids(now: datetime) -> Iterable[str]:
    """Every client that is online, by id."""
    return clients().filter(online_filter(now)).order_by("client_id").values_list("client_id", flat=True)
