"""Stops what a dead process has left behind. Runs as a process of its own; see `support.processes`.

Its standard input is a pipe of which only its parent holds the other end. The lines that arrive are

    process <process group> <signal number>    it lives; this signal asks it to stop
    gone <process group>                       it ended in order
    directory <path>                           remove this at the end

When the pipe closes, the parent is gone, in order or by `kill -9`, and what is still listed is stopped and removed.
Uses only the standard library and none of our modules: it is started with `python -S -E`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

GRACE_SECONDS = 8.0
POLL_SECONDS = 0.05


def main() -> None:
    """Read until the parent is gone, then clean up."""
    # Ctrl-C reaches the whole terminal; this process ends by the end of its input only.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    directories: list[str] = []
    for line in sys.stdin:
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "process":
            group, number = rest.split()
            groups[int(group)] = int(number)
        elif kind == "gone":
            groups.pop(int(rest), None)
        elif kind == "directory":
            directories.append(rest)
    stop(groups)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def stop(groups: dict[int, int]) -> None:
    """Ask each process group's leader to stop, last started first; kill what is left after the grace period."""
    for group, number in reversed(groups.items()):
        # A paused process acts on a signal only when it goes on.
        for signal_number in (number, signal.SIGCONT):
            with suppress(ProcessLookupError):
                os.kill(group, signal_number)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and live_groups(groups):
        time.sleep(POLL_SECONDS)
    for group in live_groups(groups):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


class Entry(NamedTuple):
    """A line of the process table."""

    pid: int
    parent: int
    group: int


def process_table() -> Iterator[Entry]:
    """Yield the processes of this machine that live: the dead whom nobody has waited for are left out."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # 12 (a name (with) brackets) S 1 12 ...
            state, parent, group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if state not in {"Z", "X"}:
                yield Entry(int(stat.parent.name), int(parent), int(group))


def live_groups(groups: Iterable[int]) -> set[int]:
    """Return those process groups that have a member that lives."""
    return {entry.group for entry in process_table()}.intersection(groups)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on."""
    table = list(process_table())
    found: list[int] = []
    wanted = {pid}
    while wanted:
        wanted = {entry.pid for entry in table if entry.parent in wanted}
        found += wanted
    return found


if __name__ == "__main__":
    main()
