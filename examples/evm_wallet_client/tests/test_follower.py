"""What is reported of a chain, whichever it is: each transfer once per status, and taken back when its block goes."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter
from support.chain_handles import Chain, SimulatedHandles

from evm_wallet_client.follower import BalanceReport, Cursor, Follower, Notice, Report, Step, TransferReport
from evm_wallet_client.simulated import SimulatedSource
from evm_wallet_client.source import Block, BlockGoneError, BlockRef
from evm_wallet_client.state import ClientState
from service_kit.clock import SystemClock


class Reader:
    """Follows a chain to its end, as the client does, and keeps what it would report."""

    def __init__(self, chain: Chain, *watched: str, confirmations: int = 3, remember: int = 8, start: int = 0) -> None:
        self.cursor = Cursor()
        self.watched = frozenset(watched)
        self.follower = Follower(
            chain.source,
            self.watched,
            confirmations=confirmations,
            remember=remember,
            start_block=start,
            clock=SystemClock(),
        )

    async def catch_up(self) -> list[Report]:
        reports: list[Report] = []
        while True:
            step = await self.step()
            reports += step.reports
            if step.done:
                return reports

    async def step(self) -> Step:
        step = await self.follower.read(self.cursor)
        self.cursor = step.cursor
        return step

    async def transfers(self) -> list[tuple[str, str]]:
        """What is said of transfers: (id, status), in order."""
        found = [report for report in await self.catch_up() if isinstance(report, TransferReport)]
        return [(report.transfer.id, str(report.status)) for report in found]


async def test_a_transfer_is_pending_then_confirmed(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, a, confirmations=3)
    sent = chain.send(a, b, 5)
    chain.mine()
    assert await reader.transfers() == [(sent, "pending")]
    chain.mine()
    assert await reader.transfers() == []
    chain.mine()
    assert await reader.transfers() == [(sent, "confirmed")]
    chain.mine()
    assert await reader.transfers() == []


async def test_missed_blocks_are_caught_up(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, a, confirmations=3)
    await reader.catch_up()
    sent: list[str] = []
    for wei in range(1, 13):
        sent.append(chain.send(a, b, wei))
        chain.mine()
    # Those that are deep enough already are not called pending first.
    assert await reader.transfers() == [(each, "confirmed") for each in sent[:10]] + [
        (each, "pending") for each in sent[10:]
    ]


async def test_a_failed_transfer_stays_failed(chain: Chain) -> None:
    a = chain.accounts[1]
    reader = Reader(chain, a, confirmations=2)
    sent = chain.send_failing(a, 10**18)
    chain.mine()
    assert await reader.transfers() == [(sent, "failed")]
    chain.mine()
    chain.mine()
    assert await reader.transfers() == []


async def test_balances_are_reported_when_they_change(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, b)
    chain.mine()
    first = [report for report in await reader.catch_up() if isinstance(report, BalanceReport)]
    assert [report.asset.symbol for report in first] == ["ETH", "DEMO"]
    chain.mine()
    assert await reader.catch_up() == []
    chain.send(a, b, 7)
    chain.mine()
    (changed,) = [report for report in await reader.catch_up() if isinstance(report, BalanceReport)]
    assert (changed.address, changed.asset.symbol, changed.raw) == (b, "ETH", first[0].raw + 7)


async def test_a_reorganisation_takes_back(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, b, confirmations=2)
    kept = chain.send(a, b, 1)
    chain.mine()
    first = chain.send(a, b, 2)
    chain.mine()
    second = chain.send(a, b, 3)
    chain.mine()
    assert await reader.transfers() == [(kept, "confirmed"), (first, "confirmed"), (second, "pending")]
    balance = reader.cursor.balances[f"{b} ETH"]
    chain.reorganise(2)
    again = chain.send(a, b, 4)
    chain.mine()
    reports = await reader.catch_up()
    said = [(report.transfer.id, str(report.status)) for report in reports if isinstance(report, TransferReport)]
    assert said == [(second, "orphaned"), (first, "orphaned"), (again, "pending")]
    assert [report.level for report in reports if isinstance(report, Notice)] == ["warning"]
    assert reader.cursor.balances[f"{b} ETH"] == balance - 2 - 3 + 4


async def test_a_reorganisation_below_what_is_remembered(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, b, confirmations=1, remember=2)
    sent: list[str] = []
    for wei in range(1, 6):
        sent.append(chain.send(a, b, wei))
        chain.mine()
    assert await reader.transfers() == [(each, "confirmed") for each in sent]
    chain.reorganise(4)
    chain.mine()
    reports = await reader.catch_up()
    said = [(report.transfer.id, str(report.status)) for report in reports if isinstance(report, TransferReport)]
    assert said == [(sent[4], "orphaned"), (sent[3], "orphaned")]
    assert [report.level for report in reports if isinstance(report, Notice)] == ["error"]
    assert reader.cursor.blocks[-1].ref == await chain.source.head()


async def test_another_chain_is_followed_from_its_beginning(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    reader = Reader(chain, b, confirmations=1)
    old = chain.send(a, b, 5)
    chain.mine()
    chain.mine()
    assert await reader.transfers() == [(old, "confirmed")]
    chain.start_afresh()
    new = chain.send(a, b, 6)
    chain.mine()
    reports = await reader.catch_up()
    said = [(report.transfer.id, str(report.status)) for report in reports if isinstance(report, TransferReport)]
    assert said == [(old, "orphaned"), (new, "confirmed")]
    assert [report.level for report in reports if isinstance(report, Notice)] == ["error"]
    assert reader.cursor.chain == await chain.source.identity()


async def test_without_a_start_block_the_past_is_left_alone(chain: Chain) -> None:
    a, b = chain.accounts[1:3]
    chain.send(a, b, 5)
    chain.mine()
    chain.mine()
    reader = Reader(chain, b, confirmations=1)
    reader.follower = Follower(chain.source, reader.watched, confirmations=1, clock=SystemClock())
    assert await reader.transfers() == []
    sent = chain.send(a, b, 6)
    chain.mine()
    assert await reader.transfers() == [(sent, "confirmed")]


async def test_the_cursor_survives_being_written_down(simulated: SimulatedHandles) -> None:
    a, b = simulated.accounts[1:3]
    reader = Reader(simulated, b, confirmations=3)
    sent = simulated.send(a, b, 2**200)
    sent = simulated.send(a, b, 5)
    simulated.mine()
    await reader.catch_up()
    adapter = TypeAdapter(ClientState)
    restored = adapter.validate_json(adapter.dump_json(ClientState(reader.cursor, paused=True)))
    assert restored == ClientState(reader.cursor, paused=True)
    reader.cursor = restored.cursor
    simulated.mine()
    simulated.mine()
    assert await reader.transfers() == [(sent, "confirmed")]


class SlowerNode(SimulatedSource):
    """A node that has not heard of the newest block."""

    async def head(self) -> BlockRef:
        before = self._chain.at(self._chain.head.number - 1)
        assert before is not None
        return before.ref


class ShiftingNode(SimulatedSource):
    """A node whose newest block goes away while it is read."""

    async def block(self, number: int, addresses: frozenset[str]) -> Block:
        raise BlockGoneError(f"block {number} went away just now")


async def test_a_node_that_is_behind_takes_nothing_back(simulated: SimulatedHandles) -> None:
    a, b = simulated.accounts[1:3]
    reader = Reader(simulated, b, confirmations=1)
    simulated.send(a, b, 5)
    simulated.mine()
    simulated.mine()
    await reader.catch_up()
    step = await Follower(SlowerNode(simulated.chain), reader.watched, clock=SystemClock()).read(reader.cursor)
    assert (step.reports, step.done, step.cursor) == ((), True, reader.cursor)


async def test_a_block_that_goes_while_it_is_read_is_read_again(simulated: SimulatedHandles) -> None:
    a, b = simulated.accounts[1:3]
    reader = Reader(simulated, b, confirmations=1)
    await reader.catch_up()
    sent = simulated.send(a, b, 5)
    simulated.mine()
    with pytest.raises(BlockGoneError):
        await Follower(ShiftingNode(simulated.chain), reader.watched, clock=SystemClock()).read(reader.cursor)
    assert await reader.transfers() == [(sent, "confirmed")]
