"""The engine as a whole: its parts, wired."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from service_kit.bus import Subjects
from service_kit.clock import Clock

from .background import Background, for_ever
from .contract import Contract
from .drain import Drain
from .frame_writer import FrameWriter
from .holder import HolderDesk
from .lease import Lease
from .liveness import Liveness
from .peers import PeerClient
from .router import CommandRouter
from .seams import Bus, FrameSink, SessionDirectory
from .sessions import SessionTable
from .stream import StreamHandler, StreamLimits

log = logging.getLogger(__name__)

CALLS = "calls"


@dataclass(frozen=True)
class EngineConfig:
    """What the engine is told (seconds, bytes, messages); see `GatewaySettings` for each."""

    gateway_id: str
    namespace: str
    limits: StreamLimits
    presence_seconds: float
    process_budget_bytes: int
    outbox_messages: int
    frame_linger_seconds: float
    lease_seconds: float
    evict_seconds: float
    reconnect_delay_seconds: float


class Engine:
    """Sessions, commands and durable reports for one process.

    Args:
        contract: the meaning of the messages.
        bus: the way to other gateways.
        directory: the source of epochs.
        sink: the durable log.
        clock: the time.
        config: numbers and names.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        bus: Bus,
        directory: SessionDirectory,
        sink: FrameSink,
        clock: Clock,
        config: EngineConfig,
    ) -> None:
        subjects = Subjects(config.namespace)
        self._bus = bus
        self._gateway_subject = subjects.gateway(config.gateway_id, CALLS)
        self._background = Background()
        self.contract = contract
        self.gateway_id = config.gateway_id
        self.lease = Lease(bus, clock, config.lease_seconds, self._recheck)
        self.peers = PeerClient(
            bus,
            clock,
            client_subject=subjects.client,
            gateway_subject=lambda gateway_id: subjects.gateway(gateway_id, CALLS),
            answer_seconds=config.evict_seconds,
        )
        self.table = SessionTable(
            contract=contract,
            bus=bus,
            directory=directory,
            peers=self.peers,
            lease=self.lease,
            clock=clock,
            gateway_id=config.gateway_id,
            client_subject=subjects.client,
            outbox_messages=config.outbox_messages,
        )
        self.desk = HolderDesk(bus, self.table, clock, config.gateway_id)
        self.table.on_request = self.desk.on_request
        self.router = CommandRouter(contract, self.table, self.peers)
        self.writer = FrameWriter(
            sink,
            config.gateway_id,
            clock,
            budget_bytes=config.process_budget_bytes,
            linger_seconds=config.frame_linger_seconds,
        )
        self.streams = StreamHandler(
            contract=contract,
            table=self.table,
            writer=self.writer,
            clock=clock,
            limits=config.limits,
            gateway_id=config.gateway_id,
        )
        self.liveness = Liveness(
            table=self.table,
            bus=bus,
            clock=clock,
            gateway_id=config.gateway_id,
            presence_subject=subjects.presence,
            timeout_seconds=config.limits.liveness_seconds,
            presence_seconds=config.presence_seconds,
        )
        self.drain = Drain(
            handler=self.streams,
            table=self.table,
            writer=self.writer,
            contract=contract,
            clock=clock,
            reconnect_delay_seconds=config.reconnect_delay_seconds,
        )

    async def start(self) -> None:
        """Begin to work: the bus must be connected.

        Raises:
            BusUnavailable: it is not.
        """
        await self.peers.start()
        await self._bus.subscribe(self._gateway_subject, self.desk.on_gateway_request)
        for work in (self.lease.run, self.peers.run, self.liveness.sweep_forever, self.liveness.publish_forever):
            self._background.spawn(for_ever(work))

    async def close(self) -> None:
        """End all own tasks; the streams have been drained before."""
        await self.desk.close()
        await self._background.close()

    def is_client_connected(self, client_id: str) -> bool:
        """Whether this process holds an open session of the client."""
        return self.table.get(client_id) is not None

    def _recheck(self) -> None:
        self._background.spawn(self.table.verify_all())
