"""Memory of an idle stream: what a thousand more of them add to the server's resident memory."""

from __future__ import annotations

import asyncio

from bench.cpu import resident_bytes
from bench.load.jobs import Idle, Job
from bench.plan import Plan
from bench.processes import Floor, Generator
from bench.report import Bound, Figure
from bench.system import Target, gateways

# Opened first: the buffers, pools and code of the first streams are not each stream's.
WARM_UP_STREAMS = 100
SETTLED_SECONDS = 0.5
SETTLED_BYTES = 64 * 1024
POLLS = 40


async def measure(plan: Plan) -> list[Figure]:
    """Run the benchmark."""
    memory = Figure(f"idle stream, of {plan.idle_streams}: memory", "KiB", 1 / 1024, Bound(1.3, at_most=True))
    for _ in range(plan.memory_rounds):
        async with Floor("relay", plan.floor_loop) as relay:
            bare = await _bytes_per_stream(Target(relay.address, relay.pid), plan.idle_streams)
        async with gateways(plan, "relay", 1) as (gateway,):
            ours = await _bytes_per_stream(gateway, plan.idle_streams)
        memory.add(ours=ours, floor=bare)
    return [memory]


async def _bytes_per_stream(server: Target, streams: int) -> float:
    async with Generator() as first, Generator() as rest:
        await first.run(Job(idle=Idle(address=server.address, prefix="warm-up", streams=WARM_UP_STREAMS)))
        before = await _settled(server.pid)
        await rest.run(Job(idle=Idle(address=server.address, prefix="idle", streams=streams)))
        return (await _settled(server.pid) - before) / streams


async def _settled(pid: int) -> int:
    """Resident memory once it has stopped to change."""
    last = resident_bytes(pid)
    for _ in range(POLLS):
        await asyncio.sleep(SETTLED_SECONDS)
        now = resident_bytes(pid)
        if abs(now - last) < SETTLED_BYTES:
            return now
        last = now
    return last
