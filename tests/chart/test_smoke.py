"""What `helm test` runs, run against the real system."""

from __future__ import annotations

import subprocess
import sys

import psycopg
from support.envoy import CHART
from support.processes import inherited_environment
from support.stack import Stack


def test_the_release_test_passes_and_leaves_no_user(stack: Stack) -> None:
    command = [sys.executable, str(CHART / "files" / "smoke.py")]
    command += [f"--edge={stack.edge_address}", f"--internal={stack.internal_address}"]
    environment = inherited_environment() | {"API_DATABASE_URL": stack.database_url}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "ok: a report has its receipt",
        "ok: a command by gRPC was acknowledged",
        "ok: a command by REST was acknowledged",
        "ok: the report is in the database, and REST shows it",
        "ok",
    ]
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT 1 FROM auth_user").fetchall() == []
        assert connection.execute("SELECT 1 FROM wallets WHERE client_id = 'helm-test'").fetchall() == [(1,)]
