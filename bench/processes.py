"""The processes of a measurement: floors and generators."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from support.processes import inherited_environment

from bench.load.jobs import Job, Outcome

ROOT = Path(__file__).resolve().parent.parent
JOB_SECONDS = 120.0


class BenchError(Exception):
    """A measurement could not be made."""


class Child:
    """A Python process of the bench itself.

    Args:
        module: what it runs.
        arguments: its command line.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self.process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
            env=inherited_environment(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # There is nothing that it would have to tidy up.
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def line(self) -> str:
        """The next line of its standard output.

        Raises:
            BenchError: it ended, or said nothing for too long.
        """
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), JOB_SECONDS)
        except TimeoutError:
            raise BenchError(f"{' '.join(self._command)} said nothing for {JOB_SECONDS:.0f} s") from None
        if not line:
            raise BenchError(f"{' '.join(self._command)} ended with {await self.process.wait()}")
        return line.decode().strip()

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()


class Floor(Child):
    """A gRPC floor.

    Args:
        name: `relay` or `ingest`.
        loop: the event loop it runs on: `uvloop` or `asyncio`.
    """

    address = ""

    def __init__(self, name: str, loop: str) -> None:
        super().__init__(f"bench.floors.{name}", loop)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.address = await self.line()
        return self


class Generator(Child):
    """A load generator."""

    def __init__(self) -> None:
        super().__init__("bench.load")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def run(self, job: Job) -> Outcome:
        """Have one job done.

        Raises:
            BenchError: it failed.
        """
        await self.tell(job.model_dump_json())
        outcome = Outcome.model_validate_json(await self.line())
        if outcome.error:
            raise BenchError(f"the load generator failed:\n{outcome.error}")
        return outcome
