"""Time that only passes when nothing is left to do: tests of seconds and minutes take milliseconds and always go alike.

@virtual_time
async def test_something() -> None:
    await asyncio.sleep(3600)  # at once
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# 2026-01-01: any date will do, as long as it is always the same.
_EPOCH_US = 1_767_225_600_000_000


class StuckError(AssertionError):
    """Everybody waits, and no timer is set: nothing will ever happen again."""


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.on_step: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("every task waits for another one, and no timer is set")
        self.on_step()
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without input or output whose clock jumps to the next timer.

    Attributes:
        steps: has `on_step`, called before each step of the loop: the place to check what must hold always.
    """

    def __init__(self) -> None:
        self.steps = _Selector()
        super().__init__(self.steps)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.steps.now


class LoopClock:
    """The running loop's time as a `service_kit.clock.Clock`."""

    def now_us(self) -> int:
        """See `Clock`."""
        return _EPOCH_US + int(self.monotonic() * 1e6)

    def monotonic(self) -> float:
        """See `Clock`."""
        return asyncio.get_running_loop().time()


def run_virtually(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine in virtual time; what it leaves running is cancelled."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def virtual_time(
    test: Callable[_Parameters, Coroutine[Any, Any, None]],
) -> Callable[_Parameters, None]:
    """Make a test of a coroutine function, run in virtual time. Fixtures work, those that are coroutines do not."""

    @functools.wraps(test)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run
