"""Entries become frames: few, in order, none lost, none too large; receipts only for what the log has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from support.engine_world import RecordingSink, metric, until
from support.virtual_time import LoopClock, virtual_time

from service_kit.frames import Frame, Rejected
from stream_gateway.engine.frame_writer import FRAME_BYTES, FRAMES_UNDER_WAY, PACE_SECONDS, FrameWriter
from stream_gateway.engine.seams import BusUnavailable, SinkFull
from stream_gateway.engine.session import Session

LINGER = 0.01
BUDGET = 1024 * 1024
# What NATS takes, less the headers.
MOST_BYTES = 1024 * 1024 - 1024


class Bench:
    """A writer with its log and a session."""

    def __init__(self) -> None:
        self.sink = RecordingSink()
        self.writer = FrameWriter(self.sink, "g", LoopClock(), budget_bytes=BUDGET, linger_seconds=LINGER)
        self.session = self.new_session("c")

    def new_session(self, client_id: str, *, receipts: bool = True) -> Session:
        session = Session(client_id, client_id, 7, peer="p", clock=LoopClock(), outbox_messages=8)
        session.wants_receipts = receipts
        return session

    def report(
        self, data: bytes, message_id: str = "", session: Session | None = None, *, counted: bool = True
    ) -> None:
        session = session or self.session
        session.position += 1
        self.writer.report(session, data, message_id, counted=counted)

    @property
    def reports(self) -> list[bytes]:
        return [entry.report for entry in self.sink.entries if entry.WhichOneof("body") == "report"]

    @property
    def sizes(self) -> list[int]:
        return [len(frame.entries) for frame in self.sink.frames]


@virtual_time
async def test_an_entry_tells_whose_it_is_and_when_it_came() -> None:
    bench = Bench()
    await asyncio.sleep(5)
    bench.writer.opened(bench.session)
    bench.report(b"data", "m1")
    bench.session.position += 1
    bench.writer.rejected(bench.session, Rejected(reason="NO_PAYLOAD", payload=b"x"), "m2")
    bench.writer.closed(bench.session, "goodbye")
    await bench.writer.flush()
    (frame,) = bench.sink.frames
    assert frame.gateway_id == "g"
    assert [entry.WhichOneof("body") for entry in frame.entries] == ["opened", "report", "rejected", "closed"]
    assert [entry.position for entry in frame.entries] == [0, 1, 2, 0]
    assert {(entry.client_id, entry.epoch) for entry in frame.entries} == {("c", 7)}
    # One clock tick, and yet each has a time of its own.
    now = LoopClock().now_us()
    assert [entry.received_at_us - now for entry in frame.entries] == [0, 1, 2, 3]
    assert (frame.entries[0].opened.peer, frame.entries[3].closed.reason) == ("p", "goodbye")


@virtual_time
async def test_what_arrives_together_goes_together() -> None:
    bench = Bench()
    for number in range(100):
        bench.report(b"%d" % number, f"m{number}")
    await until(lambda: bench.sink.stored)
    assert bench.sizes == [100]
    assert bench.reports == [b"%d" % number for number in range(100)]


@virtual_time
async def test_after_a_quiet_time_a_report_with_a_receipt_goes_at_once() -> None:
    bench = Bench()
    await asyncio.sleep(1)
    bench.report(b"a", "m1")
    await until(lambda: bench.sink.stored)
    assert asyncio.get_running_loop().time() < 1.002


@virtual_time
async def test_while_a_frame_is_under_way_entries_wait_for_it() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    bench.report(b"first", "m0")
    await until(lambda: bench.sink.offered)
    for number in range(50):
        bench.report(b"x", f"m{number}")
        await asyncio.sleep(PACE_SECONDS)
    assert len(bench.sink.offered) == 1
    bench.sink.gate.set()
    await until(lambda: len(bench.reports) == 51)
    assert bench.sizes == [1, 50]


@virtual_time
async def test_what_nobody_waits_for_lingers_and_no_longer() -> None:
    bench = Bench()
    silent = bench.new_session("s", receipts=False)
    await asyncio.sleep(1)
    for _ in range(5):
        bench.report(b"x", "m", silent)
        await asyncio.sleep(LINGER / 10)
    assert bench.sink.stored == {}
    await asyncio.sleep(LINGER)
    assert bench.sizes == [5]


@virtual_time
async def test_a_full_frame_does_not_wait() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    for _ in range(30):
        bench.report(bytes(100_000), "m")
    await until(lambda: len(bench.sink.offered) > 1)
    bench.sink.gate.set()
    await bench.writer.flush()
    assert sum(bench.sizes) == 30
    assert all(len(data) <= FRAME_BYTES for data in bench.sink.stored.values())


def hostile_entries(bench: Bench) -> Iterator[None]:
    """Entries whose message is the smallest part of them."""
    long_id = bench.new_session("i" * 128)
    long_id.epoch = 2**63
    long_id.peer = "p" * 256
    while True:
        bench.report(b"", "", long_id)
        yield
        bench.writer.rejected(
            long_id,
            Rejected(reason="R" * 20, detail="d" * 100, message_id="m" * 512, length=2**40, sha256=bytes(32)),
            "",
        )
        yield
        bench.writer.opened(long_id)
        yield
        bench.writer.closed(long_id, "superseded")
        yield


@virtual_time
async def test_no_frame_is_ever_too_large_for_the_bus() -> None:
    """One that is would be refused for ever, and everything behind it with it."""
    bench = Bench()
    bench.sink.gate.clear()
    bench.report(b"x", "m")
    await until(lambda: bench.sink.offered)
    for _, _ in zip(range(20_000), hostile_entries(bench), strict=False):
        pass
    bench.report(bytes(512 * 1024), "largest")
    bench.report(bytes(512 * 1024), "largest")
    bench.sink.gate.set()
    await bench.writer.flush()
    assert len(bench.sink.entries) == 20_003
    assert max(len(data) for data in bench.sink.stored.values()) < MOST_BYTES
    assert len(bench.sink.stored) < 40, "and frames are not needlessly small"


@pytest.mark.parametrize("fault", [SinkFull, BusUnavailable])
@virtual_time
async def test_a_frame_that_is_not_taken_is_offered_again_under_its_id(fault: type[SinkFull | BusUnavailable]) -> None:
    bench = Bench()
    why = "full" if fault is SinkFull else "unavailable"
    before = metric("gateway_frame_retries_total", why=why)
    bench.sink.fault = fault
    bench.report(b"x", "m1")
    await asyncio.sleep(60)
    assert bench.sink.stored == {}
    assert set(bench.sink.offered) == {"g:1"}
    assert 30 < len(bench.sink.offered) < 100, "again and again, not all the time"
    assert bench.session.next_receipts() == []
    bench.sink.fault = None
    await bench.writer.flush()
    assert bench.reports == [b"x"]
    assert bench.session.next_receipts() == ["m1"]
    assert metric("gateway_frame_retries_total", why=why) > before


@virtual_time
async def test_a_frame_whose_confirmation_was_lost_is_stored_once() -> None:
    bench = Bench()
    bench.sink.fault, bench.sink.takes_then_fails = BusUnavailable, True
    bench.report(b"x", "m1")
    await until(lambda: len(bench.sink.offered) > 3)
    assert bench.session.next_receipts() == []
    bench.sink.fault = None
    await bench.writer.flush()
    assert bench.reports == [b"x"]


@virtual_time
async def test_receipts_come_only_after_the_log_has_taken_the_frame() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    bench.report(b"x", "m1")
    bench.report(b"y", "")
    bench.report(b"z", "ack", counted=False)
    bench.report(b"w", "m2")
    await until(lambda: bench.sink.offered)
    assert bench.session.next_receipts() == []
    assert (bench.session.outstanding_messages, bench.session.outstanding_bytes) == (3, 3)
    bench.sink.gate.set()
    await bench.writer.flush()
    # An ack does not occupy the window, and is confirmed all the same.
    assert bench.session.next_receipts() == ["m1", "m2", "ack"]
    assert (bench.session.outstanding_messages, bench.session.outstanding_bytes) == (0, 0)


@virtual_time
async def test_who_does_not_want_receipts_collects_none() -> None:
    bench = Bench()
    silent = bench.new_session("s", receipts=False)
    bench.report(b"x", "m1", silent)
    await bench.writer.flush()
    assert silent.next_receipts() == []
    assert (silent.outstanding_messages, silent.undurable_bytes, bench.writer.undurable_bytes) == (0, 0, 0)


@virtual_time
async def test_the_budget_counts_what_is_not_durable_and_wakes_who_waits() -> None:
    bench = Bench()
    bench.sink.gate.clear()
    for _ in range(3):
        bench.report(bytes(BUDGET // 2), "m")
    assert bench.writer.over_budget()
    assert not bench.writer.over_budget(2)
    bench.writer.wake_when_below(bench.session)
    waiting = asyncio.create_task(bench.session.room())
    await asyncio.sleep(1)
    assert not waiting.done()
    bench.sink.gate.set()
    await asyncio.wait_for(waiting, 1)
    bench.writer.forget(bench.session)
    await bench.writer.flush()
    assert not bench.writer.over_budget()
    assert bench.writer.undurable_bytes == 0


@virtual_time
async def test_messages_without_content_spend_the_budget_too() -> None:
    bench = Bench()
    bench.sink.fault = SinkFull
    silent = bench.new_session("s", receipts=False)
    for _ in range(BUDGET // 100):
        bench.report(b"", "", silent)
    assert bench.writer.over_budget()
    bench.sink.fault = None
    await bench.writer.flush()
    assert (silent.undurable_bytes, bench.writer.undurable_bytes) == (0, 0)


@virtual_time
async def test_an_outage_leaves_few_large_frames_behind() -> None:
    """Not one for each time something lingered: they all have to go out afterwards."""
    bench = Bench()
    bench.sink.fault = BusUnavailable
    silent = bench.new_session("s", receipts=False)
    for _ in range(2000):
        bench.report(b"x" * 50, "", silent)
        await asyncio.sleep(0.02)
    bench.sink.fault = None
    await bench.writer.flush()
    assert sum(bench.sizes) == 2000
    assert len(bench.sink.stored) <= FRAMES_UNDER_WAY + 2


@virtual_time
async def test_flush_waits_for_all_that_came_before() -> None:
    bench = Bench()
    silent = bench.new_session("s", receipts=False)
    await bench.writer.flush()
    bench.sink.gate.clear()
    bench.report(b"a", "", silent)
    flushing = asyncio.create_task(bench.writer.flush())
    await asyncio.sleep(10)
    assert not flushing.done()
    bench.sink.gate.set()
    await asyncio.wait_for(flushing, 1)
    assert bench.reports == [b"a"]


@virtual_time
async def test_every_order_of_arrival_is_kept_within_a_session() -> None:
    bench = Bench()
    sessions = [bench.new_session(f"c{number}", receipts=number % 2 == 0) for number in range(4)]
    for number in range(400):
        bench.report(b"%d" % number, "", sessions[number % 4])
        if number % 7 == 0:
            await asyncio.sleep(0.003)
    await bench.writer.flush()
    entries = [entry for data in bench.sink.stored.values() for entry in Frame.FromString(data).entries]
    for session in sessions:
        assert [e.position for e in entries if e.client_id == session.client_id] == list(range(1, 101))


@virtual_time
async def test_a_refused_frame_does_not_hold_up_the_receipts_of_others() -> None:
    bench = Bench()
    bench.sink.fault = BusUnavailable
    bench.report(b"refused", "m1")
    await until(lambda: bench.sink.offered)
    bench.sink.refuses = {bench.sink.offered[0]}
    bench.sink.fault = None
    bench.report(b"taken", "m2")
    await until(lambda: b"taken" in bench.reports)
    assert b"refused" not in bench.reports
    bench.sink.refuses.clear()
    await bench.writer.flush()
    assert sorted(bench.reports) == [b"refused", b"taken"]
