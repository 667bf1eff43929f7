"""What gateways have put into NATS, for tests that run without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats
from nats.aio.client import Client
from nats.js.errors import APIError

from crypto_streaming import pb
from service_kit.bus import Subjects
from service_kit.frames import Frame, FrameEntry, PresenceSnapshot

_Value = TypeVar("_Value")


class FrameLog:
    """The durable log of one namespace. Blocking.

    Args:
        url: where NATS is.
        namespace: whose log it is.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._subjects = Subjects(namespace)

    def entries(self, *, take: bool = False) -> list[FrameEntry]:
        """Return what the log holds, in order; with `take`, remove it."""
        return [
            entry
            for frame in asyncio.run(self._with(lambda client: self._frames(client, take)))
            for entry in frame.entries
        ]

    def reports(self, client_id: str, *, take: bool = False) -> list[pb.ClientMessage]:
        """Return the messages of one client, in order."""
        return [
            pb.ClientMessage.FromString(entry.report)
            for entry in self.entries(take=take)
            if entry.client_id == client_id and entry.WhichOneof("body") == "report"
        ]

    def fill(self) -> None:
        """Put as much into the log as it takes."""
        asyncio.run(self._with(self._fill))

    def presence(self, seconds: float) -> PresenceSnapshot:
        """Wait for the next snapshot of who is connected."""

        async def listen(client: Client) -> PresenceSnapshot:
            subscription = await client.subscribe(self._subjects.presence)
            return PresenceSnapshot.FromString((await subscription.next_msg(seconds)).data)

        return asyncio.run(self._with(listen))

    async def _with(self, work: Callable[[Client], Awaitable[_Value]]) -> _Value:
        client = await nats.connect(self._url)
        try:
            return await work(client)
        finally:
            await client.close()

    async def _frames(self, client: Client, take: bool) -> list[Frame]:
        js = client.jetstream()
        state = (await js.stream_info(self._subjects.frames_stream)).state
        frames: list[Frame] = []
        for number in range(max(1, state.first_seq), state.last_seq + 1):
            message = await js.get_msg(self._subjects.frames_stream, number)
            if not (message.subject or "").endswith(".filler"):
                frames.append(Frame.FromString(message.data or b""))
        if take:
            # Not what has come since.
            await js.purge_stream(self._subjects.frames_stream, seq=state.last_seq + 1)
        return frames

    async def _fill(self, client: Client) -> None:
        js = client.jetstream()
        size = 512 * 1024
        while size:
            try:
                await js.publish(self._subjects.frames("filler"), bytes(size))
            except APIError:
                size //= 2
