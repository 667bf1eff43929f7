"""Ask a client how it is."""

from __future__ import annotations

from typing import ClassVar

from crypto_streaming import pb

from ._base import Command, CommandBuilder, CommandMethods


class RequestStatusCommand(Command):
    """See `RequestStatusMethods`."""

    name: ClassVar[str] = "request_status"
    payload_class = pb.RequestStatusCommand

    @staticmethod
    def create(include_stats: bool = False) -> pb.DjangoCommand:
        """Make the command; `include_stats` asks for the client's counters too."""
        return CommandBuilder.create(
            pb.DjangoCommand, request_status=pb.RequestStatusCommand(include_stats=include_stats)
        )


class RequestStatusMethods(CommandMethods):
    """The methods of this command."""

    async def request_status(self, include_stats: bool = False) -> bool:
        """Ask the client for its status, without waiting for it; False when it is not connected."""
        return await self._deliver(RequestStatusCommand.create(include_stats))

    async def request_status_sync(
        self,
        include_stats: bool = False,
        *,
        timeout: float | None = None,
    ) -> pb.CommandAck:
        """Ask the client for its status and wait for it: `current_status`, and `stats`. Raises as `execute_command`."""
        return await self.execute_command(RequestStatusCommand.create(include_stats), timeout=timeout)
