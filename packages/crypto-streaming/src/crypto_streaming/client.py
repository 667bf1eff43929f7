"""The client of the crypto contract."""

from __future__ import annotations

from typing import cast

from . import pb
from .base import StreamingCommandClient as GenericClient
from .client_ids import client_id_problem
from .commands._registry import AllCommandMethods
from .errors import InvalidCommandError


class StreamingCommandClient(GenericClient[pb.DjangoCommand], AllCommandMethods):
    """Commands one crypto client.

    Each command has a method that sends it and answers whether its client is connected, and a `_sync` twin that waits
    for the client's ack. See the base class for the constructor and for what the calls raise.
    """

    stub_class = pb.CryptoStreamingServiceStub
    request_class = pb.SendCommandRequest
    rpc_method_name = "SendCommandToClient"
    client_id_field = "client_id"

    async def send_command(self, command: pb.DjangoCommand, *, timeout: float | None = None) -> pb.SendCommandResponse:
        """See the base class; the answer also holds the command's id."""
        self._check_client_id()
        return cast("pb.SendCommandResponse", await super().send_command(command, timeout=timeout))

    async def execute_command(self, command: pb.DjangoCommand, *, timeout: float | None = None) -> pb.CommandAck:
        """See the base class."""
        self._check_client_id()
        return cast("pb.CommandAck", await super().execute_command(command, timeout=timeout))

    def _check_client_id(self) -> None:
        if problem := client_id_problem(self.client_id):
            raise InvalidCommandError(problem)
