"""The sessions of this process, and how one becomes the newest of its client on whichever replica.

Opening: claim (the directory hands out a greater epoch), ask the old holder to leave, listen for requests to this
client, look whether a still newer claim has come meanwhile; only then is the session used. Two gateways that open at
the same time can therefore not both end up believing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from service_kit.clock import Clock
from stream_gateway import metrics

from .background import Background
from .contract import Contract
from .lease import Lease
from .peers import PeerClient
from .seams import Bus, BusMessage, BusUnavailable, SessionDirectory, Subscription
from .session import EndStatus, Session, SessionEnd

log = logging.getLogger(__name__)

SUPERSEDED = SessionEnd(EndStatus.ABORTED, "superseded", "superseded by a newer stream of this client")
NOT_OPENED = SessionEnd(EndStatus.UNAVAILABLE, "bus", "the session could not be opened")
FORGOTTEN = SessionEnd(EndStatus.UNAVAILABLE, "forgotten", "the session directory was lost; connect again")
# Sessions that are rechecked at once after an outage, and how soon again those that could not be.
RECHECKS_AT_ONCE = 64
RECHECK_SECONDS = 1.0


class SessionTable:
    """Client id to session, for this process.

    Args:
        contract: how client ids become subject tokens.
        bus: where requests for a client arrive.
        directory: the source of epochs.
        peers: how an old holder is asked to leave.
        lease: under which sessions are trusted.
        clock: the time.
        gateway_id: this process.
        client_subject: token -> subject of requests for a client.
        outbox_messages: bound of each session's queue.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        bus: Bus,
        directory: SessionDirectory,
        peers: PeerClient,
        lease: Lease,
        clock: Clock,
        gateway_id: str,
        client_subject: Callable[[str], str],
        outbox_messages: int,
    ) -> None:
        self._contract = contract
        self._bus = bus
        self._directory = directory
        self._peers = peers
        self._lease = lease
        self._clock = clock
        self._gateway_id = gateway_id
        self._client_subject = client_subject
        self._outbox_messages = outbox_messages
        self._sessions: dict[str, Session] = {}
        self._subscriptions: dict[Session, Subscription] = {}
        self._background = Background()
        # Set by the engine: what is done with a request that arrives for a client.
        self.on_request: Callable[[Session, BusMessage], None] = lambda _session, _message: None

    def __len__(self) -> int:
        return len(self._sessions)

    def all(self) -> list[Session]:
        """Every session, in the order they were opened."""
        return list(self._sessions.values())

    def get(self, client_id: str) -> Session | None:
        """The client's session here, if it has one that is open."""
        session = self._sessions.get(client_id)
        return session if session is not None and session.ready and session.end is None else None

    def trusted(self, session: Session) -> bool:
        """Whether the session may be used without asking anybody."""
        return session.generation == self._lease.generation and self._lease.valid

    async def in_contact(self) -> bool:
        """Whether the bus has answered lately, or does now."""
        return await self._lease.ensure()

    async def open(self, client_id: str, peer: str) -> Session:
        """Make the newest session of a client, here.

        The caller closes the session in the end, also when it has already been superseded.

        Raises:
            BusUnavailable: not without the bus; nothing was opened.
        """
        if not await self._lease.ensure():
            raise BusUnavailable("the bus does not answer")
        token = self._contract.token(client_id)
        epoch = await self._directory.claim(token, self._gateway_id)
        session = Session(
            client_id,
            token,
            epoch,
            peer=peer,
            clock=self._clock,
            outbox_messages=self._outbox_messages,
        )
        old = self._sessions.get(client_id)
        if old is not None and old.epoch > epoch:
            session.finish(SUPERSEDED)
            return session
        self._sessions[client_id] = session
        try:
            if old is not None:
                await self._replace(old)
            old_holder = await self._peers.evict(token, epoch)
            if old_holder is not None:
                metrics.TAKEOVERS.labels(old_holder).inc()
            self._subscriptions[session] = await self._bus.subscribe(
                self._client_subject(token), lambda message: self.on_request(session, message)
            )
            await self._bus.round_trip(self._peers.answer_seconds)
            # From here on a newer claim finds us by asking; an earlier one shows in the directory. What was seen there
            # before (by a recheck after an outage) does not count.
            session.ready = await self._look(session)
        except BaseException:
            session.finish(NOT_OPENED)
            self.close(session)
            raise
        return session

    async def _replace(self, old: Session) -> None:
        if old.end is None:
            metrics.TAKEOVERS.labels("local").inc()
        old.finish(SUPERSEDED)
        await self._stop_listening(old)

    def close(self, session: Session) -> None:
        """Take an ended session out and stop listening for it."""
        if (subscription := self._take_out(session)) is not None:
            self._background.spawn(subscription.unsubscribe())

    async def evict(self, session: Session, epoch: int) -> bool:
        """Leave to a newer session elsewhere; True when no session older than `epoch` is left here."""
        if session.epoch >= epoch:
            return False
        session.finish(SUPERSEDED)
        # Stop listening before saying so: the new holder listens next, and nobody is to be asked twice.
        await self._stop_listening(session)
        return True

    async def _stop_listening(self, session: Session) -> None:
        if (subscription := self._take_out(session)) is not None:
            # In a task of its own: a subscription half ended because we were cancelled would answer for ever.
            await asyncio.shield(self._background.spawn(subscription.unsubscribe()))

    def _take_out(self, session: Session) -> Subscription | None:
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
        return self._subscriptions.pop(session, None)

    async def verify(self, session: Session) -> bool:
        """Find out whether the session is still the newest of its client; ends it when it is not.

        Raises:
            BusUnavailable: it can not be found out now.
        """
        if session.end is not None:
            return False
        if self.trusted(session):
            return True
        if not await self._lease.ensure():
            raise BusUnavailable("the bus does not answer")
        return self.trusted(session) or await self._look(session)

    async def _look(self, session: Session) -> bool:
        """Ask the directory whether the session is the newest of its client; ends it when it is not."""
        generation = self._lease.generation
        epoch = await self._directory.current_epoch(session.token)
        if epoch != session.epoch:
            if session.end is None:
                metrics.STALE_SESSIONS.inc()
            session.finish(SUPERSEDED if epoch else FORGOTTEN)
            return False
        session.generation = generation
        return session.end is None

    async def verify_all(self) -> None:
        """Check every session that the current generation of the lease has not seen yet, until the lease lapses."""
        generation = self._lease.generation
        slots = asyncio.Semaphore(RECHECKS_AT_ONCE)

        async def checked(session: Session) -> bool:
            async with slots:
                try:
                    await self.verify(session)
                except BusUnavailable:
                    return False
                return True

        while self._lease.generation == generation:
            unseen = [each for each in self.all() if each.ready and each.end is None and each.generation != generation]
            if all(await asyncio.gather(*(checked(session) for session in unseen))):
                return
            # The directory may need longer than the bus to come back. Until then these sessions are not used.
            log.warning("sessions not verified: the directory does not answer")
            await asyncio.sleep(RECHECK_SECONDS)
