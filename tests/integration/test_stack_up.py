"""`make up`: what it prints, what it leaves behind, what it does about a death."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.keeper import descendants, process_table
from support.ports import free_port
from support.processes import remove_directory, scratch_directory
from support.up import DEFAULT_PORTS, CannotStartError, choose_ports
from support.waiting import eventually

TESTS = Path(__file__).resolve().parent.parent


class Up:
    """`python -m support.up`, on free ports."""

    def __init__(self, directory: Path, edge_port: int) -> None:
        self.edge_port = edge_port
        self.output = directory / "output"
        ports = {f"{name.upper()}_PORT": str(free_port()) for name in DEFAULT_PORTS}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.up"],
                env={
                    **os.environ,
                    **ports,
                    "PYTHONPATH": str(TESTS),
                    "RUN_DIRECTORY": str(directory / "run"),
                    "EDGE_PORT": str(edge_port),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started: set[int] = set()

    def wait_until_it_says(self, words: str) -> str:
        def said() -> str | None:
            text = self.output.read_text()
            return text if words in text or self.process.poll() is not None else None

        text = eventually(said, timeout=60)
        assert text is not None
        assert words in text, text
        self.started |= set(descendants(self.process.pid))
        return text

    def end(self, number: signal.Signals) -> int:
        self.started |= set(descendants(self.process.pid))
        self.process.send_signal(number)
        code = self.process.wait(60)
        eventually(lambda: not self.left_behind(), timeout=15, message="nothing is left behind")
        return code

    def left_behind(self) -> set[int]:
        return self.started & {entry.pid for entry in process_table()}


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: the user that PostgreSQL runs as can not reach that when we are root.
    directory = scratch_directory("up")
    directory.chmod(0o755)
    yield directory
    remove_directory(directory)


@pytest.fixture
def edge_port() -> int:
    return free_port()


@pytest.fixture
def up(home: Path, edge_port: int) -> Iterator[Up]:
    up = Up(home, edge_port)
    yield up
    up.process.kill()
    up.process.wait()


def test_it_serves_survives_a_death_and_leaves_nothing_behind(home: Path, edge_port: int, up: Up) -> None:
    text = up.wait_until_it_says("Ctrl-C stops everything")
    password = re.search(r"password (\S+)", text)
    assert password is not None
    assert len(up.started) > 10

    urls = re.findall(r"curl -s (http\S+)$", text, re.MULTILINE)
    assert urls
    clients = f"http://127.0.0.1:{edge_port}/api/crypto/commands/"
    assert clients in urls
    eventually(lambda: len(httpx.get(clients).json()) == 4, timeout=30, message="the example's clients are connected")

    victim = next(pid for pid in up.started if b"GATEWAY_ID=gateway-1\0" in environment_of(pid))
    os.kill(victim, signal.SIGKILL)
    up.wait_until_it_says("gateway-1 died, killed by SIGKILL")
    up.wait_until_it_says("gateway-1 runs again")

    assert up.end(signal.SIGINT) == 0

    # Once more, with the data of the first time; and this time it has no chance to clean up.
    again = Up(home, edge_port)
    assert f"password {password[1]}" in again.wait_until_it_says("Ctrl-C stops everything")
    everyone = httpx.get(clients, params={"all": "true"}).json()
    assert {"wallet-1", "wallet-2", "wallet-3", "wallet-4"} <= {client["client_id"] for client in everyone}
    assert again.end(signal.SIGKILL) == -signal.SIGKILL


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it ended, or is another user's
        return b""


def test_a_second_one_is_turned_away(home: Path, edge_port: int, up: Up) -> None:
    up.wait_until_it_says("starting")
    second = Up(home, free_port())
    assert second.process.wait(30) == 1
    assert "it runs already" in second.output.read_text()
    assert up.end(signal.SIGTERM) == 0


def test_a_door_that_is_taken_is_said(edge_port: int) -> None:
    words = rf"port {edge_port} is taken.*EDGE_PORT={edge_port + 1000}"
    with socket.create_server(("127.0.0.1", edge_port)), pytest.raises(CannotStartError, match=words):
        choose_ports({"EDGE_PORT": str(edge_port)})
    assert choose_ports({"EDGE_PORT": str(edge_port)})["edge"] == edge_port


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_said(value: str) -> None:
    with pytest.raises(CannotStartError, match="EDGE_PORT"):
        choose_ports({"EDGE_PORT": value})
