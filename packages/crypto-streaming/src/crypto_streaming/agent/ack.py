"""A handler's answer to a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Struct

from crypto_streaming import pb


@dataclass(frozen=True)
class Ack:
    """What became of a command.

    Attributes:
        success: it was obeyed.
        message: words for a person.
        error: a code for a program, of the client's own; empty on success. The codes of `crypto_streaming.ErrorCode`
            belong to the way there, and should not be used.
        status: the client's status from now on; None leaves it (a pause that succeeds sets PAUSED, a resume ACTIVE).
        result: whatever else the command produced; values as in JSON.
    """

    success: bool = True
    message: str = ""
    error: str = ""
    status: pb.ClientStatus | None = None
    result: Mapping[str, Any] | None = None

    def to_message(self, command_id: str, status: pb.ClientStatus, now_ns: int) -> pb.CommandAck:
        """The contract's message for it.

        Raises:
            ValueError: `result` holds what JSON can not.
        """
        ack = pb.CommandAck(
            command_id=command_id,
            success=self.success,
            message=self.message,
            error=self.error,
            current_status=status,
        )
        ack.timestamp.FromNanoseconds(now_ns)
        if self.result is not None:
            result = Struct()
            result.update(dict(self.result))
            ack.result.CopyFrom(result)
        return ack
