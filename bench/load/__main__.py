"""A load generator: reads jobs from standard input, writes their outcomes to standard output, ends with its input."""

from __future__ import annotations

import asyncio
import sys
import traceback

from bench.load.commands import call_commands, post_pings
from bench.load.jobs import Fleet, Idle, Job, Outcome
from bench.load.messages import send_messages
from bench.load.streams import AckingFleet, close_streams, open_channels, open_stream, registration


class Generator:
    """Carries out jobs; remembers the streams that outlive theirs."""

    def __init__(self) -> None:
        self._fleet: AckingFleet | None = None
        self._idle = None

    async def run(self, job: Job) -> Outcome:
        """Carry out one job."""
        if job.fleet is not None:
            return await self._connect_fleet(job.fleet)
        if job.idle is not None:
            return await self._open_idle(job.idle)
        if job.calls is not None:
            return await call_commands(job.calls)
        if job.messages is not None:
            return await send_messages(job.messages)
        if job.rest_pings is not None:
            return await post_pings(job.rest_pings)
        raise ValueError("an empty job")

    async def _connect_fleet(self, job: Fleet) -> Outcome:
        if self._fleet is not None:
            await self._fleet.close()
            self._fleet = None
        if job.address:
            self._fleet = await AckingFleet.connect(
                job.address, job.via or job.address, job.prefix, job.clients, job.channels
            )
        return Outcome(operations=job.clients)

    async def _open_idle(self, job: Idle) -> Outcome:
        if self._idle is not None:
            await close_streams(*self._idle, tasks=[])
            self._idle = None
        if job.address:
            channels = open_channels(job.address, job.channels)
            streams = [
                await open_stream(channels[number % job.channels], registration(f"{job.prefix}-{number}"))
                for number in range(job.streams)
            ]
            self._idle = (channels, streams)
        return Outcome(operations=job.streams)


async def main() -> None:
    """Serve jobs until the input ends."""
    generator = Generator()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        try:
            outcome = await generator.run(Job.model_validate_json(line))
        except Exception:  # noqa: BLE001  (whatever it was, the driver must hear of it)
            outcome = Outcome(error=traceback.format_exc())
        print(outcome.model_dump_json(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
