"""Waiting for something to become true, with a deadline: the alternative to sleeping in tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

_Value = TypeVar("_Value")

DEFAULT_TIMEOUT = 10.0
DEFAULT_INTERVAL = 0.02


class DeadlinePassedError(AssertionError):
    """What was waited for did not come true in time."""


def eventually(
    attempt: Callable[[], _Value],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    interval: float = DEFAULT_INTERVAL,
    retry_on: tuple[type[Exception], ...] = (AssertionError,),
    message: str = "",
) -> _Value:
    """Call `attempt` until it returns something true, and return that.

    Args:
        attempt: returns something false, or raises one of `retry_on`, as long as it is too early.
        timeout: seconds until it has to be true; it is called at least once.
        interval: seconds between two calls.
        retry_on: exceptions that mean "not yet"; any other one is raised at once.
        message: what is waited for, in the error.

    Raises:
        DeadlinePassedError: it did not come true; says what the last attempt gave.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = attempt()
            if value:
                return value
            last = value
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            raise _passed(message, timeout, last)
        time.sleep(interval)


async def eventually_async(
    attempt: Callable[[], Awaitable[_Value]] | Callable[[], _Value],
    *,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  (attempts are never cut off in their middle, as asyncio.timeout would)
    interval: float = DEFAULT_INTERVAL,
    retry_on: tuple[type[Exception], ...] = (AssertionError,),
    message: str = "",
) -> _Value:
    """Do the same as `eventually` without blocking the event loop; `attempt` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value: Any = attempt()
            if isawaitable(value):
                value = await value
            if value:
                return value
            last = value
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            raise _passed(message, timeout, last)
        await asyncio.sleep(interval)


def _passed(message: str, timeout: float, last: object) -> DeadlinePassedError:
    error = DeadlinePassedError(f"{message or 'condition'}: not true within {timeout:g} s; last: {last!r}")
    if isinstance(last, Exception):
        error.__cause__ = last
    return error
