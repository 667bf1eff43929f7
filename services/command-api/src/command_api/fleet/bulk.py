"""One command to every connected client, under one deadline."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from django.utils import timezone

from command_api import gateway, metrics
from command_api.django_settings import API
from command_api.fleet.queries import online_client_ids
from crypto_streaming import pb
from crypto_streaming.blocking import CommandFuture
from crypto_streaming.commands import Command
from crypto_streaming.contrib.drf import command_result, status_word
from crypto_streaming.errors import CommandError, ErrorCode


@dataclass(frozen=True)
class _Sent:
    client_id: str
    command_id: str
    future: CommandFuture


def command_online_clients(kind: type[Command], arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Send a command to every client that is online, and collect what became of each.

    Args:
        kind: which command.
        arguments: the command's own.
        timeout: seconds for all of it. Whom it was not sent to by then has `COMMAND_EXPIRED` in its result.

    Returns:
        `total`, `successful`, `failed`, and `results` in the order of client ids.

    Raises:
        ApiError: too many bulk requests run already; nothing was sent.
    """
    with gateway.BULK_SLOTS.taken():
        deadline = time.monotonic() + timeout
        client_ids = list(online_client_ids(timezone.now()))
        gateway.release_database()
        results = sorted(_fan_out(client_ids, kind, arguments, deadline), key=lambda result: result["client_id"])
    successful = sum(result["success"] for result in results)
    return {
        "total": len(results),
        "successful": successful,
        "failed": len(results) - successful,
        "results": results,
    }


def _fan_out(
    client_ids: Iterable[str], kind: type[Command], arguments: dict[str, Any], deadline: float
) -> Iterator[dict[str, Any]]:
    """Keep `API_BULK_CONCURRENCY` commands under way until all are done; no thread waits for a single one."""
    done: SimpleQueue[_Sent] = SimpleQueue()
    under_way = 0
    for client_id in client_ids:
        if under_way >= API.bulk_concurrency:
            # Never for ever: each future ends by the common deadline at the latest.
            yield _outcome(done.get(), kind)
            under_way -= 1
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            metrics.COMMANDS.labels(kind.name, ErrorCode.COMMAND_EXPIRED.value).inc()
            yield _failure(client_id, "", ErrorCode.COMMAND_EXPIRED, "the time was over before it was sent")
            continue
        command = kind.create(**arguments)
        try:
            future = gateway.commander(client_id).execute_future(command, timeout=remaining)
        except CommandError as error:
            # One row that is no client must not keep the command from the others.
            yield _failure(client_id, "", error.code, error.message)
            continue
        future.add_done_callback(partial(_put, done, _Sent(client_id, command.command_id, future)))
        under_way += 1
    for _ in range(under_way):
        yield _outcome(done.get(), kind)


def _put(done: SimpleQueue[_Sent], sent: _Sent, _future: CommandFuture) -> None:
    done.put(sent)


def _outcome(sent: _Sent, kind: type[Command]) -> dict[str, Any]:
    try:
        ack: pb.CommandAck = sent.future.result()
    except CommandError as error:
        metrics.COMMANDS.labels(kind.name, error.code.value).inc()
        return _failure(sent.client_id, error.command_id or sent.command_id, error.code, error.message)
    metrics.COMMANDS.labels(kind.name, gateway.ack_outcome(ack)).inc()
    return {"client_id": sent.client_id, **command_result(ack)}


def _failure(client_id: str, command_id: str, code: ErrorCode, words: str) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "command_id": command_id,
        "success": False,
        "message": words,
        "status": status_word(pb.CLIENT_STATUS_UNKNOWN),
        "error": code.value,
    }
