"""`python -m ingest_worker` works until SIGTERM; `… replay` tries dead letters again; `… wait` waits for the tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from service_kit.clock import SystemClock
from service_kit.logs import configure_logging
from service_kit.settings import load_settings

from .adapters.database import connect, prepare, wait_for_tables
from .adapters.replay import Replay, Selection
from .settings import WorkerSettings
from .worker import BusClosedError, Worker


def main() -> None:
    """Do what the command line says."""
    arguments = _parser().parse_args()
    settings = load_settings(WorkerSettings)
    if arguments.command == "replay":
        sys.exit(_replay(settings, arguments))
    configure_logging("ingest-worker", settings.log_level)
    if arguments.command == "wait":
        # As process 1 of a container it would otherwise not be ended by SIGTERM.
        signal.signal(signal.SIGTERM, _give_up)
        wait_for_tables(settings.database_url)
        return
    try:
        asyncio.run(_run(settings))
    except BusClosedError:
        # It is logged. Whoever watches over this process starts another one.
        sys.exit(1)


async def _run(settings: WorkerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await Worker(settings, SystemClock()).run(stop)


def _replay(settings: WorkerSettings, arguments: argparse.Namespace) -> int:
    """Replay and print a line of JSON for each letter; the exit status is 1 when one of them failed again."""
    selection = Selection(arguments.client_id, arguments.reason, arguments.id, arguments.limit)
    failed = 0
    with connect(settings.database_url, name="ingest-worker replay") as connection:
        prepare(connection)
        for replayed in Replay(connection).run(selection, dry_run=arguments.dry_run):
            failed += bool(replayed.error)
            line = {
                "id": replayed.letter_id,
                "client_id": replayed.letter.client_id,
                "message_id": replayed.letter.message_id,
                "reason": replayed.letter.reason,
                "replayed": not replayed.error,
                "error": replayed.error,
            }
            print(json.dumps(line), flush=True)  # noqa: T201  (the command's output)
    return 1 if failed else 0


def _give_up(*_: object) -> None:
    sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ingest_worker", description="Writes durable frames into PostgreSQL.")
    commands = parser.add_subparsers(dest="command", metavar="replay | wait")
    commands.add_parser("wait", help="wait for the tables", description="Returns when the tables are there.")
    replay = commands.add_parser("replay", help="try dead letters again", description="Tries dead letters again.")
    replay.add_argument("--client-id", help="only those of this client")
    replay.add_argument("--reason", help="only those with this reason")
    replay.add_argument("--id", type=int, help="only this one")
    replay.add_argument("--limit", type=int, help="at most so many, the oldest first")
    replay.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")
    return parser


if __name__ == "__main__":
    main()
