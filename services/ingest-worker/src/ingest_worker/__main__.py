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

from .adapters.database import connect, prepare
from .adapters.replay import Replay, Selection
from .settings import WorkerSettings
from .store import StoppedError, Store
from .worker import Worker


def main() -> None:
    """Do what the command line says."""
    arguments = _parser().parse_args()
    settings = load_settings(WorkerSettings)
    if arguments.command == "replay":
        sys.exit(_replay(settings, arguments))
    configure_logging("ingest-worker", settings.log_level)
    if arguments.command == "wait":
        sys.exit(asyncio.run(_wait(settings)))
    asyncio.run(_run(settings))


async def _run(settings: WorkerSettings) -> None:
    await Worker(settings, SystemClock()).run(_stop_on_signals())


async def _wait(settings: WorkerSettings) -> int:
    """Return when the database has every table and column that the worker writes; the exit status is 1 when stopped."""
    store = Store(
        settings.database_url,
        statement_seconds=settings.statement_seconds,
        backoff_seconds=settings.backoff_seconds,
        clock=SystemClock(),
    )
    opening = asyncio.create_task(store.open())
    stopping = asyncio.create_task(_stop_on_signals().wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    store.stop_within(0)
    try:
        await opening
    except StoppedError:
        return 1
    finally:
        await store.close()
    return 0


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


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
