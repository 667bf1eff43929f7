"""Commands from Django REST Framework views. Needs the extra `drf`.

```python
class WalletAgentViewSet(StreamingCommandViewSetMixin, ReadOnlyModelViewSet):
    streaming_address = "envoy.internal:8081"

    @action(detail=True, methods=["post"])
    def pause(self, request, pk):
        ack = self.exec_sync_command(pk, "pause", reason=request.data.get("reason", ""))
        return self.format_command_response(self.get_serializer(self.get_object()).data, ack)
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format
from rest_framework import exceptions
from rest_framework.response import Response

from crypto_streaming import pb
from crypto_streaming.blocking import BlockingStreamingCommandClient
from crypto_streaming.commands import COMMANDS, Command
from crypto_streaming.errors import ERRORS, CommandError

_STATUS_PREFIX = "CLIENT_STATUS_"


def status_word(status: pb.ClientStatus) -> str:
    """Name a status as JSON does: `CLIENT_STATUS_PAUSED` is `paused`. A number from a later version is `unknown`."""
    try:
        return pb.ClientStatus.Name(status).removeprefix(_STATUS_PREFIX).lower()
    except ValueError:
        return "unknown"


def command_result(ack: pb.CommandAck) -> dict[str, Any]:
    """Show an ack as JSON.

    Returns:
        `command_id`, `success`, `message`, `status` (a word) and `error`; `stats` and `result` when the ack has them.
        What JSON can not hold (a NaN, a moment after the year 9999) is None there: the client wrote it, and the command
        was executed all the same.
    """
    result: dict[str, Any] = {
        "command_id": ack.command_id,
        "success": ack.success,
        "message": ack.message,
        "status": status_word(ack.current_status),
        "error": ack.error,
    }
    if ack.HasField("stats"):
        result["stats"] = _stats(ack.stats)
    if ack.HasField("result"):
        result["result"] = _or_none(lambda: json_format.MessageToDict(ack.result))
    return result


def _stats(stats: pb.ClientStats) -> dict[str, Any]:
    counters: dict[str, Any] = {
        field.name: getattr(stats, field.name) for field in stats.DESCRIPTOR.fields if field.message_type is None
    }
    started_at = stats.started_at
    return {"started_at": _or_none(started_at.ToJsonString) if stats.HasField("started_at") else None, **counters}


def _or_none(convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except (json_format.Error, ValueError):
        return None


class CommandFailed(exceptions.APIException):
    """A command that got no ack, with the status that its code has.

    Attributes:
        error: what the SDK raised.
    """

    def __init__(self, error: CommandError) -> None:
        super().__init__(error.message, code=error.code.value)
        self.error = error
        self.status_code = ERRORS[error.code].http_status


class StreamingCommandViewSetMixin:
    """Adds commands to a view or view set.

    Attributes:
        streaming_address: `host:port` of a gateway; None takes it from the environment, as the client does.
    """

    streaming_address: str | None = None

    def get_streaming_client(self, client_id: str) -> BlockingStreamingCommandClient:
        """Make the client that commands are sent by; override to give it TLS, metadata or an in-process engine."""
        return BlockingStreamingCommandClient(client_id, address=self.streaming_address)

    def exec_sync_command(
        self, client_id: str, command: str | type[Command], *, timeout: float | None = None, **arguments: Any
    ) -> pb.CommandAck:
        """Send a command and wait for its ack, in this thread.

        Give the database connection back before (`connection.close()`), if there is a pool that others wait on.

        Args:
            client_id: whom to command.
            command: its name (`pause`, `ping`, ...) or class.
            timeout: seconds; None means 15.
            arguments: the command's own.

        Raises:
            CommandFailed: no ack. A client's own refusal is an ack with `success=False`.
            KeyError: there is no command of that name.
        """
        kind = COMMANDS[command] if isinstance(command, str) else command
        try:
            return self.get_streaming_client(client_id).execute_command(kind.create(**arguments), timeout=timeout)
        except CommandError as error:
            raise CommandFailed(error) from error

    def format_command_response(self, data: Mapping[str, Any], ack: pb.CommandAck) -> Response:
        """Answer an object together with what became of a command to it.

        `status` in the object becomes the ack's, unless the client did not say one.
        """
        answer = {**data, "command_result": command_result(ack)}
        if ack.current_status != pb.CLIENT_STATUS_UNKNOWN:
            answer["status"] = status_word(ack.current_status)
        return Response(answer)
