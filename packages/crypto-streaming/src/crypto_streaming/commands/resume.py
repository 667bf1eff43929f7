"""Let a paused client go on."""

from __future__ import annotations

from typing import ClassVar

from crypto_streaming import pb

from ._base import Command, CommandBuilder, CommandMethods


class ResumeCommand(Command):
    """See `ResumeMethods`."""

    name: ClassVar[str] = "resume"
    payload_class = pb.ResumeClientCommand

    @staticmethod
    def create(message: str = "") -> pb.DjangoCommand:
        """Make the command; `message` is for people and logs."""
        return CommandBuilder.create(pb.DjangoCommand, resume=pb.ResumeClientCommand(message=message))


class ResumeMethods(CommandMethods):
    """The methods of this command."""

    async def resume_client(self, message: str = "") -> bool:
        """Ask the client to go on; False when it is not connected."""
        return await self._deliver(ResumeCommand.create(message))

    async def resume_client_sync(self, message: str = "", *, timeout: float | None = None) -> pb.CommandAck:
        """Let the client go on and wait for its ack. Raises as `execute_command`."""
        return await self.execute_command(ResumeCommand.create(message), timeout=timeout)
