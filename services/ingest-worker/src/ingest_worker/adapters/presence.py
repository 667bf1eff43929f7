"""Presence snapshots: who is connected, said by the gateways every few seconds over plain NATS.

All workers are one queue group: each snapshot reaches one of them. What is lost is said again soon, so nothing is
retried here; a connected client's silence shows in `last_seen_at`, a gap of the bus or the database does so, too.
"""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg

from crypto_streaming.client_ids import client_id_problem
from ingest_worker import metrics
from ingest_worker.domain.rows import ClientState, Rows
from ingest_worker.domain.times import MAX_RECEIVED_US, POSTGRES_EPOCH_US
from service_kit.bus import INGEST_CONSUMER
from service_kit.frames import PresenceSnapshot

log = logging.getLogger(__name__)

_EPOCH_MAX = 2**63 - 1


class PresenceListener:
    """Collects snapshots until they are written.

    Args:
        subject: where the gateways publish them.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._states: dict[str, ClientState] = {}

    async def open(self, connection: Client) -> None:
        """Subscribe; survives reconnects."""
        await connection.subscribe(self._subject, queue=INGEST_CONSUMER, cb=self._receive)

    def take(self) -> Rows:
        """Return what was collected since the last time."""
        states, self._states = self._states, {}
        return Rows(clients=states)

    async def _receive(self, message: Msg) -> None:
        try:
            snapshot = PresenceSnapshot.FromString(message.data)
        except DecodeError:
            metrics.PRESENCE_SNAPSHOTS.labels("unparsable").inc()
            return
        metrics.PRESENCE_SNAPSHOTS.labels("taken").inc()
        self.add(snapshot)

    def add(self, snapshot: PresenceSnapshot) -> None:
        """Take one snapshot; what can not be true is left out."""
        gateway_id = snapshot.gateway_id.replace("\0", "\ufffd")
        for presence in snapshot.sessions:
            client_id = presence.client_id
            if (
                client_id_problem(client_id) is not None
                or not 0 < presence.epoch <= _EPOCH_MAX
                or presence.last_seen_us > MAX_RECEIVED_US
            ):
                log.warning("presence of an impossible session", extra={"gateway_id": gateway_id})
                continue
            seen = presence.last_seen_us - POSTGRES_EPOCH_US
            state = self._states.get(client_id)
            if state is None:
                state = self._states[client_id] = ClientState(None, seen)
            elif seen > state.last_seen_at:
                state.last_seen_at = seen
            # When it began is the durable log's to say.
            state.session(presence.epoch, gateway_id, "", None)
