"""Starts command-api: REST, admin console and schema.

`python -m command_api` serves; `python -m command_api manage <command>` runs one of Django's management commands.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run what the command line asks for.

    Raises:
        SystemExit: a setting is wrong, or the command line is.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "command_api.django_settings")
    arguments = sys.argv[1:]
    if arguments[:1] == ["manage"]:
        from django.core.management import execute_from_command_line

        execute_from_command_line(["command_api manage", *arguments[1:]])
    elif arguments:
        raise SystemExit("usage: python -m command_api [manage <django command>]")
    else:
        from command_api.django_settings import API
        from command_api.server import SERVICE, serve
        from service_kit.logs import configure_logging

        configure_logging(SERVICE, API.log_level)
        serve(API)


if __name__ == "__main__":
    main()
