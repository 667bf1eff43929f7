"""Any process, at any time, under load: what has a receipt is in the database once, and nothing is there twice.

Clients of the SDK report through Envoy without a pause while something is killed, and every report that they made is
looked for afterwards: the buffer keeps what has no receipt, so nothing at all may be missing in the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import LiteralString

import psycopg
import pytest
from support.stack import Stack, StackOptions
from support.waiting import eventually_async

from crypto_streaming.agent import CryptoClient

CLIENTS = 8
# Reports of the fleet before and after the blow.
REPORTS = 600
_runs = itertools.count(1)


@pytest.fixture(scope="module")
def battered() -> Iterator[Stack]:
    """A stack of this module's own: it is hurt."""
    system = Stack(StackOptions(workers=2, gateway_settings={"DRAIN_SECONDS": 5, "DRAIN_SETTLE_SECONDS": 1}))
    system.start()
    yield system
    system.stop()


class Reporter:
    """One client that reports balances and transactions as fast as its buffer takes them."""

    def __init__(self, client_id: str, address: str) -> None:
        self.client = CryptoClient(client_id, address=address, announce_status=False)
        self.wallets: list[str] = []
        self.transactions: list[str] = []
        self.balance = Decimal(0)

    async def report(self) -> None:
        """Report until cancelled."""
        for number in itertools.count(1):
            balance = Decimal(number) / Decimal(1000)
            self.wallets.append(await self.client.report_wallet("w", "ETH", available=balance))
            self.balance = balance
            self.transactions.append(
                await self.client.report_transaction(
                    f"tx-{number}", type="deposit", symbol="ETH", amount=balance, status="confirmed"
                )
            )
            # Yields to the others; about 300 reports a second and client.
            await asyncio.sleep(0.005)

    @property
    def receipted(self) -> int:
        """Reports that are durable."""
        return self.client.stats.messages_receipted


@asynccontextmanager
async def fleet(stack: Stack) -> AsyncGenerator[list[Reporter]]:
    run = next(_runs)
    reporters = [Reporter(f"load-{run}-{number}", stack.edge_address) for number in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for reporter in reporters:
            group.create_task(reporter.client.run())
        yield reporters
        for reporter in reporters:
            await reporter.client.stop()


def kill_a_gateway(stack: Stack) -> None:
    stack.gateways[0].kill9()
    stack.gateways[0].start()


def kill_a_worker(stack: Stack) -> None:
    stack.workers[0].kill9()
    stack.workers[0].start()


def kill_nats(stack: Stack) -> None:
    stack.nats.kill9()
    stack.nats.start()


def kill_postgres(stack: Stack) -> None:
    stack.postgres.kill9()
    stack.postgres.start()


def kill_envoy(stack: Stack) -> None:
    stack.envoy.kill9()
    stack.envoy.start()


def roll_the_gateways(stack: Stack) -> None:
    for gateway in stack.gateways:
        gateway.stop()
        gateway.start()


@pytest.mark.parametrize(
    "blow", [kill_a_gateway, kill_a_worker, kill_nats, kill_postgres, kill_envoy, roll_the_gateways]
)
async def test_nothing_is_lost_and_nothing_is_twice(battered: Stack, blow: Callable[[Stack], None]) -> None:
    async with fleet(battered) as reporters:
        reporting = [asyncio.create_task(reporter.report()) for reporter in reporters]

        def receipted() -> int:
            return sum(reporter.receipted for reporter in reporters)

        await eventually_async(lambda: receipted() >= REPORTS, timeout=30)
        await asyncio.to_thread(blow, battered)
        beyond = receipted() + REPORTS
        await eventually_async(lambda: receipted() >= beyond, timeout=60)
        for task in reporting:
            task.cancel()
        await asyncio.gather(*reporting, return_exceptions=True)
        for reporter in reporters:
            await reporter.client.flush(timeout=30)

    with psycopg.connect(battered.database_url, autocommit=True) as database:

        def ids(table: LiteralString, reporter: Reporter) -> list[str]:
            query = f"SELECT message_id FROM {table} WHERE client_id = %s ORDER BY 1"
            return [row[0] for row in database.execute(query, [reporter.client.client_id])]

        for reporter in reporters:
            # A killed worker's or server's frames come again after the consumer's ack wait.
            histories: dict[LiteralString, list[str]] = {
                "wallet_balances": reporter.wallets,
                "transaction_events": reporter.transactions,
            }
            for table, reported in histories.items():
                await eventually_async(
                    lambda table=table, reported=reported, reporter=reporter: ids(table, reporter) == sorted(reported),
                    timeout=30,
                )
            query = "SELECT balance_available FROM wallets WHERE client_id = %s"
            assert database.execute(query, [reporter.client.client_id]).fetchall() == [(reporter.balance,)]
        assert database.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)
