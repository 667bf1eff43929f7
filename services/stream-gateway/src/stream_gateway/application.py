"""One gateway process: its parts, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from grpc import aio

from service_kit.bus import Subjects
from service_kit.clock import SystemClock
from service_kit.ops import OpsServer

from .adapters.grpc_server import GrpcServer, load_hook
from .adapters.grpc_service import StreamingServicer
from .adapters.nats_seams import FrameStream, NatsBus, NatsDirectory
from .crypto_contract import CryptoContract
from .engine.engine import Engine, EngineConfig
from .engine.seams import BusUnavailable
from .engine.stream import StreamLimits
from .settings import GatewaySettings

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
# Of the drain window, kept for what comes after the streams: unary calls that finish, the bus.
STOP_SECONDS = 1.0
# An event loop that has not run for this long is stuck: the process should be restarted.
STUCK_SECONDS = 30.0


def engine_config(settings: GatewaySettings, gateway_id: str) -> EngineConfig:
    """The engine's part of the settings."""
    return EngineConfig(
        gateway_id=gateway_id,
        namespace=settings.nats_namespace,
        limits=StreamLimits(
            heartbeat_seconds=settings.heartbeat_seconds,
            liveness_seconds=settings.liveness_seconds,
            register_seconds=settings.register_seconds,
            max_message_bytes=settings.max_message_bytes,
            window_messages=settings.window_messages,
            window_bytes=settings.window_bytes,
            stream_budget_bytes=settings.stream_budget_bytes,
        ),
        presence_seconds=settings.presence_seconds,
        process_budget_bytes=settings.process_budget_bytes,
        outbox_messages=settings.outbox_messages,
        frame_linger_seconds=settings.frame_linger_seconds,
        lease_seconds=settings.lease_seconds,
        evict_seconds=settings.evict_seconds,
        reconnect_delay_seconds=settings.reconnect_delay_seconds,
    )


class BusLostError(Exception):
    """NATS has ended the connection for good: a fresh start is needed."""


class StartError(Exception):
    """The gateway can not start as it was told to; the message says why."""


class Gateway:
    """A gateway process: `start`, then `run` until told to `stop`, which drains.

    Args:
        settings: what it is told.

    Raises:
        StartError: the ops port is taken, or the application's hook can not be found.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self.gateway_id = settings.make_gateway_id()
        self._bus = NatsBus()
        self._directory = NatsDirectory(self._bus, settings)
        subject = Subjects(settings.nats_namespace).frames(self.gateway_id)
        self._frames = FrameStream(self._bus, settings, subject)
        self._engine = Engine(
            contract=CryptoContract(settings.max_message_bytes),
            bus=self._bus,
            directory=self._directory,
            sink=self._frames,
            clock=self._clock,
            config=engine_config(settings, self.gateway_id),
        )
        self._grpc = GrpcServer()
        StreamingServicer(self._engine, settings.command_seconds).add_to(self._grpc.server)
        if settings.grpc_handlers:
            self._hook()(self._grpc.server)
        try:
            self._ops = OpsServer(settings.ops_host, settings.ops_port, live=self._live, ready=lambda: self._ready)
        except OSError as error:
            raise StartError(f"can not listen on {settings.ops_host}:{settings.ops_port} (ops): {error}") from error
        self._ready = False
        self._bus_lost = asyncio.Event()
        self._beat = self._clock.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain.

        Raises:
            StartError: the gRPC port is taken, or NATS is not set up for frames.
            BusLostError: NATS has ended the connection for good; the clients have been drained.
        """
        settings = self._settings
        self._ops.start()
        try:
            port = await self._grpc.start(settings.host, settings.port)
        except RuntimeError as error:
            raise StartError(f"can not listen on {settings.host}:{settings.port} (gRPC): {error}") from error
        log.info("gateway listening", extra={"gateway_id": self.gateway_id, "port": port})
        heart = asyncio.create_task(self._keep_beating())
        joining = asyncio.create_task(self._join())
        stopping = asyncio.create_task(stop.wait())
        lost = asyncio.create_task(self._bus_lost.wait())
        await asyncio.wait({joining, stopping, lost}, return_when=asyncio.FIRST_COMPLETED)
        if joining.done():
            joining.result()
            await asyncio.wait({stopping, lost}, return_when=asyncio.FIRST_COMPLETED)
        joining.cancel()
        await self._leave()
        for task in (heart, stopping, lost):
            task.cancel()
        self._ops.close()
        log.info("gateway stopped", extra={"gateway_id": self.gateway_id})
        if self._bus_lost.is_set():
            raise BusLostError("NATS has closed the connection for good; see its log for the reason")

    async def _join(self) -> None:
        """Become part of the system: needs NATS with JetStream once."""
        settings = self._settings
        await self._bus.connect(settings, f"gateway {self.gateway_id}", self._engine.lease.lapse, self._bus_lost.set)
        while True:
            try:
                await self._directory.prepare()
                await self._frames.prepare()
                await self._engine.start()
                break
            except ValueError as error:
                raise StartError(str(error)) from error
            except BusUnavailable as error:
                log.warning("waiting for JetStream", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
        await self._engine.lease.ensure()
        self._ready = True
        await self._grpc.set_serving(True)
        log.info("gateway serving", extra={"gateway_id": self.gateway_id})

    async def _leave(self) -> None:
        started = self._clock.monotonic()
        window = self._settings.drain_seconds
        self._ready = False
        await self._grpc.set_serving(False)
        if self._engine.table.all():
            # Until Envoy has noticed, it would send those who leave straight back to us.
            await asyncio.sleep(min(self._settings.drain_settle_seconds, window / 4))
        await self._engine.drain.run(max(0.0, started + window - STOP_SECONDS - self._clock.monotonic()))
        await self._grpc.stop(max(0.1, started + window - STOP_SECONDS / 2 - self._clock.monotonic()))
        await self._engine.close()
        await self._bus.close()

    def _hook(self) -> Callable[[aio.Server], object]:
        path = self._settings.grpc_handlers
        try:
            return load_hook(path)
        except (ImportError, TypeError, ValueError) as error:
            raise StartError(f"GATEWAY_GRPC_HANDLERS={path}: {error}") from error

    async def _keep_beating(self) -> None:
        while True:
            self._beat = self._clock.monotonic()
            await asyncio.sleep(1.0)

    def _live(self) -> bool:
        return self._clock.monotonic() - self._beat < STUCK_SECONDS
