from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

LOCK_KEY = 0x63727970746F
"""Of the advisory lock that whoever migrates holds; any number that nobody else takes ("crypto" in ASCII)."""


class Command(migrate.Command):
    """Django's `migrate`, one at a time per database: replicas may all run it when they start."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        """See the base class."""
        with connections[options["database"]].cursor() as cursor:
            # Held by the session, not by a transaction: each migration has its own.
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
            try:
                super().handle(*args, **options)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
        return None
