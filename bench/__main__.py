"""Runs the benchmarks and prints one table; see `bench/README.md`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from bench.cases import commands, memory, messages, rest, rows
from bench.plan import QUICK, Plan
from bench.report import Figure, table, write_results

CASES: dict[str, Callable[[Plan], Coroutine[Any, Any, list[Figure]]]] = {
    "commands": commands.measure,
    "messages": messages.measure,
    "memory": memory.measure,
    "rows": rows.measure,
    "rest": rest.measure,
}


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures the system, each figure beside its floor.")
    parser.add_argument("--only", action="append", choices=list(CASES), help="run this benchmark; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under two minutes in all")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bound is missed")
    parser.add_argument(
        "--self-check", action="store_true", help="measure a second floor in place of the gateway: shows the noise"
    )
    parser.add_argument(
        "--floor-loop",
        choices=["uvloop", "asyncio"],
        default="uvloop",
        help="event loop of the gRPC floors; the gateway's own is uvloop",
    )
    arguments = parser.parse_args()
    plan = dataclasses.replace(
        QUICK if arguments.quick else Plan(), self_check=arguments.self_check, floor_loop=arguments.floor_loop
    )

    figures: list[Figure] = []
    broken: dict[str, str] = {}
    for name in arguments.only or CASES:
        print(f"{name} ...", end="", flush=True)
        start = time.monotonic()
        try:
            figures += asyncio.run(CASES[name](plan))
        except Exception:  # noqa: BLE001  (the others are measured all the same; the status tells)
            traceback.print_exc()
            broken[name] = traceback.format_exc()
        print(f" {time.monotonic() - start:.0f} s", flush=True)

    if figures:
        print(f"\n{table(figures)}\n")
    print(f"All rounds: {write_results(figures, plan, broken)}")
    missed = [figure.name for figure in figures if not figure.ok]
    if missed:
        print(f"{len(missed)} of {len(figures)} figures miss their bound.")
    if broken:
        print(f"Could not be measured: {', '.join(broken)}")
    return 1 if broken or (arguments.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
