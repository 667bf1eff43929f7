"""A chain in pure Python with the semantics of the real one, for machines without a node, and for tests.

`SimulatedChain` is a ledger that can be told what to do: transfer, mine, reorganise, start afresh. `SimulatedSource`
reads it through the seam of `source`. `Rehearsal` lets one run by itself: block after block by the clock, each a
function of a seed and its number alone, so that several processes see the same chain without talking to one another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from urllib.parse import parse_qs, urlsplit

from service_kit.clock import Clock

from .amounts import ETHER_DECIMALS
from .source import Asset, Block, BlockGoneError, BlockRef, SourceUnavailableError, Transfer

COIN = Asset("ETH", ETHER_DECIMALS)
TOKEN = Asset("DEMO", 6, "0x" + "70" * 20)
GAS = 21_000 * 10**9
"""What every transaction costs its sender, in wei."""

_CALM_BLOCKS = 10


def simulated_address(number: int) -> str:
    """Name the `number`-th account of a simulated chain."""
    return "0x" + hashlib.sha256(f"account {number}".encode()).hexdigest()[:40]


@dataclass
class _SimulatedBlock:
    ref: BlockRef
    parent_hash: str
    timestamp: int
    transfers: tuple[Transfer, ...]
    balances: dict[tuple[str, str], int]
    """What each address holds of each symbol after this block."""


@dataclass
class SimulatedChain:
    """A chain of blocks with balances. A transaction waits until it is mined, and is executed then.

    Attributes:
        name: part of every hash: chains of different names share no block.
        available: False while the "node" is down; every read then fails.
    """

    name: str = "simulated"
    accounts: int = 10
    available: bool = True
    _blocks: list[_SimulatedBlock] = field(default_factory=list[_SimulatedBlock])
    _waiting: list[Transfer] = field(default_factory=list[Transfer])
    _nonce: int = 0
    _fork: int = 0

    def __post_init__(self) -> None:
        self._genesis(0)

    def _genesis(self, timestamp: int) -> None:
        balances = {
            (simulated_address(number), asset.symbol): 10_000 * 10**asset.decimals
            for number in range(self.accounts)
            for asset in (COIN, TOKEN)
        }
        ref = BlockRef(0, self._hash(f"block 0 {timestamp}"))
        self._blocks = [_SimulatedBlock(ref, "0x" + "00" * 32, timestamp, (), balances)]

    def _hash(self, text: str) -> str:
        return "0x" + hashlib.sha256(f"{self.name} {self._fork} {text}".encode()).hexdigest()

    def send(self, sender: str, recipient: str | None, raw: int, *, asset: Asset = COIN, reverts: bool = False) -> str:
        """Put a transaction among those that wait; returns its hash.

        Args:
            sender: who pays.
            recipient: who is paid; None creates a contract.
            raw: how much, in the smallest unit.
            asset: COIN or TOKEN.
            reverts: it will fail: nothing moves but the gas.
        """
        self._nonce += 1
        transaction = self._hash(f"transaction {self._nonce} {sender} {recipient} {raw} {asset.symbol}")
        created = recipient is None and not reverts
        target = "0x" + transaction[-40:] if created else recipient
        index = None if asset is COIN else 0
        self._waiting.append(Transfer(transaction, index, asset, sender, target, raw, not reverts, created))
        return transaction

    def mine(self, timestamp: int | None = None) -> BlockRef:
        """Execute what waits, in order, as one block. What the sender can not pay fails."""
        parent = self._blocks[-1]
        when = parent.timestamp + 1 if timestamp is None else timestamp
        balances = dict(parent.balances)
        executed = tuple(_execute(transfer, balances) for transfer in self._waiting)
        self._waiting = []
        content = f"block {parent.ref.number + 1} {parent.ref.hash} {when} {[transfer.id for transfer in executed]}"
        ref = BlockRef(parent.ref.number + 1, self._hash(content))
        self._blocks.append(_SimulatedBlock(ref, parent.ref.hash, when, executed, balances))
        return ref

    def reorganise(self, depth: int) -> None:
        """Replace the newest `depth` blocks by as many others. Their transactions are forgotten, as a node may."""
        if not 0 < depth < len(self._blocks):
            raise ValueError(f"can not reorganise {depth} of {len(self._blocks) - 1} blocks")
        del self._blocks[-depth:]
        self._fork += 1
        for _ in range(depth):
            self.mine()

    def start_afresh(self) -> None:
        """Forget everything, as a development node does when it is restarted: another chain, from its first block."""
        self._fork += 1
        self._waiting = []
        self._genesis(self._fork)

    @property
    def head(self) -> BlockRef:
        """The newest block."""
        return self._blocks[-1].ref

    @property
    def blocks(self) -> Iterator[Block]:
        """Every block with every transfer, oldest first."""
        return (Block(block.ref, block.parent_hash, block.timestamp, block.transfers) for block in self._blocks)

    def balance(self, address: str, symbol: str) -> int:
        """What an address holds after the newest block, in the smallest unit."""
        return self._blocks[-1].balances.get((address, symbol), 0)

    def at(self, number: int) -> _SimulatedBlock | None:
        """Find the block at this height."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None


def _execute(transfer: Transfer, balances: dict[tuple[str, str], int]) -> Transfer:
    """Apply one transaction to the balances; returns it as it turned out."""
    gas = (transfer.sender, COIN.symbol)
    balances[gas] = max(0, balances.get(gas, 0) - GAS)
    source = (transfer.sender, transfer.asset.symbol)
    if transfer.recipient is None or not transfer.succeeded or balances.get(source, 0) < transfer.raw:
        recipient = None if transfer.created else transfer.recipient
        return replace(transfer, succeeded=False, recipient=recipient, created=False)
    target = (transfer.recipient, transfer.asset.symbol)
    balances[source] -= transfer.raw
    balances[target] = balances.get(target, 0) + transfer.raw
    return transfer


class SimulatedSource:
    """A `ChainSource` over a `SimulatedChain`. Never waits."""

    def __init__(self, chain: SimulatedChain, *, tokens: bool = True) -> None:
        """Read `chain`; with its token, or the coin alone."""
        self._chain = chain
        self._tokens = tokens

    def _read(self) -> SimulatedChain:
        if not self._chain.available:
            raise SourceUnavailableError("the simulated node is down")
        return self._chain

    async def identity(self) -> str:
        """See `ChainSource`."""
        genesis = self._read().at(0)
        return f"{self._chain.name}:{genesis.ref.hash if genesis else ''}"

    async def assets(self) -> tuple[Asset, ...]:
        """See `ChainSource`."""
        self._read()
        return (COIN, TOKEN) if self._tokens else (COIN,)

    async def head(self) -> BlockRef:
        """See `ChainSource`."""
        return self._read().head

    async def ref(self, number: int) -> BlockRef | None:
        """See `ChainSource`."""
        block = self._read().at(number)
        return block.ref if block is not None else None

    async def block(self, number: int, addresses: frozenset[str]) -> Block:
        """See `ChainSource`."""
        assets = await self.assets()
        block = self._read().at(number)
        if block is None:
            raise BlockGoneError(f"there is no block {number}")
        touching = tuple(
            transfer
            for transfer in block.transfers
            if transfer.asset in assets
            # A token's event is not written when the transaction is reverted.
            and (transfer.succeeded or transfer.asset.contract is None)
            and (transfer.sender in addresses or transfer.recipient in addresses)
        )
        return Block(block.ref, block.parent_hash, block.timestamp, touching)

    async def balance(self, address: str, asset: Asset, at: BlockRef) -> int:
        """See `ChainSource`."""
        block = self._read().at(at.number)
        if block is None or block.ref != at:
            raise BlockGoneError(f"block {at.number} {at.hash} is gone")
        return block.balances.get((address, asset.symbol), 0)

    async def close(self) -> None:
        """See `ChainSource`."""


class Rehearsal(SimulatedSource):
    """A simulated chain that grows by the clock, the same in every process that is given the same address.

    The address is `simulated://<seed>?start=<seconds since 1970>&block=<seconds>&blocks=<number>`: from `start` on, one
    block every `block` seconds (1 when left out), without end or (`blocks` given) that many, of which the last ten are
    empty: every transfer gets its confirmations.
    """

    def __init__(self, address: str, clock: Clock, *, tokens: bool = True) -> None:
        """Read the address.

        Raises:
            ValueError: it is not one.
        """
        parts = urlsplit(address)
        options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        unknown = set(options) - {"start", "block", "blocks"}
        if parts.scheme != "simulated" or unknown or "start" not in options:
            raise ValueError(f"{address!r} is not simulated://<seed>?start=&block=&blocks=")
        self._seed = parts.netloc
        self._start = int(options["start"])
        self._interval = float(options.get("block", 1))
        if self._interval <= 0:
            raise ValueError(f"{address!r}: block must be above zero")
        self._last = int(options["blocks"]) if "blocks" in options else None
        self._clock = clock
        super().__init__(SimulatedChain(name=f"simulated-{self._seed}"), tokens=tokens)

    def grown(self) -> SimulatedChain:
        """Let the chain catch up with the clock, and look at it."""
        due = int((self._clock.now_us() / 1_000_000 - self._start) / self._interval)
        if self._last is not None:
            due = min(due, self._last)
        while self._chain.head.number < due:
            self._grow(self._chain.head.number + 1)
        return self._chain

    def _read(self) -> SimulatedChain:
        return self.grown()

    def _grow(self, number: int) -> None:
        random = Random(f"{self._seed} {number}")
        calm = self._last is not None and number > self._last - _CALM_BLOCKS
        for _ in range(0 if calm else random.choice((0, 1, 1, 2, 3))):
            sender = simulated_address(random.randrange(self._chain.accounts))
            recipient = simulated_address(random.randrange(self._chain.accounts))
            asset = random.choice((COIN, COIN, TOKEN))
            raw = random.randrange(1, 10**asset.decimals)
            self._chain.send(sender, recipient, raw, asset=asset, reverts=random.random() < 0.05)
        self._chain.mine(self._start + int(number * self._interval))
