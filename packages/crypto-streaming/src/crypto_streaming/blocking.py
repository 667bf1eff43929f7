"""The blocking twin of the clients, for Django views under threads and for scripts.

`crypto_streaming._blocking` is generated from the async code; this module adds what only threads have use for.
"""

from __future__ import annotations

from . import pb
from ._blocking.base import BlockingStreamingCommandClient as GenericBlockingStreamingCommandClient
from ._blocking.client import BlockingStreamingCommandClient as _GeneratedClient
from ._callers import CommandFuture

__all__ = ["BlockingStreamingCommandClient", "CommandFuture", "GenericBlockingStreamingCommandClient"]


class BlockingStreamingCommandClient(_GeneratedClient):
    """Commands one crypto client, from a thread. The same as `StreamingCommandClient` without `await`."""

    def execute_future(self, command: pb.DjangoCommand, *, timeout: float | None = None) -> CommandFuture:
        """Send a command and go on: many can wait for their acks without a thread each.

        Args:
            command: the command.
            timeout: seconds until the waiting ends; None means 15.

        Returns:
            A future whose `result()` is the ack, or raises as `execute_command`.

        Raises:
            InvalidCommandError: the client's id is not one.
            ValueError: `timeout` is not a positive number.
        """
        self._check_client_id()
        return self._caller.start(command, timeout)
