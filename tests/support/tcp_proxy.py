"""A TCP relay that can be cut or frozen, to take a network away from one process and leave it to the others."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

from support.ports import LOOPBACK, free_port

_CHUNK = 65_536
_Result = TypeVar("_Result")


class TcpProxy:
    """Relays connections to one address until it is told otherwise. All methods may be called from any thread.

    It runs an event loop in a thread of its own, so that blocking tests and asynchronous ones use it alike.

    Args:
        target_port: where connections go.
        target_host: likewise.
        port: where it listens; a free one if None.
    """

    def __init__(self, target_port: int, target_host: str = LOOPBACK, port: int | None = None) -> None:
        self.target = (target_host, target_port)
        self.port = port or free_port()
        self.host = LOOPBACK
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._open = asyncio.Event()
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Begin to relay."""
        self._thread.start()
        self.heal()

    def close(self) -> None:
        """End all connections and stop; no-op when it does not run."""
        if not self._thread.is_alive():
            return
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset all connections and refuse new ones, as when the other side's process dies."""
        self._run(self._cut)

    def blackhole(self) -> None:
        """Keep connections open, accept new ones and relay nothing, as when the network loses every packet.

        What is sent meanwhile arrives after `heal`, as TCP's repetitions would.
        """
        self._run(self._freeze)

    def heal(self) -> None:
        """Relay (again)."""
        self._run(self._heal)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, step: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        return asyncio.run_coroutine_threadsafe(step(), self._loop).result(timeout=10)

    async def _cut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _freeze(self) -> None:
        self._open.clear()

    async def _heal(self) -> None:
        self._open.set()
        if self._listener is None:
            self._listener = socket.create_server((self.host, self.port))
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        # Not asyncio's server: when that is closed between accepting a connection and handing it over, it loses it.
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        relay = self._loop.create_task(self._relay(connection))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        relay.add_done_callback(lambda _: connection.close())

    async def _relay(self, connection: socket.socket) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
            writers.append(writer)
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            # Cut, or ended by one side: a reset tells the other side so at once.
            for each in writers:
                _reset_on_close(each)
        finally:
            for each in writers:
                each.close()
            for each in writers:
                with suppress(OSError):
                    await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        await self._open.wait()
        with suppress(OSError):
            writer.write_eof()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
