"""What a command consists of."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import uuid_utils
from google.protobuf.message import Message

from crypto_streaming import pb

TMessage = TypeVar("TMessage", bound=Message)


class CommandBuilder:
    """Makes command messages of any contract whose commands have an id and a timestamp."""

    @staticmethod
    def create(
        command_class: Callable[..., TMessage], converter: Callable[[TMessage], TMessage] | None = None, **fields: Any
    ) -> TMessage:
        """Make a command with a new id (UUIDv7) and the present time.

        Args:
            command_class: the contract's command message, such as `pb.DjangoCommand`.
            converter: applied to the finished message, if given.
            fields: the message's other fields, such as `pause=pb.PauseClientCommand(reason="…")`. `command_id` and
                `timestamp` win over what would be generated.
        """
        command = command_class(**{"command_id": str(uuid_utils.uuid7())} | fields)
        if "timestamp" not in fields:
            seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
            stamp: Any = getattr(command, "timestamp")  # noqa: B009 (a field of a message that is not known here)
            stamp.seconds, stamp.nanos = seconds, nanos
        return command if converter is None else converter(command)


class Command(ABC):
    """One command of the crypto contract: its name, and how to make it.

    Attributes:
        name: as in REST paths, and the field of the `DjangoCommand.command` oneof.
        payload_class: the message of that field.
        create: makes the whole `DjangoCommand` from the command's own arguments, with a new id.
    """

    name: ClassVar[str]
    payload_class: ClassVar[type[Message]]
    create: ClassVar[Callable[..., pb.DjangoCommand]]


class CommandMethods(ABC):
    """What the methods of a command find on the client that they are mixed into."""

    @abstractmethod
    async def execute_command(self, command: pb.DjangoCommand, *, timeout: float | None = None) -> pb.CommandAck:
        """Send a command and wait for its ack."""

    @abstractmethod
    async def _deliver(self, command: pb.DjangoCommand) -> bool:
        """Send a command; False when its client is not connected."""
