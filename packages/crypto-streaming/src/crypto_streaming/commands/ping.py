"""Ask a client whether it is there."""

from __future__ import annotations

from typing import ClassVar

from crypto_streaming import pb

from ._base import Command, CommandBuilder, CommandMethods


class PingCommand(Command):
    """See `PingMethods`."""

    name: ClassVar[str] = "ping"
    payload_class = pb.PingCommand

    @staticmethod
    def create(sequence: int = 0) -> pb.DjangoCommand:
        """Make the command; `sequence` (an int32) is the caller's own number."""
        return CommandBuilder.create(pb.DjangoCommand, ping=pb.PingCommand(sequence=sequence))


class PingMethods(CommandMethods):
    """The methods of this command."""

    async def ping_client(self, sequence: int = 0) -> bool:
        """Send a ping; False when the client is not connected."""
        return await self._deliver(PingCommand.create(sequence))

    async def ping_client_sync(self, sequence: int = 0, *, timeout: float | None = None) -> pb.CommandAck:
        """Ping the client and wait for its ack. Raises as `execute_command`."""
        return await self.execute_command(PingCommand.create(sequence), timeout=timeout)
