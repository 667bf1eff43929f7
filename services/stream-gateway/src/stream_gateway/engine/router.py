"""Delivers commands: to a session here, or through the bus to whoever holds the client."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from crypto_streaming.errors import ErrorCode
from stream_gateway import metrics

from .contract import Command, Contract, Failure, no_ack_within
from .peers import PeerClient
from .seams import BusUnavailable
from .session import PendingCommand, Session
from .sessions import SessionTable

_Outcome = TypeVar("_Outcome", bound=bytes | Failure | None)

_BUS_UNAVAILABLE = Failure(ErrorCode.BUS_UNAVAILABLE, "this gateway can not reach the bus; nothing was sent")
# How long another gateway may take to say that a command is queued.
QUEUED_SECONDS = 5.0
# A deadline may be any number; no longer than this is waited for an ack.
LONGEST_SECONDS = 24 * 3600.0


class CommandRouter:
    """The one way of a command to its client.

    Args:
        contract: how client ids become subject tokens.
        table: the sessions here.
        peers: the way to the others.
    """

    def __init__(self, contract: Contract, table: SessionTable, peers: PeerClient) -> None:
        self._contract = contract
        self._table = table
        self._peers = peers

    async def send(self, command: Command) -> Failure | None:
        """Queue a command on the client's live stream; None when it is queued."""
        here = await self._held_here(command.client_id)
        if isinstance(here, Failure):
            return self._counted("send", "none", here)
        if here is not None:
            return self._counted("send", "local", here.submit(PendingCommand(command, None)))
        token = self._contract.token(command.client_id)
        outcome = await self._peers.deliver(token, command, wait=False, timeout=QUEUED_SECONDS)
        return self._counted("send", "remote", outcome if isinstance(outcome, Failure) else None)

    async def execute(self, command: Command, timeout: float) -> bytes | Failure:  # noqa: ASYNC109  (the caller's deadline)
        """Deliver a command and wait for the client's ack, at most `timeout` seconds.

        When the calling task is cancelled, the command is withdrawn: not written if it was not yet, and its ack not
        waited for.
        """
        timeout = min(max(timeout, 0.0), LONGEST_SECONDS)
        here = await self._held_here(command.client_id)
        if isinstance(here, Failure):
            return self._counted("execute", "none", here)
        if here is not None:
            return self._counted("execute", "local", await self._execute_here(here, command, timeout))
        token = self._contract.token(command.client_id)
        outcome = await self._peers.deliver(token, command, wait=True, timeout=timeout)
        assert outcome is not None, "a holder that waits answers with an ack or a failure"
        return self._counted("execute", "remote", outcome)

    async def _held_here(self, client_id: str) -> Session | Failure | None:
        """The client's session here; None when another gateway is to be asked."""
        session = self._table.get(client_id)
        if session is None:
            # A connection that has been silent for a while takes requests and delivers none.
            return None if await self._table.in_contact() else _BUS_UNAVAILABLE
        if self._table.trusted(session):
            return session
        try:
            return session if await self._table.verify(session) else None
        except BusUnavailable:
            return _BUS_UNAVAILABLE

    async def _execute_here(self, session: Session, command: Command, timeout: float) -> bytes | Failure:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | Failure] = loop.create_future()

        def finish(outcome: bytes | Failure) -> None:
            if not answer.done():
                answer.set_result(outcome)

        pending = PendingCommand(command, finish)
        failure = session.submit(pending)
        if failure is not None:
            return failure
        timer = loop.call_later(timeout, lambda: finish(no_ack_within(timeout)))
        try:
            return await answer
        finally:
            timer.cancel()
            session.withdraw(pending)

    def _counted(self, rpc: str, path: str, outcome: _Outcome) -> _Outcome:
        if isinstance(outcome, Failure):
            word = outcome.code.value
        elif outcome is None or self._contract.ack_succeeded(outcome):
            word = "ok"
        else:
            word = "refused"
        metrics.COMMANDS.cell(rpc, path, word).value += 1
        return outcome
