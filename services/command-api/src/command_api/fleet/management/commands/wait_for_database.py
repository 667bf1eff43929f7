from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from command_api.readiness import missing_database, missing_schema

RETRY_SECONDS = 0.5


class Command(BaseCommand):
    """Waits for the database: what starts beside it is started in any order."""

    help = "Returns when the database answers; with --migrated, when it has every migration that this version needs."
    requires_system_checks: list[str] = []  # noqa: RUF012  (Django's convention)

    def add_arguments(self, parser: CommandParser) -> None:
        """See the base class."""
        parser.add_argument("--migrated", action="store_true", help="and has every migration")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  (Django's signature)
        """See the base class."""
        # As process 1 of a container it would otherwise not be ended by SIGTERM.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
        missing = missing_schema if options["migrated"] else missing_database
        pause = threading.Event()
        said = ""
        while reason := missing():
            if reason != said:
                self.stdout.write(reason)
                self.stdout.flush()
                said = reason
            pause.wait(RETRY_SECONDS)
