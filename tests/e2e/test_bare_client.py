"""Clients of the bare contract exist: they work unchanged, and notice nothing of the extensions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from support.processes import ManagedProcess
from support.stack import Stack
from support.waiting import eventually

HERE = Path(__file__).parent
CLIENT = "bare-1"
COMMANDS = ("ping", "pause", "resume", "sync_wallets", "request_status")


@pytest.fixture
def bare_client(stack: Stack, tmp_path: Path) -> Iterator[ManagedProcess]:
    """The old client as a process, connected through Envoy."""
    protos = [str(path) for path in sorted((HERE / "bare_contract").glob("*.proto"))]
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE / 'bare_contract'}", *outputs, *protos], check=True
    )
    client = ManagedProcess(
        "bare client",
        [sys.executable, HERE / "bare_client.py", stack.edge_address, CLIENT],
        env={"PYTHONPATH": str(tmp_path)},
        log_file=tmp_path / "bare.log",
    )
    client.start()
    yield client
    client.kill9()


def rows(stack: Stack, query: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.database_url) as connection:
        return connection.execute(query, {"client": CLIENT}).fetchall()


def one_client(api: httpx.Client) -> dict[str, Any]:
    answer = api.get(f"{CLIENT}/")
    return answer.json() if answer.is_success else {}


def test_a_bare_client_works_unchanged(stack: Stack, bare_client: ManagedProcess) -> None:
    with httpx.Client(base_url=f"{stack.edge_url}/api/crypto/commands/") as api:
        eventually(lambda: one_client(api).get("online"), timeout=20)
        for command in COMMANDS:
            answer = api.post(f"{CLIENT}/{command}/")
            assert answer.is_success, answer.text
            result = answer.json()["command_result"]
            assert (result["success"], result["message"]) == (True, f"did {command}")
        eventually(lambda: one_client(api)["status"] == "active")

        # What it was sent: the commands, in order, and not one field that it does not know.
        said = [json.loads(line) for line in bare_client.log_file.read_text().splitlines()]
        assert [line["kind"] for line in said] == list(COMMANDS)
        assert all(line["unknown_fields"] == 0 for line in said)

        # What it reported is stored once, exactly.
        wallet = rows(stack, "SELECT symbol, balance_available FROM wallets WHERE client_id = %(client)s")
        assert wallet == [("BTC", Decimal("0.000000000000000001"))]
        transaction = rows(stack, "SELECT type, amount FROM transactions WHERE client_id = %(client)s")
        assert transaction == [("deposit", Decimal(2**256 - 1))]
        tables: tuple[LiteralString, ...] = ("wallet_balances", "transaction_events", "client_errors", "client_logs")
        for table in tables:
            assert rows(stack, f"SELECT count(*) FROM {table} WHERE client_id = %(client)s") == [(1,)]
        assert rows(stack, "SELECT reason FROM dead_letters WHERE client_id = %(client)s") == []

        # Killed, it is soon seen as gone, and a command to it fails at once.
        bare_client.kill9()
        eventually(lambda: not one_client(api)["online"], timeout=15)
        refusal = api.post(f"{CLIENT}/ping/")
        assert (refusal.status_code, refusal.json()["code"]) == (503, "CLIENT_NOT_CONNECTED")
