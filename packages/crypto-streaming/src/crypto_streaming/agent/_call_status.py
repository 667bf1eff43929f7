"""How a stream really ended."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

_Value = TypeVar("_Value")


class CallStatus:
    """Remembers the status that the server gave a call.

    When a write fails because the server has ended the stream, grpc.aio puts INTERNAL in the place of the server's own
    status, which came a moment earlier: ABORTED and PERMISSION_DENIED would look like a broken connection, exactly for
    clients under load (https://github.com/grpc/grpc/issues/36066). The status is therefore noted when it first comes.

    Args:
        call: the call; just started.
    """

    def __init__(self, call: grpc.aio.Call) -> None:
        self._call = call
        self._first: tuple[grpc.StatusCode, str] | None = None
        call.add_done_callback(self._note)

    async def final(self) -> tuple[grpc.StatusCode, str]:
        """The status and its words; waits until there is one."""
        code, details = await self._call.code(), await self._call.details() or ""
        return self._first or (code, details)

    def _note(self, call: Any) -> None:
        # Called from within the assignment of the status: what is asked now is answered without waiting.
        self._first = (_at_once(call.code()), _at_once(call.details()) or "")


def _at_once(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()
    raise RuntimeError("the call has no status yet")
