"""The chain that runs by itself is the same for everyone who is given its address."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from evm_wallet_client.simulated import Rehearsal, simulated_address
from evm_wallet_client.source import BlockRef

START = 1_700_000_000
ADDRESS = f"simulated://seed-1?start={START}&block=2"


@dataclass
class HandClock:
    """A clock that is turned by hand, in seconds since the chain began."""

    seconds: float = 0

    def now_us(self) -> int:
        return int((START + self.seconds) * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


async def test_a_block_is_made_every_interval() -> None:
    clock = HandClock()
    chain = Rehearsal(ADDRESS, clock)
    assert (await chain.head()).number == 0
    clock.seconds = 1.9
    assert (await chain.head()).number == 0
    clock.seconds = 21
    assert (await chain.head()).number == 10
    block = await chain.block(10, frozenset())
    assert block.timestamp == START + 20


async def test_every_process_sees_the_same_chain() -> None:
    early, late = Rehearsal(ADDRESS, clock := HandClock()), Rehearsal(ADDRESS, clock)
    heads: list[BlockRef] = []
    for second in range(0, 200, 7):
        clock.seconds = second
        heads.append(await early.head())
    assert await late.head() == heads[-1]
    assert await late.identity() == await early.identity()
    everyone = frozenset(simulated_address(number) for number in range(10))
    transfers = [len((await late.block(number, everyone)).transfers) for number in range(1, heads[-1].number + 1)]
    assert sum(transfers) > 50
    assert [await early.block(number, everyone) for number in range(99)] == [
        await late.block(number, everyone) for number in range(99)
    ]


async def test_other_seeds_are_other_chains() -> None:
    clock = HandClock(100)
    other = Rehearsal(ADDRESS.replace("seed-1", "seed-2"), clock)
    assert await other.identity() != await Rehearsal(ADDRESS, clock).identity()


async def test_a_finite_chain_ends() -> None:
    assert (await Rehearsal(f"{ADDRESS}&blocks=5", HandClock(1000)).head()).number == 5


@pytest.mark.parametrize(
    "address",
    [
        "http://node",
        "simulated://seed",
        f"{ADDRESS}&typo=1",
        f"simulated://s?start={START}&block=0",
        "simulated://s?start=x",
    ],
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"simulated|block|invalid literal"):
        Rehearsal(address, HandClock())
