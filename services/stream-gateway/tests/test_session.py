"""One session: its bounded queue, who waits for acks, what ends with it."""

from __future__ import annotations

import asyncio

import pytest
from support.engine_world import metric, outcome, ping
from support.virtual_time import LoopClock, virtual_time

from crypto_streaming.errors import ErrorCode
from stream_gateway.engine.contract import Failure
from stream_gateway.engine.session import RECEIPT_IDS, EndStatus, PendingCommand, Session, SessionEnd

LOST = SessionEnd(EndStatus.UNAVAILABLE, "disconnected", "the connection was lost")
OUTBOX = 3


def new_session() -> Session:
    return Session("c", "c", 1, peer="p", clock=LoopClock(), outbox_messages=OUTBOX)


class Caller:
    """Somebody who has a command sent."""

    def __init__(self, session: Session, command_id: str = "x", *, wait: bool = True, expires_in: float = 0) -> None:
        self.answers: list[str] = []
        expires_at_us = LoopClock().now_us() + int(expires_in * 1e6) if expires_in else 0
        command = ping("c", command_id, expires_at_us=expires_at_us)
        self.pending = PendingCommand(command, (lambda got: self.answers.append(outcome(got))) if wait else None)
        self.refused = session.submit(self.pending)

    @property
    def code(self) -> ErrorCode | None:
        return None if self.refused is None else self.refused.code


def waits() -> float:
    return metric("gateway_ack_waits")


@pytest.fixture(autouse=True)
def nothing_left_waiting() -> object:
    before = waits()
    yield
    assert waits() == before


@virtual_time
async def test_a_command_is_queued_written_and_acked() -> None:
    session = new_session()
    caller = Caller(session)
    assert (caller.code, session.waiting) == (None, 1)
    assert session.next_command() == caller.pending.command.payload
    assert session.next_command() is None
    assert session.acknowledge("x", b"")
    assert (caller.answers, session.waiting) == (["refused"], 0)
    assert not session.acknowledge("x", b""), "a second ack is nobody's"


@virtual_time
async def test_an_ack_for_what_nobody_waits_for_is_not_taken() -> None:
    session = new_session()
    waiting = Caller(session, "waiting")
    quiet = Caller(session, "quiet", wait=False)
    assert quiet.code is None
    assert not session.acknowledge("waiting", b""), "it has not been written yet"
    assert not session.acknowledge("never", b"")
    session.next_command()
    session.next_command()
    assert not session.acknowledge("quiet", b"")
    assert waiting.answers == []
    session.withdraw(waiting.pending)


@virtual_time
async def test_one_client_can_not_ack_the_command_of_another() -> None:
    one, other = new_session(), new_session()
    caller = Caller(one)
    one.next_command()
    assert not other.acknowledge("x", b"")
    assert caller.answers == []
    one.withdraw(caller.pending)


@virtual_time
async def test_the_queue_is_bounded() -> None:
    session = new_session()
    callers = [Caller(session, f"x{number}") for number in range(OUTBOX + 1)]
    assert [caller.code for caller in callers] == [None] * OUTBOX + [ErrorCode.CLIENT_OVERLOADED]
    assert Caller(session, "quiet", wait=False).code is ErrorCode.CLIENT_OVERLOADED
    session.next_command()
    late = Caller(session, "late")
    assert late.code is None
    session.finish(LOST)


@virtual_time
async def test_a_command_id_waits_once() -> None:
    session = new_session()
    first = Caller(session)
    assert Caller(session).code is ErrorCode.DUPLICATE_COMMAND
    session.next_command()
    assert Caller(session).code is ErrorCode.DUPLICATE_COMMAND
    session.acknowledge("x", b"")
    again = Caller(session)
    assert again.code is None, "nobody waits for the first any more"
    session.withdraw(again.pending)
    assert first.answers == ["refused"]


@virtual_time
async def test_an_expired_command_is_not_queued() -> None:
    assert Caller(new_session(), expires_in=-1).code is ErrorCode.COMMAND_EXPIRED


@virtual_time
async def test_a_command_that_expires_in_the_queue_is_not_written() -> None:
    session = new_session()
    caller, quiet, lasting = (
        Caller(session, "a", expires_in=0.5),
        Caller(session, "b", wait=False, expires_in=0.5),
        Caller(session, "c", expires_in=99),
    )
    await asyncio.sleep(1)
    assert session.next_command() == lasting.pending.command.payload
    assert session.next_command() is None
    assert (caller.answers, quiet.pending.sent) == (["COMMAND_EXPIRED"], False)
    session.withdraw(lasting.pending)


@virtual_time
async def test_what_is_withdrawn_before_it_was_written_never_is() -> None:
    session = new_session()
    first, second = Caller(session, "a"), Caller(session, "b")
    session.withdraw(first.pending)
    assert session.next_command() == second.pending.command.payload
    session.withdraw(second.pending)
    assert not session.acknowledge("b", b"")
    assert (first.answers, second.answers) == ([], [])
    assert [Caller(session, f"n{number}").code for number in range(OUTBOX)] == [None] * OUTBOX, "the place is free"
    session.finish(LOST)


@virtual_time
async def test_the_end_tells_who_waits_whether_the_command_was_sent() -> None:
    session = new_session()
    sent, queued = Caller(session, "sent"), Caller(session, "queued")
    unsent = metric("gateway_unsent_commands_total", why="ended")
    session.next_command()
    session.finish(LOST)
    assert (sent.answers, queued.answers) == (["CLIENT_DISCONNECTED"], ["CLIENT_NOT_CONNECTED"])
    assert metric("gateway_unsent_commands_total", why="ended") == unsent + 1
    assert session.next_command() is None
    assert Caller(session).code is ErrorCode.CLIENT_NOT_CONNECTED
    assert not session.acknowledge("sent", b"")


@virtual_time
async def test_the_first_end_counts() -> None:
    session = new_session()
    session.finish(LOST)
    session.finish(SessionEnd(EndStatus.ABORTED, "superseded", ""))
    assert session.end is LOST


@virtual_time
async def test_after_a_half_close_commands_go_out_and_nobody_waits() -> None:
    session = new_session()
    waiting = Caller(session, "waiting")
    session.next_command()
    session.close_inbound()
    assert waiting.answers == ["CLIENT_DISCONNECTED"]
    assert Caller(session, "sync").code is ErrorCode.CLIENT_NOT_CONNECTED
    quiet = Caller(session, "quiet", wait=False)
    assert quiet.code is None
    assert session.next_command() == quiet.pending.command.payload


@virtual_time
async def test_the_first_outcome_counts() -> None:
    answers: list[object] = []
    pending = PendingCommand(ping("c"), answers.append)
    pending.resolve(b"first")
    pending.resolve(Failure(ErrorCode.COMMAND_TIMEOUT, "second"))
    assert answers == [b"first"]


@virtual_time
async def test_receipts_are_taken_in_portions_and_free_the_window_then() -> None:
    session = new_session()
    session.wants_receipts = True
    total = RECEIPT_IDS + 5
    for number in range(total):
        session.outstanding_messages += 1
        session.outstanding_bytes += 10
        session.durable(f"m{number}", 10)
    assert session.outstanding_messages == total, "a client that does not read its receipts has not got them"
    first = session.next_receipts()
    assert len(first) == RECEIPT_IDS
    second = session.next_receipts()
    assert [*first, *second] == [f"m{number}" for number in range(total)]
    assert session.next_receipts() == []
    assert (session.outstanding_messages, session.outstanding_bytes) == (0, 0)
