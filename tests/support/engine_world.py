"""Gateways' engines and clients in one process, over a network whose faults a test decides. No processes, no ports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import REGISTRY

from crypto_streaming import pb
from service_kit.frames import Frame, FrameEntry
from stream_gateway.crypto_contract import CryptoContract
from stream_gateway.engine.contract import Command, Failure
from stream_gateway.engine.engine import Engine, EngineConfig
from stream_gateway.engine.memory import MemoryBus, MemoryDirectory
from stream_gateway.engine.seams import BusUnavailable, FrameSink, SinkFull
from stream_gateway.engine.session import Session, SessionEnd
from stream_gateway.engine.stream import StreamLimits
from support.faulty_bus import FarDirectory, FaultyBus
from support.virtual_time import LoopClock

MAX_MESSAGE_BYTES = 256 * 1024
NAMESPACE = "test"

LIMITS = StreamLimits(
    heartbeat_seconds=30.0,
    liveness_seconds=90.0,
    register_seconds=10.0,
    max_message_bytes=MAX_MESSAGE_BYTES,
    window_messages=2048,
    window_bytes=1024 * 1024,
    stream_budget_bytes=2 * 1024 * 1024,
)

CONFIG = EngineConfig(
    gateway_id="",
    namespace=NAMESPACE,
    limits=LIMITS,
    presence_seconds=10.0,
    process_budget_bytes=128 * 1024 * 1024,
    outbox_messages=256,
    frame_linger_seconds=0.01,
    lease_seconds=3.0,
    evict_seconds=3.5,
    reconnect_delay_seconds=1.0,
)


class RecordingSink:
    """A durable log whose faults a test decides.

    Attributes:
        stored: the frames, by id, in the order in which they were first taken.
        offered: the id of each attempt.
        fault: raised instead of storing (SinkFull, BusUnavailable), or None.
        takes_then_fails: store, and then raise `fault`: the answer was lost.
        gate: set = answer; cleared = keep the publisher waiting.
        refuses: ids that are not taken, whatever else.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.offered: list[str] = []
        self.fault: type[SinkFull | BusUnavailable] | None = None
        self.takes_then_fails = False
        self.refuses: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, frame_id: str, data: bytes) -> None:
        """See `FrameSink`."""
        self.offered.append(frame_id)
        await self.gate.wait()
        if frame_id in self.refuses:
            raise BusUnavailable("not this one")
        if self.fault is None or self.takes_then_fails:
            self.stored.setdefault(frame_id, data)
        if self.fault is not None:
            raise self.fault("as the test wants it")

    @property
    def frames(self) -> list[Frame]:
        """What was stored."""
        return [Frame.FromString(data) for data in self.stored.values()]

    @property
    def entries(self) -> list[FrameEntry]:
        """What was stored, entry by entry."""
        return [entry for frame in self.frames for entry in frame.entries]


class MemoryTransport:
    """One stream between a test's client and an engine; implements `StreamTransport`.

    Attributes:
        received: the commands and notices that the client has been sent.
        reading: set while the client reads: cleared, writes to it get stuck.
    """

    def __init__(self, peer: str = "test") -> None:
        self.peer = peer
        self.received: list[pb.DjangoCommand] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.on_write: Callable[[bytes], None] = lambda _data: None
        self._sent: asyncio.Queue[bytes | None] = asyncio.Queue()

    def send(self, data: bytes | None) -> None:
        """Send a message as the client; None = half-close."""
        self._sent.put_nowait(data)

    @property
    def unread(self) -> int:
        """How many messages the engine has not read."""
        return self._sent.qsize()

    async def read(self) -> bytes | None:
        """See `StreamTransport`."""
        return await self._sent.get()

    async def write(self, data: bytes) -> None:
        """See `StreamTransport`."""
        await self.reading.wait()
        self.on_write(data)
        self.received.append(pb.DjangoCommand.FromString(data))


class WorldClient:
    """A client of one engine, connected from the start.

    Args:
        engine: whom it is connected to.
        client_id: who it is.
        capabilities: what it announces.
        obeys: whether it acks each command at once.
    """

    def __init__(
        self,
        engine: Engine,
        client_id: str,
        *,
        capabilities: tuple[Any, ...] = (),
        obeys: bool = True,
        first: bytes | None = None,
    ) -> None:
        self.client_id = client_id
        self.engine = engine
        self.transport = MemoryTransport()
        if obeys:
            self.transport.on_write = self._obey
        self.task = asyncio.create_task(engine.streams.serve(self.transport))
        if first is None:
            self.say(register=pb.ClientRegistration(client_name=client_id, capabilities=capabilities))
        else:
            self.transport.send(first)

    def say(self, message_id: str = "", **payload: Any) -> None:
        """Send one message."""
        self.transport.send(
            pb.ClientMessage(client_id=self.client_id, message_id=message_id, **payload).SerializeToString()
        )

    def ack(self, command_id: str, *, success: bool = True) -> None:
        """Ack a command."""
        self.say(command_ack=pb.CommandAck(command_id=command_id, success=success, message="done"))

    def vanish(self) -> None:
        """Lose the connection."""
        self.task.cancel()

    @property
    def commands(self) -> list[str]:
        """The ids of the commands that have arrived."""
        return [each.command_id for each in self.transport.received if each.command_id]

    @property
    def receipts(self) -> list[str]:
        """The message ids that were confirmed."""
        return [each for notice in self.transport.received for each in notice.receipt.message_ids]

    @property
    def welcomed(self) -> bool:
        """Whether Welcome has come."""
        return any(each.HasField("welcome") for each in self.transport.received)

    @property
    def session(self) -> Session | None:
        """The engine's open session of this client id."""
        return self.engine.table.get(self.client_id)

    async def ended(self) -> SessionEnd:
        """Wait until the stream has been ended by the engine."""
        return await self.task

    def _obey(self, data: bytes) -> None:
        command = pb.DjangoCommand.FromString(data)
        if command.command_id:
            self.ack(command.command_id)


@dataclass
class Replica:
    """One gateway: its engine, its network and its log."""

    engine: Engine
    bus: FaultyBus
    directory: FarDirectory
    sink: RecordingSink

    def believer(self, client_id: str) -> Session | None:
        """The session under which this gateway would command the client without asking anybody."""
        session = self.engine.table.get(client_id)
        return session if session is not None and self.engine.table.trusted(session) else None


@dataclass
class World:
    """Gateways that share one bus and one directory."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    directory: MemoryDirectory = field(default_factory=MemoryDirectory)
    replicas: list[Replica] = field(default_factory=list[Replica])

    async def replica(
        self, *, limits: dict[str, Any] | None = None, sink: FrameSink | None = None, **config: Any
    ) -> Replica:
        """Start a gateway. `limits` and `config` replace fields of `StreamLimits` and `EngineConfig`."""
        recording = RecordingSink()
        bus = FaultyBus(self.bus)
        directory = FarDirectory(bus, self.directory)
        engine = Engine(
            contract=CryptoContract(MAX_MESSAGE_BYTES),
            bus=bus,
            directory=directory,
            sink=sink or recording,
            clock=LoopClock(),
            config=replace(
                CONFIG,
                gateway_id=f"gateway-{len(self.replicas) + 1}",
                limits=replace(LIMITS, **(limits or {})),
                **config,
            ),
        )
        bus.on_cut = engine.lease.lapse
        replica = Replica(engine, bus, directory, recording)
        self.replicas.append(replica)
        await engine.start()
        assert await engine.lease.ensure()
        return replica


@contextlib.asynccontextmanager
async def world(replicas: int = 1, **config: Any) -> AsyncGenerator[World]:
    """A world with that many gateways."""
    made = World()
    for _ in range(replicas):
        await made.replica(**config)
    yield made
    for replica in made.replicas:
        await replica.engine.close()


def ping(client_id: str, command_id: str = "c1", *, expires_at_us: int = 0) -> Command:
    """A command."""
    payload = pb.DjangoCommand(command_id=command_id, ping=pb.PingCommand(sequence=1)).SerializeToString()
    return Command(client_id, command_id, payload, expires_at_us)


def outcome(answer: bytes | Failure | None) -> str:
    """An answer in one word: the failure's code, "queued", "ok" or "refused"."""
    if answer is None:
        return "queued"
    if isinstance(answer, Failure):
        return answer.code.value
    return "ok" if pb.CommandAck.FromString(answer).success else "refused"


def metric(name: str, **labels: str) -> float:
    """The value of a metric of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait, in virtual time, until something is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "did not come true"
        await asyncio.sleep(0.001)
