"""One small HTTP call, for questions to processes of our own."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import NamedTuple

# Whatever proxy the environment names is not asked for the loopback address.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str


def get(url: str, *, timeout: float = 5.0) -> Answer:
    """Ask for a page.

    Raises:
        OSError: nobody answered.
    """
    try:
        with _opener.open(url, timeout=timeout) as response:
            return Answer(response.status, response.read().decode())
    except urllib.error.HTTPError as refusal:
        # It holds the connection open until it is closed.
        with refusal:
            return Answer(refusal.code, refusal.read().decode(errors="replace"))
