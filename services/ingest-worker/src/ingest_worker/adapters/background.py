"""One thread for blocking work, one thing after the other, that does not keep the process alive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

_Result = TypeVar("_Result")


class BackgroundThread:
    """Like a `ThreadPoolExecutor` of one thread; but the process may end while that thread is stuck in a call.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Do something after everything before it; call from the event loop."""
        outcome: Future[_Result] = Future()

        def run() -> None:
            if not outcome.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (it is raised where the outcome is awaited)
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        self._work.put(run)
        return asyncio.wrap_future(outcome)

    def close(self) -> None:
        """Let the thread end when it is done with what it has."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
