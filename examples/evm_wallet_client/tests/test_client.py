"""The client obeys and reports. It runs over a real stream that finds no server, so that all stays in its buffer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.chain_handles import SimulatedHandles
from support.ports import free_port
from support.waiting import eventually_async

from crypto_streaming import pb
from crypto_streaming.agent import CryptoClient, MemoryBuffer
from evm_wallet_client.client import WalletClient
from evm_wallet_client.follower import Follower
from evm_wallet_client.state import StateFile, StateFileError
from service_kit.clock import SystemClock


class Bench:
    """One client on a simulated chain, started as often as the test likes; what it reports is kept."""

    def __init__(self, chain: SimulatedHandles, state: Path, *watched: str) -> None:
        self.chain = chain
        self.watched = frozenset(watched)
        self.state_file = StateFile(state)
        self.reported: list[pb.ClientMessage] = []
        self._buffer = MemoryBuffer()
        self._read = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[WalletClient]:
        """Run a new process of the client, so to say."""
        await self.messages()
        self._buffer, self._read = MemoryBuffer(), 0
        stream = CryptoClient("wallet-1", address=f"127.0.0.1:{free_port()}", buffer=self._buffer)
        follower = Follower(self.chain.source, self.watched, confirmations=2, start_block=0, clock=SystemClock())
        client = WalletClient(
            stream,
            self.chain.source,
            follower,
            self.state_file,
            addresses=self.watched,
            clock=SystemClock(),
            poll_seconds=0.01,
            receipt_seconds=0.05,
        )
        running = asyncio.create_task(client.run())
        try:
            yield client
        finally:
            await client.stop()
            await running

    async def messages(self) -> list[pb.ClientMessage]:
        for entry in await self._buffer.read(self._read, 10_000, 10**9):
            self._read = entry.sequence
            self.reported.append(pb.ClientMessage.FromString(entry.payload))
        return self.reported

    async def transfers(self) -> list[tuple[str, str, str, str]]:
        """What was said of transfers: (id, type, amount, status)."""
        return [
            (each.transaction.transaction_id, each.transaction.type, each.transaction.amount, each.transaction.status)
            for each in await self.messages()
            if each.HasField("transaction")
        ]

    async def statuses(self) -> list[pb.ClientStatus]:
        return [each.status.status for each in await self.messages() if each.HasField("status")]

    async def wallets(self) -> list[tuple[str, str, str]]:
        return [
            (each.wallet_update.wallet_id, each.wallet_update.symbol, each.wallet_update.balance_available)
            for each in await self.messages()
            if each.HasField("wallet_update")
        ]


@pytest.fixture
def bench(simulated: SimulatedHandles, tmp_path: Path) -> Bench:
    return Bench(simulated, tmp_path / "state.json", *simulated.accounts[1:3])


async def test_transfers_and_balances_are_reported_exactly(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    outsider = bench.chain.accounts[5]
    sent = [
        bench.chain.send(outsider, a, 1),
        bench.chain.send(a, outsider, 10**18 + 1),
        bench.chain.send(a, b, 15 * 10**17),
        bench.chain.send_failing(b, 7),
    ]
    token = bench.chain.send_token(bench.chain.accounts[0], b, 1)
    bench.chain.mine()
    bench.chain.mine()
    async with bench.running():
        expected = [
            (sent[0], "deposit", "0.000000000000000001", "confirmed"),
            (sent[1], "withdrawal", "1.000000000000000001", "confirmed"),
            (sent[2], "transfer", "1.5", "confirmed"),
            (sent[3], "withdrawal", "0.000000000000000007", "failed"),
            (f"{token}:0", "deposit", "0.000001", "confirmed"),
        ]

        async def complete() -> bool:
            assert await bench.transfers() == expected
            return {(b, "ETH", "10001.499979"), (b, "DEMO", "10000.000001")} <= set(await bench.wallets())

        await eventually_async(complete, message="transfers and balances")


async def test_nothing_is_reported_while_paused(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    async with bench.running() as client:
        await eventually_async(bench.wallets, message="the start")
        ack = await client.pause(pb.PauseClientCommand(reason="maintenance"))
        assert (ack.success, ack.status) == (True, pb.CLIENT_STATUS_PAUSED)
        before = len(await bench.messages())
        sent: list[str] = [bench.chain.send(a, b, wei) for wei in (1, 2, 3)]
        for _ in range(5):
            bench.chain.mine()
        refused = await client.sync_wallets(pb.SyncWalletsCommand())
        assert (refused.success, refused.error) == (False, "CLIENT_PAUSED")
        status = await client.request_status(pb.RequestStatusCommand())
        assert status.status == pb.CLIENT_STATUS_PAUSED
        assert len(await bench.messages()) == before
        resumed = await client.resume(pb.ResumeClientCommand(message="go on"))
        assert (resumed.success, resumed.status) == (True, pb.CLIENT_STATUS_ACTIVE)

        async def caught_up() -> bool:
            return [each[0] for each in await bench.transfers()] == sent

        await eventually_async(caught_up, message="what was missed")


async def test_a_pause_survives_a_restart(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    async with bench.running() as client:
        await eventually_async(bench.wallets, message="the start")
        await client.pause(pb.PauseClientCommand())
    bench.reported.clear()
    bench.chain.send(a, b, 1)
    bench.chain.mine()
    async with bench.running() as client:
        statuses = await eventually_async(bench.statuses, message="its status")
        assert set(statuses) == {pb.CLIENT_STATUS_PAUSED}
        assert client.status == pb.CLIENT_STATUS_PAUSED
        assert await bench.transfers() == []
        await client.resume(pb.ResumeClientCommand())
        await eventually_async(bench.transfers, message="what was missed")


async def test_a_restart_goes_on_where_it_stopped(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    first = bench.chain.send(a, b, 1)
    bench.chain.mine()
    async with bench.running():
        await eventually_async(bench.transfers, message="the first")
    second = bench.chain.send(a, b, 2)
    bench.chain.mine()
    bench.chain.mine()

    async def confirmed() -> bool:
        return second in {each[0] for each in await bench.transfers() if each[3] == "confirmed"}

    async with bench.running():
        await eventually_async(confirmed, message="the second")
    said = [(each[0], each[3]) for each in await bench.transfers()]
    assert said == [(first, "pending"), (first, "confirmed"), (second, "confirmed")]


async def test_an_outage_of_the_node_is_reported_once(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    async with bench.running() as client:
        await eventually_async(bench.wallets, message="the start")
        bench.chain.break_down()

        async def down() -> bool:
            return pb.CLIENT_STATUS_ERROR in await bench.statuses()

        await eventually_async(down, message="the outage")
        refused = await client.sync_wallets(pb.SyncWalletsCommand())
        assert (refused.success, refused.error) == (False, "NODE_UNAVAILABLE")
        assert refused.status == pb.CLIENT_STATUS_ERROR
        bench.chain.come_back()
        bench.chain.send(a, b, 1)
        bench.chain.mine()
        await eventually_async(bench.transfers, message="what happened meanwhile")
        assert (await bench.statuses())[-1] == pb.CLIENT_STATUS_ACTIVE
        errors = [each for each in await bench.messages() if each.HasField("error")]
        assert len(errors) == 1


async def test_sync_wallets_reports_what_was_asked_for(bench: Bench) -> None:
    a, b = bench.chain.accounts[1:3]
    async with bench.running() as client:
        await eventually_async(bench.wallets, message="the start")
        before = len(await bench.wallets())
        unknown = await client.sync_wallets(pb.SyncWalletsCommand(symbols=["DEMO", "DOGE"]))
        assert (unknown.success, unknown.error) == (False, "UNKNOWN_SYMBOL")
        assert "DOGE" in unknown.message
        assert len(await bench.wallets()) == before
        # Without a server there are no receipts, and so no success.
        ack = await client.sync_wallets(pb.SyncWalletsCommand(symbols=["DEMO"]))
        assert (ack.success, ack.error) == (False, "NOT_RECEIPTED")
        assert {each[:2] for each in (await bench.wallets())[before:]} == {(a, "DEMO"), (b, "DEMO")}


async def test_ping_and_status_answer(bench: Bench) -> None:
    async with bench.running() as client:
        await eventually_async(bench.wallets, message="the start")
        pong = await client.ping(pb.PingCommand(sequence=41))
        assert (pong.success, pong.result) == (True, {"sequence": 41})
        status = await client.request_status(pb.RequestStatusCommand())
        assert status.result == {"block": 0, "behind": 0, "addresses": 2, "pending_transfers": 0}


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")
    with pytest.raises(StateFileError, match=str(path)):
        StateFile(path).load()
