"""One suite over both buffers, and what only the one on disk promises."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crypto_streaming.agent import Buffer, DiskBuffer, MemoryBuffer
from crypto_streaming.agent.buffers import ENTRY_OVERHEAD

Make = Callable[[int, int], Buffer]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def of(max_messages: int, max_bytes: int) -> Buffer:
        if request.param == "memory":
            return MemoryBuffer(max_messages, max_bytes)
        return DiskBuffer(tmp_path / "buffer.db", max_messages, max_bytes)

    return of


@pytest.fixture
async def buffer(make: Make) -> AsyncIterator[Buffer]:
    made = make(10, 1000)
    await made.open("c-1")
    yield made
    await made.close()


async def fill(buffer: Buffer, *sizes: int) -> None:
    for size in sizes:
        await buffer.put(f"m-{buffer.newest + 1}", bytes(size))


async def ids(buffer: Buffer, after: int = 0, messages: int = 100, size: int = 100_000) -> list[str]:
    return [entry.message_id for entry in await buffer.read(after, messages, size)]


async def test_keeps_order_and_bytes(buffer: Buffer) -> None:
    assert (len(buffer), buffer.oldest, buffer.newest) == (0, None, 0)
    assert await ids(buffer) == []
    await buffer.put("a", b"\x00one")
    await buffer.put("b", b"\xfftwo")
    entries = await buffer.read(0, 10, 1000)
    assert [(e.message_id, e.payload) for e in entries] == [("a", b"\x00one"), ("b", b"\xfftwo")]
    assert (len(buffer), buffer.oldest, buffer.newest) == (2, entries[0].sequence, entries[1].sequence)


async def test_reads_what_fits_but_one_at_least(buffer: Buffer) -> None:
    await fill(buffer, 10, 20, 30)
    first, second, _ = await buffer.read(0, 3, 1000)
    assert await ids(buffer, messages=2) == ["m-1", "m-2"]
    assert await ids(buffer, size=30 + 2 * ENTRY_OVERHEAD) == ["m-1", "m-2"]
    assert await ids(buffer, size=30 + 2 * ENTRY_OVERHEAD - 1) == ["m-1"]
    assert await ids(buffer, size=-5) == ["m-1"]
    assert await ids(buffer, after=first.sequence) == ["m-2", "m-3"]
    assert await ids(buffer, after=second.sequence + 1) == []


async def test_removes_in_any_order(buffer: Buffer) -> None:
    await fill(buffer, 1, 2, 3)
    first, second, third = await buffer.read(0, 3, 1000)
    buffer.remove([second.sequence, second.sequence, 999])
    assert await ids(buffer) == ["m-1", "m-3"]
    assert buffer.oldest == first.sequence
    buffer.remove([first.sequence])
    assert buffer.oldest == third.sequence
    buffer.remove([third.sequence])
    assert (len(buffer), buffer.oldest, buffer.newest) == (0, None, third.sequence)
    assert await ids(buffer) == []
    await buffer.put("later", b"")
    assert buffer.newest > third.sequence


async def test_put_waits_while_full_by_messages(buffer: Buffer) -> None:
    await fill(buffer, *[1] * 10)
    waiting = [asyncio.create_task(buffer.put(name, b"x")) for name in "abc"]
    await asyncio.sleep(0)
    assert len(buffer) == 10
    buffer.remove([e.sequence for e in await buffer.read(0, 2, 1000)])
    await asyncio.gather(*waiting[:2])
    assert (await ids(buffer))[-2:] == ["a", "b"]
    waiting[2].cancel()
    await asyncio.gather(waiting[2], return_exceptions=True)
    buffer.remove([e.sequence for e in await buffer.read(0, 1, 1000)])
    await asyncio.wait_for(buffer.put("d", b"x"), 5)


async def test_put_waits_while_full_by_bytes(buffer: Buffer) -> None:
    await fill(buffer, 600, 300)
    big = asyncio.create_task(buffer.put("big", bytes(500)))
    small = asyncio.create_task(buffer.put("small", bytes(10)))
    await asyncio.sleep(0)
    assert len(buffer) == 2, "the small one does not overtake"
    buffer.remove([e.sequence for e in await buffer.read(0, 1, 1000)])
    await asyncio.gather(big, small)
    assert (await ids(buffer))[1:] == ["big", "small"]


async def test_cancelled_while_waiting_gives_its_turn_on(buffer: Buffer) -> None:
    await fill(buffer, 600, 300)
    big = asyncio.create_task(buffer.put("big", bytes(500)))
    small = asyncio.create_task(buffer.put("small", bytes(10)))
    await asyncio.sleep(0)
    big.cancel()
    await small
    assert (await ids(buffer))[2:] == ["small"]


async def test_what_never_fits_is_refused(buffer: Buffer) -> None:
    with pytest.raises(ValueError, match="1001 bytes"):
        await buffer.put("m", bytes(1001))


async def test_closing_refuses_who_waits(make: Make) -> None:
    buffer = make(1, 100)
    await buffer.open("c-1")
    await fill(buffer, 1)
    waiting = asyncio.create_task(buffer.put("m", b""))
    await asyncio.sleep(0)
    await buffer.close()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await buffer.put("m", b"")


def test_a_buffer_of_nothing_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="at least"):
        make(0, 1)


async def test_disk_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = DiskBuffer(path)
    await buffer.open("c-1")
    await fill(buffer, 10, 20, 30)
    buffer.remove([(await buffer.read(0, 1, 1000))[0].sequence])
    await buffer.close()
    again = DiskBuffer(path)
    await again.open("c-1")
    assert [(e.message_id, len(e.payload)) for e in await again.read(0, 10, 1000)] == [("m-2", 20), ("m-3", 30)]
    assert len(again) == 2
    await fill(again, 1)
    assert (await ids(again))[-1] == f"m-{again.newest}"
    await again.close()


async def test_disk_counts_what_was_there_against_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = DiskBuffer(path)
    await buffer.open("c-1")
    await fill(buffer, 1, 1, 1)
    await buffer.close()
    again = DiskBuffer(path, max_messages=2)
    await again.open("c-1")
    waiting = asyncio.create_task(again.put("m", b""))
    await asyncio.sleep(0)
    again.remove([1])
    await asyncio.sleep(0)
    assert not waiting.done()
    again.remove([2])
    await waiting
    await again.close()


async def test_disk_refuses_another_client_and_another_process(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    buffer = DiskBuffer(path)
    await buffer.open("c-1")
    with pytest.raises(OSError, match="locked"):
        await DiskBuffer(path).open("c-1")
    await buffer.close()
    with pytest.raises(ValueError, match="c-1"):
        await DiskBuffer(path).open("c-2")
    again = DiskBuffer(path)
    await again.open("c-1")
    await again.close()


async def test_disk_refuses_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(OSError, match=r"b\.db"):
        await DiskBuffer(path).open("c-1")
    with pytest.raises(OSError, match="no-such"):
        await DiskBuffer(tmp_path / "no-such" / "b.db").open("c-1")


async def test_disk_says_when_it_could_not_keep_a_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    buffer = DiskBuffer(tmp_path / "b.db", max_messages=1)
    await buffer.open("c-1")
    assert buffer._connection is not None
    connection = buffer._connection
    assert buffer._thread is not None
    buffer._thread.submit(connection.execute, "PRAGMA max_page_count = 1").result()
    with pytest.raises(sqlite3.Error):
        await buffer.put("m", bytes(100_000))
    assert "full" in caplog.text
    buffer._thread.submit(connection.execute, "PRAGMA max_page_count = 100000").result()
    await asyncio.wait_for(buffer.put("m", bytes(100_000)), 5)
    assert await ids(buffer) == ["m"]
    await buffer.close()


CHILD = """
import asyncio, sys
from crypto_streaming.agent import DiskBuffer

async def main():
    buffer = DiskBuffer(sys.argv[1])
    await buffer.open("c-1")
    async def report(worker):
        n = 0
        while True:
            name = f"{worker}-{n}"
            await buffer.put(name, name.encode() * 50)
            sys.stdout.write(name + "\\n")
            sys.stdout.flush()
            n += 1
    await asyncio.gather(*(report(worker) for worker in range(8)))

asyncio.run(main())
"""


def test_disk_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline().strip() for _ in range(200)]
        os.kill(child.pid, signal.SIGKILL)
        # Whole lines only: what was told was kept.
        told += [line.strip() for line in child.stdout if line.endswith("\n")]

    async def read() -> dict[str, bytes]:
        buffer = DiskBuffer(path)
        await buffer.open("c-1")
        kept = {entry.message_id: entry.payload for entry in await buffer.read(0, 1_000_000, 1 << 30)}
        await buffer.close()
        return kept

    kept = asyncio.run(read())
    assert len(told) >= 200
    assert set(told) <= set(kept)
    assert all(payload == name.encode() * 50 for name, payload in kept.items())
