"""The system under measurement: gateways without Envoy in front, like the floors they are compared with."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.nats import NatsServer
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess, scratch_directory

from bench.plan import Plan
from bench.processes import Floor


@dataclass(frozen=True)
class Target:
    """A server of the contract.

    Attributes:
        address: where it listens.
        pid: its process.
    """

    address: str
    pid: int


class Gateway(ManagedProcess):
    """One real gateway.

    Args:
        name: how it is called in messages.
        nats_url: its NATS.
        directory: where its log goes.
    """

    def __init__(self, name: str, nats_url: str, directory: Path) -> None:
        self.port = free_port()
        self._ops_port = free_port()
        super().__init__(
            name,
            [sys.executable, "-m", "stream_gateway"],
            log_file=directory / f"{name}.log",
            env={
                "GATEWAY_HOST": LOOPBACK,
                "GATEWAY_PORT": str(self.port),
                "GATEWAY_OPS_PORT": str(self._ops_port),
                "GATEWAY_NATS_URL": nats_url,
                "GATEWAY_NATS_NAMESPACE": "bench",
                "GATEWAY_DRAIN_SECONDS": "1",
                "GATEWAY_DRAIN_SETTLE_SECONDS": "0",
            },
            ready=self._is_ready,
        )

    @property
    def target(self) -> Target:
        """Where to measure it."""
        return Target(f"{LOOPBACK}:{self.port}", self.pid)

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._ops_port}/readyz", timeout=2) as response:
            return response.status == 200


@asynccontextmanager
async def gateways(plan: Plan, floor: str, count: int) -> AsyncGenerator[list[Target]]:
    """Start gateways that share one NATS.

    Args:
        plan: says whether another `floor` takes the place of all of them.
        floor: the floor that they are compared with.
        count: how many gateways.
    """
    if plan.self_check:
        async with Floor(floor) as twin:
            yield [Target(twin.address, twin.pid)] * count
        return
    directory = scratch_directory("bench")
    async with AsyncExitStack() as cleanup:
        nats = NatsServer(directory / "nats")
        cleanup.callback(nats.stop)
        nats.start()
        running = [Gateway(f"gateway-{number}", nats.url, directory) for number in range(count)]
        for gateway in running:
            cleanup.callback(gateway.kill9)
            gateway.start()
        yield [gateway.target for gateway in running]
