"""`--workers N`: N gateway processes on N consecutive ports, each its own Envoy endpoint.

The parent only starts, watches and stops them; they find one another through NATS like any other gateways.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from .settings import GatewaySettings

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


async def supervise(settings: GatewaySettings, workers: int, stop: asyncio.Event) -> None:
    """Run `workers` processes until `stop` is set; one that dies is started again. Both ports must be fixed."""
    await asyncio.gather(*(_keep_running(settings, number, stop) for number in range(workers)))


async def _keep_running(settings: GatewaySettings, number: int, stop: asyncio.Event) -> None:
    environment = dict(
        os.environ,
        GATEWAY_PORT=str(settings.port + number),
        GATEWAY_OPS_PORT=str(settings.ops_port + number),
    )
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "stream_gateway", env=environment)
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.terminate()
            await ended
        elif not stop.is_set():
            log.error("worker died", extra={"number": number, "status": ended.result()})
            await asyncio.wait({stopping}, timeout=RESTART_SECONDS)
