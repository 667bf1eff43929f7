"""The commands of the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from command_api.fleet.models import Client


@pytest.fixture
def run(rows: None, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> str:
        capsys.readouterr()
        call_command(*arguments)
        return capsys.readouterr().out

    return run


def test_send_command_prints_the_ack(run: Any, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    ack = json.loads(run("send_command", "c-1", "pause", "reason=a=b"))
    assert (ack["success"], ack["status"]) == (True, "paused")
    assert gateway.requests[0].command.pause.reason == "a=b"
    run("send_command", "c-1", "sync_wallets", "symbols=BTC,ETH", "--timeout", "3")
    assert list(gateway.requests[1].command.sync_wallets.symbols) == ["BTC", "ETH"]
    assert gateway.deadlines[1] < 3.1


def test_send_command_can_return_once_queued(run: Any, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    queued = json.loads(run("send_command", "c-1", "ping", "--no-wait"))
    assert queued == {"command_id": gateway.requests[0].command.command_id, "queued": True}
    with pytest.raises(CommandError, match="not connected"):
        run("send_command", "nobody", "ping", "--no-wait")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "ping"], "CLIENT_NOT_CONNECTED"),
        (["bad id", "ping"], "INVALID_COMMAND"),
        (["c-1", "ping", "sequence=one"], "sequence"),
        (["c-1", "ping", "sequence"], "name=value"),
        (["c-1", "ping", "colour=red"], "colour"),
        (["c-1", "ping", "--timeout", "-1"], "timeout"),
        (["refuses", "ping"], "refused: BUSY"),
    ],
)
def test_send_command_says_what_went_wrong(run: Any, gateway: Any, make: Any, arguments: list[str], words: str) -> None:
    gateway.answers["refuses"] = make.failure("BUSY")
    with pytest.raises(CommandError, match=words):
        run("send_command", *arguments)


def test_list_clients(run: Any, make: Any) -> None:
    make.online_client("c-1", status="paused", client_type="evm")
    Client.objects.create(client_id="gone")
    header, row = run("list_clients").splitlines()
    assert header.split()[0] == "CLIENT"
    assert row.split()[:4] == ["c-1", "paused", "yes", "evm"]
    assert [line.split()[0] for line in run("list_clients", "--all").splitlines()] == ["CLIENT", "c-1", "gone"]
    assert [
        json.loads(line)["client_id"] for line in run("list_clients", "--json", "--status", "paused").splitlines()
    ] == ["c-1"]
