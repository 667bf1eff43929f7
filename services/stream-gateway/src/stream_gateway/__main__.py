"""`python -m stream_gateway [--workers N]`."""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from service_kit.logs import configure_logging
from service_kit.settings import load_settings

from .application import BusLostError, Gateway, StartError
from .settings import GatewaySettings
from .supervisor import supervise

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="stream_gateway", description="Holds client streams and delivers commands.")
    parser.add_argument("--workers", type=_positive, default=1, help="processes, on consecutive ports (default 1)")
    arguments = parser.parse_args()
    settings = load_settings(GatewaySettings)
    if arguments.workers > 1 and not (settings.port and settings.ops_port):
        parser.error("--workers needs GATEWAY_PORT and GATEWAY_OPS_PORT: worker i listens on port + i")
    configure_logging("stream-gateway", settings.log_level)
    # A command costs about a tenth less CPU than on asyncio's own loop.
    try:
        uvloop.run(_run(settings, arguments.workers))
    except (StartError, BusLostError) as error:
        parser.exit(1, f"stream_gateway: {error}\n")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a number of workers")
    return number


async def _run(settings: GatewaySettings, workers: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Not the loop's own signal handlers: it gives the signals back to the system when it closes, and a second one would
    # then kill what exits in order.
    for name in STOP_SIGNALS:
        signal.signal(name, lambda _number, _frame: loop.call_soon_threadsafe(stop.set))
    try:
        if workers == 1:
            await Gateway(settings).run(stop)
        else:
            await supervise(settings, workers, stop)
    finally:
        for name in STOP_SIGNALS:
            signal.signal(name, signal.SIG_IGN)


if __name__ == "__main__":
    main()
