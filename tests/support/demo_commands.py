"""Every command by every way in: REST, gRPC with generated stubs, and both twins of the SDK."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import grpc
import httpx

from crypto_streaming import StreamingCommandClient, aclose_channels, pb
from crypto_streaming.blocking import BlockingStreamingCommandClient

TIMEOUT = 15.0
PINGS = 20
"""Pings of each client by each way in: enough for percentiles."""


@dataclass(frozen=True)
class Answer:
    """A client's ack, as the way in shows it; `status` is a word."""

    success: bool
    error: str
    message: str
    status: str


class Surface(Protocol):
    """One way in. Blocking; raises what the way in raises when the command did not reach its client."""

    name: str

    def execute(self, client_id: str, command: str) -> Answer:
        """Send one command (pause, resume, ping, sync_wallets, request_status) and wait for the ack."""
        ...

    def queue(self, client_id: str) -> bool | None:
        """Send a ping without waiting for its ack: whether it is queued; None where there is no such call."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


COMMANDS: dict[str, Callable[[], pb.DjangoCommand]] = {
    "ping": lambda: pb.DjangoCommand(ping=pb.PingCommand(sequence=7)),
    "pause": lambda: pb.DjangoCommand(pause=pb.PauseClientCommand(reason="demonstration")),
    "resume": lambda: pb.DjangoCommand(resume=pb.ResumeClientCommand(message="go on")),
    "sync_wallets": lambda: pb.DjangoCommand(sync_wallets=pb.SyncWalletsCommand()),
    "request_status": lambda: pb.DjangoCommand(request_status=pb.RequestStatusCommand(include_stats=True)),
}


def _answer(ack: pb.CommandAck) -> Answer:
    word = pb.ClientStatus.Name(ack.current_status).removeprefix("CLIENT_STATUS_").lower()
    return Answer(ack.success, ack.error, ack.message, word)


class RestSurface:
    """The REST API through Envoy's edge listener."""

    name = "REST"

    def __init__(self, edge_url: str) -> None:
        self.http = httpx.Client(base_url=f"{edge_url}/api/crypto/commands", timeout=TIMEOUT, trust_env=False)

    def execute(self, client_id: str, command: str) -> Answer:
        """See `Surface`."""
        answer = self.http.post(f"/{client_id}/{command}/", json={}).raise_for_status().json()["command_result"]
        return Answer(answer["success"], answer["error"], answer["message"], answer["status"])

    def queue(self, client_id: str) -> None:
        """See `Surface`."""

    def bulk(self, action: str) -> dict[str, int]:
        """Command every connected client; returns total, successful and failed."""
        answer = self.http.post(f"/{action}/", json={}).raise_for_status().json()
        return {name: answer[name] for name in ("total", "successful", "failed")}

    def close(self) -> None:
        """See `Surface`."""
        self.http.close()


class GrpcSurface:
    """The bare contract: generated stubs through Envoy's internal listener."""

    name = "gRPC"

    def __init__(self, internal_address: str) -> None:
        self._channel = grpc.insecure_channel(internal_address)
        self._stub = pb.CryptoStreamingServiceStub(self._channel)

    def execute(self, client_id: str, command: str) -> Answer:
        """See `Surface`."""
        request = pb.SendCommandRequest(client_id=client_id, command=COMMANDS[command]())
        return _answer(self._stub.ExecuteCommandSync(request, timeout=TIMEOUT))

    def queue(self, client_id: str) -> bool:
        """See `Surface`."""
        request = pb.SendCommandRequest(client_id=client_id, command=COMMANDS["ping"]())
        return self._stub.SendCommandToClient(request, timeout=TIMEOUT).success

    def close(self) -> None:
        """See `Surface`."""
        self._channel.close()


class AsyncSdkSurface:
    """`await StreamingCommandClient(…).ping_client_sync()`."""

    name = "SDK, async"

    def __init__(self, internal_address: str) -> None:
        self._address = internal_address
        self._loop = asyncio.Runner()

    def execute(self, client_id: str, command: str) -> Answer:
        """See `Surface`."""
        return self._loop.run(self._execute(client_id, command))

    async def _execute(self, client_id: str, command: str) -> Answer:
        client = StreamingCommandClient(client_id=client_id, address=self._address)
        calls = {
            "ping": lambda: client.ping_client_sync(7, timeout=TIMEOUT),
            "pause": lambda: client.pause_client_sync("demonstration", timeout=TIMEOUT),
            "resume": lambda: client.resume_client_sync("go on", timeout=TIMEOUT),
            "sync_wallets": lambda: client.sync_wallets_sync(timeout=TIMEOUT),
            "request_status": lambda: client.request_status_sync(include_stats=True, timeout=TIMEOUT),
        }
        return _answer(await calls[command]())

    def queue(self, client_id: str) -> bool:
        """See `Surface`."""
        return self._loop.run(StreamingCommandClient(client_id=client_id, address=self._address).ping_client(7))

    def close(self) -> None:
        """See `Surface`."""
        self._loop.run(aclose_channels())
        self._loop.close()


class BlockingSdkSurface:
    """`BlockingStreamingCommandClient(…).ping_client_sync()`."""

    name = "SDK, blocking"

    def __init__(self, internal_address: str) -> None:
        self._address = internal_address

    def execute(self, client_id: str, command: str) -> Answer:
        """See `Surface`."""
        client = BlockingStreamingCommandClient(client_id=client_id, address=self._address)
        calls = {
            "ping": lambda: client.ping_client_sync(7, timeout=TIMEOUT),
            "pause": lambda: client.pause_client_sync("demonstration", timeout=TIMEOUT),
            "resume": lambda: client.resume_client_sync("go on", timeout=TIMEOUT),
            "sync_wallets": lambda: client.sync_wallets_sync(timeout=TIMEOUT),
            "request_status": lambda: client.request_status_sync(include_stats=True, timeout=TIMEOUT),
        }
        return _answer(calls[command]())

    def queue(self, client_id: str) -> bool:
        """See `Surface`."""
        return BlockingStreamingCommandClient(client_id=client_id, address=self._address).ping_client(7)

    def close(self) -> None:
        """See `Surface`."""


class Drill:
    """Sends commands, checks each answer, and keeps how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = {}
        self.problems: list[str] = []

    def run(self, surface: Surface, client_ids: Iterable[str]) -> None:
        """Send every command to every client."""
        for client_id in client_ids:
            self._expect(surface, client_id, "pause", status="paused")
            self._expect(surface, client_id, "request_status", status="paused")
            # A client's own refusal is an answer too.
            self._expect(surface, client_id, "sync_wallets", status="paused", error="CLIENT_PAUSED")
            self._expect(surface, client_id, "resume", status="active")
            self._expect(surface, client_id, "sync_wallets", status="active")
            self._expect(surface, client_id, "request_status", status="active")
            for _ in range(PINGS):
                self._expect(surface, client_id, "ping", status="active")
            started = time.perf_counter()
            queued = surface.queue(client_id)
            if queued is not None:
                self._keep(surface.name, "ping, queued", time.perf_counter() - started)
            if queued is False:
                self.problems.append(f"{surface.name}: a ping to {client_id} was not queued")

    def bulk(self, surface: RestSurface, clients: int) -> None:
        """Command all clients at once."""
        for action in ("pause_all", "resume_all", "sync_all"):
            started = time.perf_counter()
            result = surface.bulk(action)
            self._keep(surface.name, action, time.perf_counter() - started)
            if result != {"total": clients, "successful": clients, "failed": 0}:
                self.problems.append(f"REST {action}: {result} with {clients} clients")

    def _expect(self, surface: Surface, client_id: str, command: str, *, status: str, error: str = "") -> None:
        started = time.perf_counter()
        try:
            answer = surface.execute(client_id, command)
        except Exception as problem:  # noqa: BLE001  (whatever a way in raises is a line of the result)
            self.problems.append(f"{surface.name} {command} to {client_id}: {type(problem).__name__}: {problem}")
            return
        self._keep(surface.name, command, time.perf_counter() - started)
        if (answer.success, answer.error, answer.status) != (not error, error, status):
            self.problems.append(f"{surface.name} {command} to {client_id}: {answer}")

    def _keep(self, surface: str, command: str, seconds: float) -> None:
        self.seconds.setdefault((surface, command), []).append(seconds)

    @property
    def commands(self) -> int:
        """How many were answered."""
        return sum(map(len, self.seconds.values()))

    def table(self) -> str:
        """Lay out counts and latencies, in milliseconds."""
        lines = [f"{'way in':<14} {'command':<15} {'count':>6} {'p50 ms':>8} {'p95 ms':>8}"]
        for (surface, command), seconds in self.seconds.items():
            cuts = statistics.quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
            p50, p95 = statistics.median(seconds) * 1000, cuts[18] * 1000
            lines.append(f"{surface:<14} {command:<15} {len(seconds):>6} {p50:>8.1f} {p95:>8.1f}")
        return "\n".join(lines)
