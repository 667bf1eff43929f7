"""Whether the service may be given work."""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

from command_api import metrics

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


class Readiness:
    """Becomes ready when the database is first reached with every migration applied, and stays so.

    A later outage of the database is not this process's illness: requests that need it answer 503 meanwhile, and
    commands go on.
    """

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="readiness", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def is_ready(self) -> bool:
        """Never blocks."""
        return self._ready.is_set()

    def _watch(self) -> None:
        pause = threading.Event()
        said = ""
        while True:
            missing = missing_schema()
            if not missing:
                break
            if missing != said:
                log.info("not ready", extra={"reason": missing})
                said = missing
            pause.wait(_RETRY_SECONDS)
        metrics.READY.set(1)
        self._ready.set()
        log.info("ready")


def missing_schema() -> str:
    """Say what of the database is missing; nothing when it has every migration that this version knows."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return f"{len(plan)} migrations are not applied" if plan else ""
    except (DatabaseError, InterfaceError) as error:
        return _no_database(error)
    finally:
        connection.close()


def missing_database() -> str:
    """Say why the database does not answer; nothing when it does."""
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as error:
        return _no_database(error)
    finally:
        connection.close()
    return ""


def _no_database(error: Exception) -> str:
    """Word an error in one line."""
    return f"no database: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
