"""A buffer on disk."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .buffers import ENTRY_OVERHEAD, Entry, Room

log = logging.getLogger("crypto_streaming.agent")

FORMAT = "1"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (sequence INTEGER PRIMARY KEY, message_id TEXT NOT NULL, payload BLOB NOT NULL);
"""

_Value = TypeVar("_Value")


@dataclass
class _Commit:
    """What the next transaction will do, and who waits for it."""

    done: asyncio.Future[None]
    puts: list[Entry] = field(default_factory=list)
    removes: list[tuple[int]] = field(default_factory=list)


class DiskBuffer:
    """A `Buffer` in an SQLite file (write-ahead log): survives the process, killed or not.

    `put` returns after the commit. All reports that wait share one transaction, and the disk is touched only by a
    thread of this buffer's own. The file belongs to one client, and to one process at a time.

    Args:
        path: the file; made when it is not there.
        max_messages: `put` waits beyond so many entries.
        max_bytes: likewise, of their payloads. The file is somewhat larger.
        sync: wait for the disk at each commit too, which a power cut needs; without, the last moments before a power
            cut (never before a crash or a kill) may be lost.
    """

    def __init__(
        self,
        path: str | Path,
        max_messages: int = 1_000_000,
        max_bytes: int = 1024 * 1024 * 1024,
        *,
        sync: bool = False,
    ) -> None:
        self._path = Path(path)
        self._sync = sync
        self._room = Room(max_messages, max_bytes)
        self._newest = 0
        # Payload sizes of what is committed and not removed, in order. Read by the thread, changed by the loop.
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._next: _Commit | None = None
        self._committing: asyncio.Task[None] | None = None

    @property
    def oldest(self) -> int | None:
        """See `Buffer`."""
        return next(iter(self._sizes), None)

    @property
    def newest(self) -> int:
        """See `Buffer`."""
        return self._newest

    def __len__(self) -> int:
        """See `Buffer`."""
        return len(self._sizes)

    async def open(self, client_id: str) -> None:
        """See `Buffer`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crypto-streaming-buffer")
        try:
            kept = await self._in_thread(lambda: self._open(client_id))
        except BaseException:
            self._thread.shutdown()
            self._thread = None
            raise
        for sequence, size in kept:
            self._sizes[sequence] = size
            self._room.add(size)
            self._newest = sequence

    async def put(self, message_id: str, payload: bytes) -> None:
        """See `Buffer`.

        Raises:
            sqlite3.Error: the disk would not take it.
        """
        await self._room.take(len(payload))
        if self._thread is None:
            raise RuntimeError("the buffer is not open")
        self._newest += 1
        commit = self._commit()
        commit.puts.append(Entry(self._newest, message_id, payload))
        # Whoever reports may be cancelled; the transaction belongs to others too.
        await asyncio.shield(commit.done)

    async def read(self, after: int, max_messages: int, max_bytes: int) -> Sequence[Entry]:
        """See `Buffer`."""
        if self._newest <= after or not self._sizes:
            return ()
        return await self._in_thread(lambda: self._read(after, max_messages, max_bytes))

    def remove(self, sequences: Iterable[int]) -> None:
        """See `Buffer`."""
        gone: list[tuple[int]] = []
        for sequence in sequences:
            size = self._sizes.pop(sequence, None)
            if size is not None:
                self._room.free(size)
                gone.append((sequence,))
        if gone and self._thread is not None:
            self._commit().removes.extend(gone)

    async def close(self) -> None:
        """See `Buffer`."""
        self._room.close()
        if self._thread is None:
            return
        try:
            if self._committing is not None:
                await self._committing
        finally:
            thread, self._thread = self._thread, None
            connection, self._connection = self._connection, None
            if connection is not None:
                await asyncio.wrap_future(thread.submit(connection.close))
            thread.shutdown()

    # On the loop

    def _commit(self) -> _Commit:
        """The next transaction, to be added to before the loop runs on."""
        if self._next is None:
            self._next = _Commit(asyncio.get_running_loop().create_future())
            if self._committing is None or self._committing.done():
                self._committing = asyncio.create_task(self._commit_all())
        return self._next

    async def _commit_all(self) -> None:
        while (commit := self._next) is not None:
            self._next = None
            try:
                await self._in_thread(lambda commit=commit: self._write(commit))
            except sqlite3.Error as error:
                log.error("%s: %s", self._path, error)
                for entry in commit.puts:
                    self._room.free(len(entry.payload))
                if commit.puts:
                    commit.done.set_exception(error)
                # What was only to be removed is sent again after a restart, and folded by the server.
                continue
            for entry in commit.puts:
                self._sizes[entry.sequence] = len(entry.payload)
            commit.done.set_result(None)

    def _in_thread(self, function: Callable[[], _Value]) -> asyncio.Future[_Value]:
        assert self._thread is not None
        return asyncio.get_running_loop().run_in_executor(self._thread, function)

    # In the thread

    def _open(self, client_id: str) -> list[tuple[int, int]]:
        try:
            connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error
        try:
            # Exclusive: a second process must not send this one's reports.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('client_id', ?), ('format', ?)", (client_id, FORMAT))
            self._check(dict(connection.execute("SELECT key, value FROM meta")), client_id)
            connection.execute("COMMIT")
            kept = connection.execute("SELECT sequence, length(payload) FROM reports ORDER BY sequence").fetchall()
        except sqlite3.Error as error:
            connection.close()
            raise OSError(f"{self._path}: {error}") from error
        except ValueError:
            connection.close()
            raise
        self._connection = connection
        return kept

    def _check(self, meta: dict[str, str], client_id: str) -> None:
        if meta["client_id"] != client_id:
            raise ValueError(f"{self._path} holds the reports of {meta['client_id']!r}, not of {client_id!r}")
        if meta["format"] != FORMAT:
            raise ValueError(f"{self._path} is of format {meta['format']}, this version writes {FORMAT}")

    def _write(self, commit: _Commit) -> None:
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT INTO reports VALUES (?, ?, ?)",
                [(entry.sequence, entry.message_id, entry.payload) for entry in commit.puts],
            )
            connection.executemany("DELETE FROM reports WHERE sequence = ?", commit.removes)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _read(self, after: int, max_messages: int, max_bytes: int) -> list[Entry]:
        connection = self._connection
        assert connection is not None
        found: list[Entry] = []
        size = 0
        rows = connection.execute(
            "SELECT sequence, message_id, payload FROM reports WHERE sequence > ? ORDER BY sequence", (after,)
        )
        try:
            for sequence, message_id, payload in rows:
                if sequence not in self._sizes:
                    continue  # removed, or its commit not yet told to the loop
                size += len(payload) + ENTRY_OVERHEAD
                if found and (len(found) >= max_messages or size > max_bytes):
                    break
                found.append(Entry(sequence, message_id, payload))
        finally:
            rows.close()
        return found
