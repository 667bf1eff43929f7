"""A client and a caller written against the bare contract: gRPC, the messages, and nothing of the SDK.

Blocking, each client with one thread that reads, so that tests need no event loop beside pytest's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from crypto_streaming import pb
from support.waiting import eventually

_CONNECT = f"/{pb.SERVICE_NAME}/ConnectClient"
_COMMANDS = {field.name for field in pb.DjangoCommand.DESCRIPTOR.oneofs_by_name["command"].fields}
_OPTIONS: list[tuple[str, Any]] = [
    # Each client has a connection of its own, as in reality.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    # A small receive window that stays small: who does not read is noticed soon.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_536),
]


class BareClient:
    """One client's stream, connected from the start.

    Args:
        address: host:port of a gateway or of Envoy.
        client_id: who it is.
        obeys: what it answers to each command: an ack, or None for silence.
        registers: whether its first message is a registration; otherwise the caller sends it.
        capabilities: what it announces; nothing by default.
        metadata: gRPC metadata of the stream.
    """

    def __init__(
        self,
        address: str,
        client_id: str,
        *,
        obeys: Callable[[pb.DjangoCommand], pb.CommandAck | None] | None = None,
        registers: bool = True,
        capabilities: tuple[Any, ...] = (),
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.client_id = client_id
        self.received: list[pb.DjangoCommand] = []
        self.reading = threading.Event()
        self.reading.set()
        self._obeys = obeys or acks
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        connect = self._channel.stream_stream(_CONNECT, None, pb.DjangoCommand.FromString)
        self._call: Any = connect(self._messages(), metadata=metadata)
        self._reader = threading.Thread(target=self._read, name=f"client {client_id}", daemon=True)
        self._reader.start()
        if registers:
            self.say(register=pb.ClientRegistration(client_name=client_id, capabilities=capabilities))

    def say(self, message_id: str = "", **payload: Any) -> None:
        """Send one message."""
        self.send(pb.ClientMessage(client_id=self.client_id, message_id=message_id, **payload).SerializeToString())

    def report(self, message_id: str, text: str = "") -> None:
        """Send one report."""
        self.say(message_id, log=pb.LogEntry(level="info", message=text))

    def ack(self, command_id: str) -> None:
        """Ack a command."""
        self.say(command_ack=pb.CommandAck(command_id=command_id, success=True, message="late"))

    def send(self, raw: bytes) -> None:
        """Send any bytes as a message."""
        self._outgoing.put(raw)

    def half_close(self) -> None:
        """Say that nothing more will come."""
        self._outgoing.put(None)

    def close(self) -> None:
        """Vanish; no-op when the stream has ended."""
        self.reading.set()
        self._call.cancel()
        self._outgoing.put(None)
        self._channel.close()
        self._reader.join(10)

    def ended(self, timeout: float = 10.0) -> grpc.StatusCode:
        """Wait until the stream has ended, and return how."""
        self._reader.join(timeout)
        assert not self._reader.is_alive(), f"the stream of {self.client_id} goes on"
        return self._call.code()

    @property
    def is_open(self) -> bool:
        """Whether the stream goes on."""
        return self._reader.is_alive()

    @property
    def details(self) -> str:
        """The words with which the stream ended."""
        return str(self._call.details())

    @property
    def command_ids(self) -> list[str]:
        """The ids of the commands received."""
        return [command.command_id for command in self.received if command.command_id]

    @property
    def receipts(self) -> list[str]:
        """The message ids confirmed."""
        return [message_id for notice in self.received for message_id in notice.receipt.message_ids]

    def first(self, kind: str) -> pb.DjangoCommand:
        """Wait for the first command or notice of a kind."""

        def came() -> list[pb.DjangoCommand]:
            return [each for each in self.received if each.WhichOneof("command") == kind]

        return eventually(came, message=f"{kind} has come to {self.client_id}")[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _messages(self) -> Iterator[bytes]:
        while (raw := self._outgoing.get()) is not None:
            yield raw

    def _read(self) -> None:
        try:
            self.reading.wait()
            for command in self._call:
                self.received.append(command)
                if command.command_id and (ack := self._obeys(command)) is not None:
                    self.say(command_ack=ack)
                self.reading.wait()
        except grpc.RpcError:
            pass  # `ended` says how


def acks(command: pb.DjangoCommand) -> pb.CommandAck | None:
    """Ack a command with the name of its kind."""
    return pb.CommandAck(command_id=command.command_id, success=True, message=command.WhichOneof("command"))


def refuses(command: pb.DjangoCommand) -> pb.CommandAck | None:
    """Ack a command as failed, in the client's own words."""
    return pb.CommandAck(command_id=command.command_id, success=False, error="WALLET_LOCKED", message="not now")


def ignores(command: pb.DjangoCommand) -> pb.CommandAck | None:
    """Ack nothing."""
    del command


class BareCaller:
    """Somebody who commands clients by gRPC.

    Args:
        address: host:port of a gateway or of Envoy.
    """

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = pb.CryptoStreamingServiceStub(self.channel)

    def start(self, client_id: str, command_id: str = "", *, timeout: float | None = 10.0, **fields: Any) -> Any:
        """Call ExecuteCommandSync without waiting; the result is a gRPC future."""
        return self._stub.ExecuteCommandSync.future(_request(client_id, command_id, **fields), timeout=timeout)

    def execute(
        self, client_id: str, command_id: str = "", *, timeout: float | None = 10.0, **fields: Any
    ) -> pb.CommandAck:
        """Call ExecuteCommandSync."""
        return self.start(client_id, command_id, timeout=timeout, **fields).result()

    def send(
        self, client_id: str, command_id: str = "", *, timeout: float = 10.0, **fields: Any
    ) -> pb.SendCommandResponse:
        """Call SendCommandToClient."""
        return self._stub.SendCommandToClient(_request(client_id, command_id, **fields), timeout=timeout)

    def reaches(self, client_id: str) -> bool:
        """Whether a command can be queued for the client now."""
        return self.send(client_id, "reach").success

    def raw(self, method: str, request: bytes) -> bytes:
        """Call a unary method with any bytes."""
        return self.channel.unary_unary(f"/{pb.SERVICE_NAME}/{method}")(request, timeout=10)

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _request(client_id: str, command_id: str, **fields: Any) -> pb.SendCommandRequest:
    if not fields.keys() & _COMMANDS:
        fields["ping"] = pb.PingCommand(sequence=1)
    return pb.SendCommandRequest(client_id=client_id, command=pb.DjangoCommand(command_id=command_id, **fields))
