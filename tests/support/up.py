"""`make up`: the whole system in the foreground, on fixed ports, with the example's clients connected.

Data and logs live below `.run/` and survive. Each port can be chosen by an environment variable, `EDGE_PORT` for one:
the names are those of `DEFAULT_PORTS` in capitals with `_PORT` after them. `RUN_DIRECTORY` moves `.run/`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from support.example import start_example
from support.ports import free_port, is_free
from support.processes import ManagedProcess, ProcessFailedError, inherited_environment, stop_in_stages
from support.stack import Stack, StackOptions

ROOT = Path(__file__).resolve().parents[2]

DEFAULT_PORTS: Mapping[str, int] = {
    "edge": 8080,
    "internal": 8081,
    "admin": 9901,
    "api": 8000,
    "api_ops": 9100,
    "gateway_1": 50051,
    "gateway_ops_1": 9101,
    "gateway_2": 50052,
    "gateway_ops_2": 9102,
    "worker_ops_1": 9103,
    "postgres": 15432,
    "nats": 14222,
    "nats_monitor": 18222,
}
# The three doors are what the documentation names: another port behind one's back would be no help.
DOORS = ("edge", "internal", "admin")

# Asked for before anything else: `make` may be gone by the time the system is up.
PARENT = os.getppid()

# A process that dies is started again, unless the system as a whole does not hold up.
DEATHS_ALLOWED = 5
DEATHS_WINDOW_SECONDS = 60.0
WATCH_SECONDS = 0.3

say = partial(print, flush=True)


class CannotStartError(Exception):
    """Something outside is in the way; the message says what to do about it."""


class StopRequestedError(BaseException):
    """Ctrl-C, SIGTERM, or the terminal is gone."""


def main() -> int:
    """Run until told to stop; returns the exit status."""
    directory = Path(os.environ.get("RUN_DIRECTORY") or ROOT / ".run").resolve()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_requested)
    try:
        with _alone_in(directory):
            return _run(directory)
    except CannotStartError as problem:
        print(f"up: {problem}", file=sys.stderr)
        return 1
    except StopRequestedError:
        return 0


def _run(directory: Path) -> int:
    stack = Stack(StackOptions(durable=True, ports=choose_ports(os.environ)), directory)
    example: list[ManagedProcess] = []
    try:
        started = time.monotonic()
        stack.start(lambda step: say(f"up: starting {step}"))
        password = _ensure_admin(stack)
        say("up: starting the example's chain and clients")
        example += start_example(stack)
        say(f"up: ready after {time.monotonic() - started:.0f} s\n")
        say(describe(stack, password))
        watch([*stack.processes, *example])
    except StopRequestedError:
        say("\nup: stopping; once more to kill")
    except ProcessFailedError as failure:
        say(f"up: {failure}")
        return 1
    finally:
        _stop(stack, example)
    return 0


def choose_ports(environment: Mapping[str, str]) -> dict[str, int]:
    """Return every port: as the environment says, else the documented one.

    A documented port that is taken is replaced by a free one, except for the doors.

    Raises:
        CannotStartError: a door, or a port that the environment names, is taken or is no port.
    """
    ports: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        variable = f"{name.upper()}_PORT"
        wanted = environment.get(variable)
        try:
            port = int(wanted) if wanted else default
        except ValueError:
            raise CannotStartError(f"{variable}={wanted} is not a number") from None
        if not 0 < port < 2**16:
            raise CannotStartError(f"{variable}={wanted} is not a port")
        if not is_free(port):
            if wanted or name in DOORS:
                raise CannotStartError(f"port {port} is taken; choose another: make up {variable}={port + 1000}")
            port = free_port()
        ports[name] = port
    return ports


def describe(stack: Stack, password: str) -> str:
    """Return the addresses and the first commands to try."""
    rest = f"{stack.edge_url}/api/crypto"
    rows = [
        ("clients, REST", stack.edge_url, "Envoy's edge listener: ConnectClient, /api/"),
        ("commands", stack.internal_address, "Envoy's internal listener: command RPCs, health, reflection"),
        ("API documents", f"{stack.edge_url}/api/docs/", ""),
        ("admin console", f"{stack.edge_url}/admin/", f"user admin, password {password}"),
        ("Envoy's admin", stack.envoy.admin_url, ""),
        *((gateway.name, gateway.address, f"{gateway.ops_url}/metrics") for gateway in stack.gateways),
        ("api", stack.api.address, f"{stack.api.ops_url}/metrics"),
        *((worker.name, "", f"{worker.ops_url}/metrics") for worker in stack.workers),
        ("NATS", stack.nats.url, stack.nats.monitor_url),
        ("PostgreSQL", stack.database_url, ""),
        ("logs", str(stack.logs), "one file per process"),
    ]
    width = max(len(name) for name, *_ in rows)
    address_width = max(len(address) for _, address, _ in rows)
    lines = [f"  {name:<{width}}  {address:<{address_width}}  {note}".rstrip() for name, address, note in rows]
    return "\n".join(
        [
            *lines,
            "\nTry:",
            f"  curl -s {rest}/commands/",
            f"  curl -s -X POST {rest}/commands/wallet-1/ping/",
            f"  curl -s '{rest}/transactions/?client_id=wallet-1'",
            f"  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge --list-methods http://{stack.internal_address}",
            "\nCtrl-C stops everything; what is stored stays in " + str(stack.directory) + ".",
        ]
    )


def watch(processes: list[ManagedProcess]) -> NoReturn:
    """Tell which process died, and start it again.

    Raises:
        ProcessFailedError: they die too often.
        StopRequestedError: `make` is gone.
    """
    deaths: list[float] = []
    while True:
        time.sleep(WATCH_SECONDS)
        # A `make` that is killed takes nothing along by itself.
        if "MAKELEVEL" in os.environ and os.getppid() != PARENT:
            raise StopRequestedError
        for process in processes:
            if process.is_running:
                continue
            say(f"\nup: {process.name} died, {_cause(process)}; the end of {process.log_file}:")
            say(process.log_tail(10))
            now = time.monotonic()
            deaths = [death for death in deaths if now - death < DEATHS_WINDOW_SECONDS] + [now]
            if len(deaths) > DEATHS_ALLOWED:
                raise ProcessFailedError(f"{len(deaths)} deaths within {DEATHS_WINDOW_SECONDS:.0f} s: giving up")
            process.start()
            say(f"up: {process.name} runs again")


def _cause(process: ManagedProcess) -> str:
    status = process.returncode
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _ensure_admin(stack: Stack) -> str:
    """Create the admin console's user at the first start, and return its password."""
    file = stack.directory / "admin-password"
    if not file.exists():
        password = secrets.token_urlsafe(9)
        command = [sys.executable, "-m", "command_api", "manage", "createsuperuser", "--no-input"]
        account = {"USERNAME": "admin", "EMAIL": "admin@localhost", "PASSWORD": password}
        environment = {f"DJANGO_SUPERUSER_{name}": value for name, value in account.items()}
        result = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=inherited_environment() | stack.api.env | environment,
        )
        if result.returncode != 0:
            raise ProcessFailedError(f"createsuperuser failed:\n{result.stdout}{result.stderr}")
        file.touch(mode=0o600)
        file.write_text(password)
    return file.read_text()


def _stop(stack: Stack, example: list[ManagedProcess]) -> None:
    try:
        stop_in_stages([example, *stack.stop_stages])
    except StopRequestedError:
        say("up: killing")
    except ProcessFailedError as failure:
        say(f"up: {failure}")
    finally:
        for process in (*reversed(example), *reversed(stack.processes)):
            process.kill9()


@contextmanager
def _alone_in(directory: Path) -> Generator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStartError(f"it runs already: {directory} is in use") from None
        yield


def _stop_requested(_number: int, _frame: FrameType | None) -> NoReturn:
    raise StopRequestedError


if __name__ == "__main__":
    sys.exit(main())
