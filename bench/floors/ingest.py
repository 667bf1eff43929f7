"""The floor of messages in: reads each message, answers coalesced receipts, keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio

from bench.floors.serving import run
from crypto_streaming import pb

# A receipt goes out when a stream has this many to say, or this long after the first of them.
RECEIPT_MESSAGES = 16
RECEIPT_SECONDS = 0.005


class Ingest(pb.CryptoStreamingServiceServicer):
    """Takes messages and says that it has them."""

    async def ConnectClient(  # noqa: N802  (the contract's name)
        self,
        request_iterator: AsyncIterator[pb.ClientMessage],
        context: grpc.aio.ServicerContext[pb.ClientMessage, pb.DjangoCommand],
    ) -> None:
        """Hold one client."""
        loop = asyncio.get_running_loop()
        await anext(request_iterator)
        await context.write(pb.DjangoCommand(welcome=pb.Welcome(window_messages=1024, window_bytes=1 << 22)))
        ids: list[str] = []
        due = asyncio.Event()

        async def answer() -> None:
            while True:
                await due.wait()
                due.clear()
                if not ids:  # the timer rang for what had gone already
                    continue
                receipt = pb.DjangoCommand(receipt=pb.MessageReceipt(message_ids=ids))
                ids.clear()
                await context.write(receipt)

        writer = asyncio.create_task(answer())
        timer: asyncio.TimerHandle | None = None
        try:
            async for message in request_iterator:
                ids.append(message.message_id)
                if len(ids) >= RECEIPT_MESSAGES:
                    due.set()
                elif len(ids) == 1:
                    if timer is not None:
                        timer.cancel()
                    timer = loop.call_later(RECEIPT_SECONDS, due.set)
        finally:
            writer.cancel()


if __name__ == "__main__":
    run(Ingest())
