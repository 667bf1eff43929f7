"""Starts command-api.

`python -m command_api manage <command>` runs one of Django's management commands.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run what the command line asks for."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "command_api.django_settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(["command_api manage", *sys.argv[2:]])


if __name__ == "__main__":
    main()
