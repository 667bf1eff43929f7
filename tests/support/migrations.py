"""The schema, which has its one home in the migrations of command-api."""

from __future__ import annotations

import subprocess
import sys

from support.processes import inherited_environment


def migrate(database_url: str) -> None:
    """Bring a database to the present schema, whose one home is the migrations of command-api.

    Raises:
        AssertionError: a migration failed; carries its output.
    """
    result = subprocess.run(
        [sys.executable, "-m", "command_api", "manage", "migrate", "--no-input"],
        check=False,
        capture_output=True,
        text=True,
        env=inherited_environment() | {"API_DATABASE_URL": database_url, "API_SECRET_KEY": "only-for-this-command"},
    )
    assert result.returncode == 0, f"migrate failed:\n{result.stdout}{result.stderr}"
