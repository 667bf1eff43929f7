"""Callers of ExecuteCommandSync, and of its REST form."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable

import httpx

from bench.load.jobs import Calls, Outcome, RestPings
from bench.load.meter import Meter
from bench.load.streams import open_channels, ping

CHANNELS = 4


async def call_commands(job: Calls) -> Outcome:
    """Run the calls, `in_flight` at a time."""
    channels = open_channels(job.address, min(CHANNELS, job.in_flight))
    run = uuid.uuid4().hex[:8]

    async def one(number: int) -> None:
        client_id = f"{job.prefix}-{number % job.clients}"
        ack = await ping(channels[number % len(channels)], client_id, f"{run}-{number}")
        if not ack.success:
            raise RuntimeError(f"ping of {client_id}: {ack.error}: {ack.message}")

    try:
        return await _repeat(one, job.warm_up, job.calls, job.in_flight, job.cpu_pids)
    finally:
        for channel in channels:
            await channel.close()


async def post_pings(job: RestPings) -> Outcome:
    """Run the requests, one at a time on one connection."""
    async with httpx.AsyncClient(base_url=job.url, timeout=20, trust_env=False) as http:

        async def one(number: int) -> None:
            client_id = f"{job.prefix}-{number % job.clients}"
            answer = await http.post(f"/api/crypto/commands/{client_id}/ping/", json={"sequence": number})
            if not answer.is_success or not answer.json()["command_result"]["success"]:
                raise RuntimeError(f"ping of {client_id}: {answer.status_code} {answer.text[:200]}")

        return await _repeat(one, job.warm_up, job.calls, 1, job.cpu_pids)


async def _repeat(
    one: Callable[[int], Awaitable[None]], warm_up: int, count: int, in_flight: int, cpu_pids: list[int]
) -> Outcome:
    latencies: list[float] = []

    async def caller(numbers: itertools.count[int], end: int) -> None:
        while (number := next(numbers)) < end:
            start = time.perf_counter()
            await one(number)
            latencies.append(time.perf_counter() - start)

    async def stretch(start: int, end: int) -> None:
        numbers = itertools.count(start)
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(caller(numbers, end))

    await stretch(0, warm_up)
    latencies.clear()
    meter = Meter(cpu_pids)
    await stretch(warm_up, warm_up + count)
    return meter.stop(count, latencies)
