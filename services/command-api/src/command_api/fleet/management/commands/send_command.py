from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from command_api.django_settings import API
from command_api.fleet.inputs import command_input
from command_api.gateway import commander
from crypto_streaming.commands import COMMANDS
from crypto_streaming.contrib.drf import command_result
from crypto_streaming.errors import CommandError as StreamingCommandError


class Command(BaseCommand):
    """Sends one command to one client and prints its ack."""

    help = "Sends a command to a client, waits for its ack and prints it as JSON. Needs the gateway, not the database."
    requires_system_checks: list[str] = []  # noqa: RUF012  (Django's convention)

    def add_arguments(self, parser: CommandParser) -> None:
        """See the base class."""
        parser.add_argument("client_id")
        parser.add_argument("command", choices=sorted(COMMANDS))
        parser.add_argument(
            "arguments", nargs="*", metavar="name=value", help="the command's own: reason=..., symbols=BTC,ETH"
        )
        parser.add_argument("--timeout", type=float, default=API.default_timeout, help="seconds to wait for the ack")
        parser.add_argument("--no-wait", action="store_true", help="return once the command is queued on the stream")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  (Django's signature)
        """See the base class.

        Raises:
            CommandError: an argument is wrong, no ack came, or the client refused.
        """
        kind = COMMANDS[options["command"]]
        values = dict(_name_and_value(argument) for argument in options["arguments"])
        serializer = command_input(kind)(data={**values, "timeout": options["timeout"]})
        if not serializer.is_valid():
            raise CommandError(json.dumps(serializer.errors))
        arguments = dict(serializer.validated_data)
        timeout = arguments.pop("timeout")
        command = kind.create(**arguments)
        client = commander(options["client_id"])
        try:
            if options["no_wait"]:
                sent = client.send_command(command, timeout=timeout)
                if not sent.success:
                    raise CommandError(sent.error)
                self.stdout.write(json.dumps({"command_id": sent.command_id or command.command_id, "queued": True}))
                return
            ack = client.execute_command(command, timeout=timeout)
        except StreamingCommandError as error:
            raise CommandError(f"{error.code}: {error.message}") from None
        self.stdout.write(json.dumps(command_result(ack)))
        if not ack.success:
            raise CommandError(f"the client refused: {ack.error or ack.message}")


def _name_and_value(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not equals:
        raise CommandError(f"{argument!r} is not name=value")
    return name, value
