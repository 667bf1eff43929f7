"""Commands to the gateways: one shared channel, bounded waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from django.db import connections

from command_api import metrics
from command_api.django_settings import API
from command_api.errors import RETRY_AFTER_SECONDS, ApiError, ApiErrorCode
from crypto_streaming import BlockingStreamingCommandClient, pb
from crypto_streaming.commands import Command
from crypto_streaming.errors import CommandError

log = logging.getLogger(__name__)


class WaitSlots:
    """How many requests may wait for acks at the same time.

    Fewer than there are threads, so that reads are answered while every slot is taken.

    Args:
        size: number of slots.
        what: what takes them, for the refusal.
    """

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self._what = what
        self._free = threading.BoundedSemaphore(size)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; never waits for one.

        Raises:
            ApiError: 503, none is free.
        """
        if not self._free.acquire(blocking=False):
            metrics.WAITS_REFUSED.inc()
            raise ApiError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                ApiErrorCode.TOO_MANY_WAITING,
                f"{self.size} {self._what} are under way already; nothing was sent",
                retry_after=RETRY_AFTER_SECONDS,
            )
        metrics.WAITS.inc()
        try:
            yield
        finally:
            metrics.WAITS.dec()
            self._free.release()


COMMAND_SLOTS = WaitSlots(API.max_waits, "commands")
BULK_SLOTS = WaitSlots(API.max_bulk_requests, "bulk requests")


def commander(client_id: str) -> BlockingStreamingCommandClient:
    """Make the SDK's client for one crypto client; all of a process share one channel."""
    return BlockingStreamingCommandClient(client_id, address=API.gateway_address)


def release_database() -> None:
    """Give this thread's database connection back to the pool: nobody holds one while waiting for a client."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def execute(client_id: str, kind: type[Command], command: pb.DjangoCommand, timeout: float) -> pb.CommandAck:
    """Send one command and wait for its ack.

    Args:
        client_id: whom to command.
        kind: which command it is, for the metrics.
        command: the command.
        timeout: seconds, on every hop to the client and back.

    Raises:
        ApiError: too many wait already; nothing was sent.
        CommandError: no ack.
    """
    with COMMAND_SLOTS.taken():
        release_database()
        try:
            ack = commander(client_id).execute_command(command, timeout=timeout)
        except CommandError as error:
            error.command_id = error.command_id or command.command_id
            metrics.COMMANDS.labels(kind.name, error.code.value).inc()
            raise
    metrics.COMMANDS.labels(kind.name, ack_outcome(ack)).inc()
    return ack


def ack_outcome(ack: pb.CommandAck) -> str:
    """Word an ack for the metrics."""
    return "acked" if ack.success else "refused"
