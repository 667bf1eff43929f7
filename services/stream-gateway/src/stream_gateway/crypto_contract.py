"""The crypto contract, bound to the engine: the one place of the gateway that knows its messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from uuid_utils import uuid7

from crypto_streaming import pb
from crypto_streaming.client_ids import client_id_problem, encode_client_id
from crypto_streaming.errors import ErrorCode
from service_kit.deadletters import DeadLetterReason
from service_kit.frames import Rejected

from .engine.contract import Command, Failure, Inbound, InboundKind, Welcome

# Of a message over the limit: enough to see what it was.
KEPT_OF_OVERSIZED = 4096
# Of a message that is rejected, a longer id is not kept beside the payload: it can be as large as that.
KEPT_MESSAGE_ID = 512
# What a batch may hold.
REPORTS: Final = frozenset({"wallet_update", "transaction", "status", "error", "log"})
# The last moment that travels between gateways: some 292,000 years from now.
LAST_US: Final = 2**63 - 1
NOTICES: Final = frozenset({"welcome", "receipt", "reconnect"})
COMMANDS: Final = frozenset(
    field.name for field in pb.DjangoCommand.DESCRIPTOR.oneofs_by_name["command"].fields if field.name not in NOTICES
)


class CryptoContract:
    """Implements `stream_gateway.engine.contract.Contract` for `crypto.CryptoStreamingService`.

    Args:
        max_command_bytes: a larger command is invalid.
    """

    def __init__(self, max_command_bytes: int) -> None:
        self._max_command_bytes = max_command_bytes

    def client_id_problem(self, client_id: str) -> str | None:
        """See `Contract`."""
        return client_id_problem(client_id)

    def token(self, client_id: str) -> str:
        """See `Contract`."""
        return encode_client_id(client_id)

    # From clients

    def parse(self, raw: bytes, max_bytes: int) -> Inbound:  # noqa: PLR0911  (one case a kind)
        """See `Contract`."""
        try:
            message = pb.ClientMessage.FromString(raw)
        except DecodeError:
            keep = KEPT_OF_OVERSIZED if len(raw) > max_bytes else None
            return _rejected(
                raw, DeadLetterReason.UNPARSABLE, "not a ClientMessage, or a string is not UTF-8", keep=keep
            )
        if len(raw) > max_bytes:
            detail = f"{len(raw)} bytes; the limit is {max_bytes}"
            return _rejected(raw, DeadLetterReason.MESSAGE_TOO_LARGE, detail, message, keep=KEPT_OF_OVERSIZED)
        kind = message.WhichOneof("payload")
        if kind in REPORTS:
            return Inbound(InboundKind.REPORT, message.client_id, message.message_id)
        match kind:
            case "heartbeat":
                return Inbound(InboundKind.HEARTBEAT, message.client_id, message.message_id)
            case "command_ack":
                ack = message.command_ack
                return Inbound(
                    InboundKind.ACK,
                    message.client_id,
                    message.message_id,
                    command_id=ack.command_id,
                    ack=ack.SerializeToString(),
                )
            case "batch":
                return _parse_batch(raw, message)
            case "register":
                capabilities = message.register.capabilities
                return Inbound(
                    InboundKind.REGISTRATION,
                    message.client_id,
                    message.message_id,
                    receipts=pb.CLIENT_CAPABILITY_RECEIPTS in capabilities,
                    reconnect=pb.CLIENT_CAPABILITY_RECONNECT in capabilities,
                )
            case "goodbye":
                return Inbound(InboundKind.GOODBYE, message.client_id, message.message_id)
            case _:
                if len(UnknownFieldSet(message)):
                    detail = "a payload that this version does not know"
                    return _rejected(raw, DeadLetterReason.UNKNOWN_PAYLOAD, detail, message)
                return _rejected(raw, DeadLetterReason.NO_PAYLOAD, "the message has no payload", message)

    # Commands

    def parse_request(self, raw: bytes) -> Command | Failure:
        """See `Contract`."""
        try:
            request = pb.SendCommandRequest.FromString(raw)
        except DecodeError:
            return Failure(ErrorCode.INVALID_COMMAND, "not a SendCommandRequest, or a string is not UTF-8")
        problem = client_id_problem(request.client_id)
        if problem is not None:
            return Failure(ErrorCode.INVALID_COMMAND, problem)
        command = request.command
        if command.WhichOneof("command") not in COMMANDS:
            return Failure(
                ErrorCode.INVALID_COMMAND, "no command in the request, or one that this version does not know"
            )
        if not command.command_id:
            command.command_id = str(uuid7())
        payload = command.SerializeToString()
        if len(payload) > self._max_command_bytes:
            return Failure(
                ErrorCode.INVALID_COMMAND,
                f"the command has {len(payload)} bytes; the limit is {self._max_command_bytes}",
            )
        expires_at_us = 0
        if command.HasField("expires_at"):
            # Whatever a Timestamp holds: long ago is expired, and what no uint64 holds is never.
            expires_at_us = command.expires_at.seconds * 1_000_000 + command.expires_at.nanos // 1000
            expires_at_us = min(max(1, expires_at_us), LAST_US)
        return Command(request.client_id, command.command_id, payload, expires_at_us)

    def queued(self, command_id: str) -> bytes:
        """See `Contract`."""
        return pb.SendCommandResponse(success=True, command_id=command_id).SerializeToString()

    def not_queued(self, client_id: str, command_id: str, failure: Failure) -> bytes:
        """See `Contract`. The words for "not connected" are the contract's own."""
        if failure.code is ErrorCode.CLIENT_NOT_CONNECTED:
            error = f"Client {client_id} not connected"
        else:
            error = f"{failure.code}: {failure.message}"
        return pb.SendCommandResponse(success=False, error=error, command_id=command_id).SerializeToString()

    def failed_ack(self, command_id: str, failure: Failure) -> bytes:
        """See `Contract`."""
        ack = pb.CommandAck(command_id=command_id, success=False, error=failure.code, message=failure.message)
        ack.timestamp.GetCurrentTime()
        return ack.SerializeToString()

    def ack_succeeded(self, ack: bytes) -> bool:
        """See `Contract`."""
        return pb.CommandAck.FromString(ack).success

    # Notices

    def welcome(self, terms: Welcome) -> bytes:
        """See `Contract`."""
        notice = _notice()
        welcome = notice.welcome
        welcome.gateway_id = terms.gateway_id
        welcome.epoch = terms.epoch
        welcome.heartbeat_interval.FromMilliseconds(int(terms.heartbeat * 1000))
        welcome.liveness_timeout.FromMilliseconds(int(terms.liveness * 1000))
        welcome.window_messages = terms.window_messages
        welcome.window_bytes = terms.window_bytes
        welcome.max_message_bytes = terms.max_message_bytes
        return notice.SerializeToString()

    def receipt(self, message_ids: Sequence[str]) -> bytes:
        """See `Contract`."""
        return pb.DjangoCommand(receipt=pb.MessageReceipt(message_ids=message_ids)).SerializeToString()

    def reconnect(self, delay: float, reason: str) -> bytes:
        """See `Contract`."""
        notice = _notice()
        notice.reconnect.delay.FromMilliseconds(int(delay * 1000))
        notice.reconnect.reason = reason
        return notice.SerializeToString()


def _notice() -> pb.DjangoCommand:
    notice = pb.DjangoCommand()
    notice.timestamp.GetCurrentTime()
    return notice


def _parse_batch(raw: bytes, message: pb.ClientMessage) -> Inbound:
    client_id = message.client_id
    inner_messages = message.batch.messages
    for inner in inner_messages:
        if inner.WhichOneof("payload") not in REPORTS:
            detail = f"a batch may not hold {inner.WhichOneof('payload') or 'a message without a known payload'}"
            return _rejected(raw, DeadLetterReason.MISPLACED_IN_BATCH, detail, message)
        if inner.client_id not in ("", client_id):
            return _rejected(
                raw, DeadLetterReason.CLIENT_ID_MISMATCH, "a message in the batch names another client", message
            )
    if not inner_messages:
        return _rejected(raw, DeadLetterReason.NO_PAYLOAD, "the batch is empty", message)
    return Inbound(InboundKind.REPORT, client_id, message.message_id)


def _rejected(
    raw: bytes,
    reason: DeadLetterReason,
    detail: str,
    message: pb.ClientMessage | None = None,
    *,
    keep: int | None = None,
) -> Inbound:
    message_id = "" if message is None or len(message.message_id) > KEPT_MESSAGE_ID else message.message_id
    rejected = Rejected(
        reason=reason,
        detail=detail,
        message_id=message_id,
        payload=raw[:keep],
        length=len(raw),
        sha256=hashlib.sha256(raw).digest(),
    )
    client_id = "" if message is None else message.client_id
    return Inbound(InboundKind.REJECTED, client_id, message_id, rejected=rejected)
