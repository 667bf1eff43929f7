"""For authors of crypto clients: connect, report, obey.

client = CryptoClient("wallets-1", address="gateway:443", buffer=DiskBuffer("wallets-1.db"))

@client.on(pb.SyncWalletsCommand)
async def sync(command: pb.SyncWalletsCommand) -> Ack:
    ...

await client.run()
"""

from ._clock import Clock, SystemClock
from .ack import Ack
from .buffers import Buffer, Entry, MemoryBuffer
from .client import CryptoClient
from .disk_buffer import DiskBuffer
from .settings import AgentSettings, ClientRejectedError

__all__ = [
    "Ack",
    "AgentSettings",
    "Buffer",
    "ClientRejectedError",
    "Clock",
    "CryptoClient",
    "DiskBuffer",
    "Entry",
    "MemoryBuffer",
    "SystemClock",
]
