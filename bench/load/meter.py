"""Counts time and other processes' CPU time over a stretch of work."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.cpu import cpu_seconds
from bench.load.jobs import Outcome


class Meter:
    """Starts to count when made.

    Args:
        pids: processes whose CPU time to count.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._cpu = [cpu_seconds(pid) for pid in pids]
        self._start = time.perf_counter()

    def stop(self, operations: int, latencies: Sequence[float] = ()) -> Outcome:
        """What was counted. `latencies` are seconds, in any order."""
        seconds = time.perf_counter() - self._start
        cpu = [cpu_seconds(pid) - before for pid, before in zip(self._pids, self._cpu, strict=True)]
        ordered = sorted(latencies)
        p50, p99 = (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]) if ordered else (0.0, 0.0)
        return Outcome(seconds=seconds, operations=operations, p50=p50, p99=p99, cpu=cpu)
