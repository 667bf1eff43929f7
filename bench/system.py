"""The system under measurement: gateways without Envoy in front, like the floors they are compared with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from support.nats import NatsServer
from support.processes import scratch_directory
from support.services import GatewayProcess

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


@asynccontextmanager
async def gateways(plan: Plan, floor: str, count: int) -> AsyncGenerator[list[Target]]:
    """Start gateways that share one NATS.

    Args:
        plan: says whether another `floor` takes the place of all of them.
        floor: the floor that they are compared with.
        count: how many gateways.
    """
    if plan.self_check:
        async with Floor(floor, plan.floor_loop) as twin:
            yield [Target(twin.address, twin.pid)] * count
        return
    directory = scratch_directory("bench")
    async with AsyncExitStack() as cleanup:
        nats = NatsServer(directory / "nats")
        cleanup.callback(nats.stop)
        nats.start()
        running = [
            GatewayProcess(name, {"NATS_URL": nats.url}, log_file=directory / f"{name}.log")
            for name in (f"gateway-{number}" for number in range(1, count + 1))
        ]
        for gateway in running:
            cleanup.callback(gateway.kill9)
            gateway.start()
        yield [Target(gateway.address, gateway.pid) for gateway in running]
