"""Commands to one client: send first, look up afterwards."""

from __future__ import annotations

import logging
from typing import Any

from django.db import InterfaceError, OperationalError

from command_api import gateway
from command_api.errors import client_not_found, command_failure
from command_api.fleet.models import Client
from command_api.fleet.queries import find_client
from command_api.request_log import note
from crypto_streaming import pb
from crypto_streaming.client_ids import client_id_problem
from crypto_streaming.commands import Command
from crypto_streaming.errors import ClientNotConnectedError, CommandError, InvalidCommandError

log = logging.getLogger(__name__)


def command_client(
    client_id: str, kind: type[Command], arguments: dict[str, Any], timeout: float
) -> tuple[Client, pb.CommandAck]:
    """Send a command, wait for its ack, and look up the client that gave it.

    Args:
        client_id: whom to command.
        kind: which command.
        arguments: the command's own.
        timeout: seconds to wait for the ack.

    Returns:
        The client and its ack. A client whose reports have not reached the database yet is known by its id alone.

    Raises:
        ApiError: no ack; its status and code say why. 404 only if no gateway holds the client and the database never
            saw it.
    """
    note(client_id=client_id, command=kind.name)
    if problem := client_id_problem(client_id):
        raise command_failure(InvalidCommandError(problem), client_id)
    command = kind.create(**arguments)
    note(command_id=command.command_id)
    try:
        ack = gateway.execute(client_id, kind, command, timeout)
    except ClientNotConnectedError as error:
        if _seen(client_id) is False:
            raise client_not_found(client_id) from None
        raise command_failure(error, client_id) from None
    except CommandError as error:
        raise command_failure(error, client_id) from None
    return _found(client_id), ack


def _seen(client_id: str) -> bool | None:
    """Whether the database knows the client; None when it can not be asked."""
    try:
        return find_client(client_id) is not None
    except (OperationalError, InterfaceError):
        return None


def _found(client_id: str) -> Client:
    """The client that has just answered. It did so whether or not the database can tell more about it."""
    try:
        client = find_client(client_id)
    except (OperationalError, InterfaceError):
        log.warning("answering without the client's row: database unavailable", extra={"client_id": client_id})
        client = None
    return client or Client(client_id=client_id)
