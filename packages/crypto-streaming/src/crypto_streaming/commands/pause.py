"""Pause a client: it stays connected and stops its work."""

from __future__ import annotations

from typing import ClassVar

from crypto_streaming import pb

from ._base import Command, CommandBuilder, CommandMethods


class PauseCommand(Command):
    """See `PauseMethods`."""

    name: ClassVar[str] = "pause"
    payload_class = pb.PauseClientCommand

    @staticmethod
    def create(reason: str = "") -> pb.DjangoCommand:
        """Make the command; `reason` is for people and logs."""
        return CommandBuilder.create(pb.DjangoCommand, pause=pb.PauseClientCommand(reason=reason))


class PauseMethods(CommandMethods):
    """The methods of this command."""

    async def pause_client(self, reason: str = "") -> bool:
        """Ask the client to pause; False when it is not connected."""
        return await self._deliver(PauseCommand.create(reason))

    async def pause_client_sync(self, reason: str = "", *, timeout: float | None = None) -> pb.CommandAck:
        """Pause the client and wait for its ack. Raises as `execute_command`."""
        return await self.execute_command(PauseCommand.create(reason), timeout=timeout)
