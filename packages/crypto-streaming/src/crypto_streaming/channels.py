"""The channels of this process: one per (address, TLS options), made when first used, shared by every client.

A channel is one connection with all its calls multiplexed, costly to make and free to keep, so that clients can be
made per request. None is made before a fork: the process id is part of the key, and a child starts with none of its
parent's. A `grpc.aio` channel belongs to its event loop; there is one per loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import grpc
import grpc.aio

from .tls import TlsOptions

MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_KEEPALIVE_MS = 60_000
"""Longer than the 30 s that the gateway (and Envoy) ask for between pings: else they answer "too many pings"."""

_Key = tuple[int, str, TlsOptions | None]

_lock = threading.Lock()
_blocking: dict[_Key, grpc.Channel] = {}
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, grpc.aio.Channel]] = WeakKeyDictionary()


def channel_options(tls: TlsOptions | None) -> list[tuple[str, int | str]]:
    """The options of every channel of this package."""
    options: list[tuple[str, int | str]] = [
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        # An idle channel notices a dead peer too, and pings without calls need this on both sides.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ]
    if tls is not None and tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def new_aio_channel(
    address: str, tls: TlsOptions | None, extra: Sequence[tuple[str, int | str]] = ()
) -> grpc.aio.Channel:
    """Make a channel of one's own, to be closed by whoever asked for it."""
    options = [*channel_options(tls), *extra]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.credentials(), options=options)


def shared_aio_channel(address: str, tls: TlsOptions | None) -> grpc.aio.Channel:
    """The running loop's channel to `address`. Not to be closed by its users."""
    key = (os.getpid(), address, tls)
    with _lock:
        channels = _by_loop.setdefault(asyncio.get_running_loop(), {})
        channel = channels.get(key)
        if channel is None:
            channel = channels[key] = new_aio_channel(address, tls)
        return channel


def shared_channel(address: str, tls: TlsOptions | None) -> grpc.Channel:
    """The process's blocking channel to `address`. Not to be closed by its users."""
    key = (os.getpid(), address, tls)
    with _lock:
        channel = _blocking.get(key)
        if channel is None:
            options = channel_options(tls)
            channel = _blocking[key] = (
                grpc.insecure_channel(address, options=options)
                if tls is None
                else grpc.secure_channel(address, tls.credentials(), options=options)
            )
        return channel


def close_channels() -> None:
    """Close the blocking channels of this process; calls under way fail. The next call makes new ones."""
    with _lock:
        pid = os.getpid()
        mine = [_blocking.pop(key) for key in list(_blocking) if key[0] == pid]
    for channel in mine:
        channel.close()


async def aclose_channels() -> None:
    """Close the running loop's channels; calls under way fail. The next call makes new ones."""
    with _lock:
        channels = _by_loop.pop(asyncio.get_running_loop(), {})
    for (pid, _, _), channel in channels.items():
        if pid == os.getpid():
            await channel.close()
