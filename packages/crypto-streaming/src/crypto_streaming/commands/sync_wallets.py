"""Have a client read its wallets again and report them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from crypto_streaming import pb

from ._base import Command, CommandBuilder, CommandMethods


class SyncWalletsCommand(Command):
    """See `SyncWalletsMethods`."""

    name: ClassVar[str] = "sync_wallets"
    payload_class = pb.SyncWalletsCommand

    @staticmethod
    def create(symbols: Iterable[str] = ()) -> pb.DjangoCommand:
        """Make the command for some symbols; none means all."""
        return CommandBuilder.create(pb.DjangoCommand, sync_wallets=pb.SyncWalletsCommand(symbols=symbols))


class SyncWalletsMethods(CommandMethods):
    """The methods of this command."""

    async def sync_wallets(self, symbols: Iterable[str] = ()) -> bool:
        """Ask the client to report these symbols (none means all); False when it is not connected."""
        return await self._deliver(SyncWalletsCommand.create(symbols))

    async def sync_wallets_sync(self, symbols: Iterable[str] = (), *, timeout: float | None = None) -> pb.CommandAck:
        """Have the client report these symbols (none means all) and wait for its ack. Raises as `execute_command`."""
        return await self.execute_command(SyncWalletsCommand.create(symbols), timeout=timeout)
