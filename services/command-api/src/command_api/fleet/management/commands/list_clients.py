from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from command_api.fleet.models import ClientStatus
from command_api.fleet.queries import select_clients
from command_api.fleet.serializers import client_json


class Command(BaseCommand):
    """Prints the connected clients."""

    help = "Lists the connected clients."

    def add_arguments(self, parser: CommandParser) -> None:
        """See the base class."""
        parser.add_argument("--all", action="store_true", help="also those that are offline")
        parser.add_argument(
            "--status", default="", choices=["", *ClientStatus.values], help="only those with this status"
        )
        parser.add_argument("--search", default="", help="part of the id, name, type or version")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, as the API shows them")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  (Django's signature)
        """See the base class."""
        now = timezone.now()
        found = select_clients(now=now, status=options["status"], search=options["search"], offline=options["all"])
        rows = [client_json(client, now) for client in found.order_by("client_id").iterator()]
        if options["json"]:
            for row in rows:
                self.stdout.write(json.dumps(row))
            return
        shown = [
            ("CLIENT", "STATUS", "ONLINE", "TYPE", "VERSION", "LAST SEEN"),
            *(
                (
                    str(row["client_id"]),
                    str(row["status"]),
                    "yes" if row["online"] else "no",
                    str(row["client_type"] or "-"),
                    str(row["version"] or "-"),
                    str(row["last_seen_at"] or "-"),
                )
                for row in rows
            ),
        ]
        widths = [max(len(line[column]) for line in shown) for column in range(len(shown[0]))]
        for line in shown:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
