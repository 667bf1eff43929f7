"""Entry point: `python -m evm_wallet_client --help`."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import signal
import sys

from pydantic import ValidationError
from pydantic_settings import CliApp

from crypto_streaming.agent import ClientRejectedError, CryptoClient, DiskBuffer
from service_kit.clock import SystemClock
from service_kit.logs import configure_logging

from .client import WalletClient
from .follower import Follower
from .settings import ClientSettings
from .simulated import Rehearsal
from .source import ChainSource
from .state import StateFile


def main() -> None:
    """Follow until SIGTERM or Ctrl-C; exits with status 2 on wrong settings."""
    try:
        settings = CliApp.run(ClientSettings)
    except ValidationError as error:
        for problem in error.errors():
            name = "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            print(f"evm_wallet_client: --{name}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    configure_logging("evm-wallet-client", settings.log_level)
    asyncio.run(run(settings))


async def run(settings: ClientSettings) -> None:
    """Wire the parts together and run them until a signal."""
    clock = SystemClock()
    source: ChainSource
    if settings.rpc.startswith("simulated:"):
        source = Rehearsal(settings.rpc, clock, tokens=bool(settings.token))
    else:
        # web3 takes a second to import: not for those who do without.
        from .evm import EvmSource

        source = EvmSource(
            settings.rpc, tokens=settings.token, coin=settings.coin, timeout=settings.rpc_timeout_seconds
        )
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    stream = CryptoClient(
        client_id=settings.client_id,
        address=settings.server,
        client_name=settings.client_name,
        client_type="evm_wallet",
        version=importlib.metadata.version("evm-wallet-client"),
        labels={"chain": settings.rpc.partition(":")[0].replace("https", "evm").replace("http", "evm")},
        # Synchronised, as the cursor is: a block that the cursor has passed must not be missing after a power cut.
        buffer=DiskBuffer(settings.state_dir / "reports.db", sync=True),
    )
    addresses = frozenset(settings.address)
    follower = Follower(
        source,
        addresses,
        confirmations=settings.confirmations,
        remember=settings.remember_blocks,
        start_block=settings.start_block,
        clock=clock,
    )
    client = WalletClient(
        stream,
        source,
        follower,
        StateFile(settings.state_dir / "state.json"),
        addresses=addresses,
        clock=clock,
        poll_seconds=settings.poll_seconds,
        refresh_seconds=settings.refresh_seconds,
    )
    running = asyncio.create_task(client.run())
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        await client.stop()
    asked.cancel()
    try:
        await running
    except* (ClientRejectedError, OSError) as problems:
        for problem in problems.exceptions:
            logging.getLogger(__name__).error("ended: %s", problem)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
