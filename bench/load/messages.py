"""Clients that report as fast as their window allows."""

from __future__ import annotations

import asyncio
import itertools
import uuid

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from bench.load.jobs import Messages, Outcome
from bench.load.meter import Meter
from bench.load.streams import RawStream, close_streams, open_channels, open_stream, read, registration
from crypto_streaming import pb

CHANNELS = 4


async def send_messages(job: Messages) -> Outcome:
    """Send everything; done when the last receipt is there."""
    channels = open_channels(job.address, min(CHANNELS, job.clients))
    clients = [
        await _Sender.connect(channels[number % len(channels)], f"{job.prefix}-{number}", job)
        for number in range(job.clients)
    ]
    try:
        meter = Meter(job.cpu_pids)
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.send())
                group.create_task(client.read_receipts())
        return meter.stop(job.messages)
    finally:
        await close_streams(channels, [client.stream for client in clients], [])


class _Sender:
    def __init__(self, stream: RawStream, client_id: str, job: Messages, welcome: pb.Welcome) -> None:
        self.stream = stream
        self._outgoing = _make_messages(client_id, job.messages // job.clients, job.batch)
        self._left = len(self._outgoing)
        window = min(welcome.window_messages, welcome.window_bytes // max(map(len, self._outgoing)))
        self._room = asyncio.Semaphore(max(1, min(job.in_flight // job.clients, window)))

    @classmethod
    async def connect(cls, channel: grpc.aio.Channel, client_id: str, job: Messages) -> _Sender:
        stream = await open_stream(channel, registration(client_id, [pb.CLIENT_CAPABILITY_RECEIPTS]))
        welcome = pb.Welcome()
        while not welcome.window_messages:
            # The registration's receipt may be first.
            welcome = pb.DjangoCommand.FromString(await read(stream)).welcome
        return cls(stream, client_id, job, welcome)

    async def send(self) -> None:
        for message in self._outgoing:
            await self._room.acquire()
            await self.stream.write(message)

    async def read_receipts(self) -> None:
        while self._left:
            ids = pb.DjangoCommand.FromString(await read(self.stream)).receipt.message_ids
            # The registration's own receipt frees no room.
            reports = sum(1 for message_id in ids if not message_id.endswith("-register"))
            self._left -= reports
            for _ in range(reports):
                self._room.release()


def _make_messages(client_id: str, count: int, batch: int) -> list[bytes]:
    run = uuid.uuid4().hex[:12]
    now = Timestamp()
    now.GetCurrentTime()
    updates = (
        pb.ClientMessage(
            client_id=client_id,
            message_id=f"{run}-{number:08d}",
            timestamp=now,
            wallet_update=pb.WalletUpdate(
                wallet_id=f"wallet-{number % 10}",
                symbol="BTC",
                balance_available=f"{number}.00000001",
                balance_locked="0",
                last_sync=now,
            ),
        )
        for number in range(count)
    )
    if batch == 1:
        return [update.SerializeToString() for update in updates]
    return [
        pb.ClientMessage(
            client_id=client_id,
            message_id=f"{run}-batch-{number:06d}",
            timestamp=now,
            batch=pb.ClientBatch(messages=itertools.islice(updates, batch)),
        ).SerializeToString()
        for number in range(count // batch)
    ]
