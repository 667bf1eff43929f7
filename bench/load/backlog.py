"""A backlog of the durable log: half wallet updates, half transaction reports, of many clients."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from crypto_streaming import pb
from service_kit.frames import Frame, FrameEntry

CLIENTS = 50
WALLETS_PER_CLIENT = 20
ENTRIES_PER_FRAME = 64
EPOCH = 1
GATEWAY = "bench"


def entries(count: int, run: str) -> Iterator[FrameEntry]:
    """The entries, in the order of their arrival.

    Args:
        count: how many messages.
        run: makes client and message ids unique among runs.
    """
    start_us = time.time_ns() // 1000
    for number in range(count):
        client_id = f"{run}-client-{number % CLIENTS}"
        turn = number // CLIENTS
        received_us = start_us + number
        at = Timestamp(seconds=received_us // 1_000_000, nanos=received_us % 1_000_000 * 1000)
        message = pb.ClientMessage(client_id=client_id, message_id=f"{run}-{number:032d}", timestamp=at)
        if turn % 2 == 0:
            wallet = message.wallet_update
            wallet.wallet_id = f"wallet-{turn // 2 % WALLETS_PER_CLIENT}"
            wallet.symbol = "ETH"
            wallet.balance_available = f"{number}.000000000000000001"
            wallet.balance_locked = "0"
            wallet.last_sync.CopyFrom(at)
        else:
            # Each transaction is reported twice: pending, then confirmed.
            transaction = message.transaction
            transaction.transaction_id = f"0x{turn // 4:064x}"
            transaction.type = "transfer"
            transaction.symbol = "ETH"
            transaction.amount = f"{turn // 4}.000000000000000001"
            transaction.status = "pending" if turn // 2 % 2 == 0 else "confirmed"
            transaction.details = '{"block": 1}'
        yield FrameEntry(
            client_id=client_id,
            epoch=EPOCH,
            position=turn + 1,
            received_at_us=received_us,
            report=message.SerializeToString(),
        )


def frames(count: int, run: str) -> Iterator[bytes]:
    """The same, as the serialised frames that a gateway would publish."""
    rest = entries(count, run)
    while some := list(itertools.islice(rest, ENTRIES_PER_FRAME)):
        yield Frame(gateway_id=GATEWAY, entries=some).SerializeToString()
