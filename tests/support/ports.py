"""Free TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes the local ports of outgoing connections (32768 and up): a server that is
# restarted finds its port free again, and does not meet a client's connection on it.
_FIRST, _LAST = 20_000, 32_000

_given: set[int] = set()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether nothing listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections that wait out their last packets do not count; a listener does, for this option or not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port on which nothing listens and which this process has not been given before."""
    for _ in range(1000):
        port = random.randint(_FIRST, _LAST)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST}")
