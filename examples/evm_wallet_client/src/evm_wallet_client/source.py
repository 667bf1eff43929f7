"""The seam to a chain: what a source of blocks, transfers and balances must do.

Two implementations keep it: `evm` (an Ethereum node over JSON-RPC) and `simulated` (pure Python, for machines without a
node). One suite of tests runs over both.

Addresses and hashes are lower-case hexadecimal strings with `0x`: keys are compared byte by byte further down, and the
mixed case of EIP-55 is a checksum for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class SourceUnavailableError(Exception):
    """The chain can not be read now (connection, timeout, an answer that makes no sense): try again later."""


class BlockGoneError(Exception):
    """The block asked for is not there, or not any more: look at the head again."""


@dataclass(frozen=True)
class Asset:
    """Something that addresses hold.

    Attributes:
        symbol: as reported, for example ETH.
        decimals: smallest units make one asset: ten to this power.
        contract: address of the ERC-20 contract; None for the chain's own coin.
    """

    symbol: str
    decimals: int
    contract: str | None = None


@dataclass(frozen=True)
class BlockRef:
    """One block by height and hash: a height alone does not say which block, a chain may reorganise."""

    number: int
    hash: str


@dataclass(frozen=True)
class Transfer:
    """Value that a transaction moved, or failed to move.

    Attributes:
        transaction: hash of the transaction.
        index: None for the coin moved by the transaction itself; for a token the position of the event among the
            events of its transaction. (Not its position in the block, which changes when a reorganisation puts the
            transaction into another block.)
        asset: what was moved.
        sender: who paid.
        recipient: who was paid; None when a contract creation failed.
        raw: how much, in the asset's smallest unit.
        succeeded: False when the transaction was reverted: nothing moved.
        created: the transaction created the contract `recipient`.
    """

    transaction: str
    index: int | None
    asset: Asset
    sender: str
    recipient: str | None
    raw: int
    succeeded: bool = True
    created: bool = False

    @property
    def id(self) -> str:
        """Names this transfer whatever block it is in: the hash, with `:index` for a token's."""
        return self.transaction if self.index is None else f"{self.transaction}:{self.index}"


@dataclass(frozen=True)
class Block:
    """One block with the transfers in it that touch a watched address, in the chain's order.

    Attributes:
        ref: height and hash.
        parent_hash: hash of the block before it.
        timestamp: seconds since 1970, as the block's producer wrote it.
        transfers: empty for most blocks of a busy chain.
    """

    ref: BlockRef
    parent_hash: str
    timestamp: int
    transfers: tuple[Transfer, ...]


class ChainSource(Protocol):
    """Reads a chain. Nothing is cached: each call asks the chain, and may wait as long as the source's timeout.

    Every method raises `SourceUnavailableError` when the chain can not be read. A cancelled call leaves it usable.
    """

    async def identity(self) -> str:
        """Name the chain: equal for the same chain, different for another one (or one started afresh)."""
        ...

    async def assets(self) -> tuple[Asset, ...]:
        """Name what is reported: the chain's coin first, then the configured tokens."""
        ...

    async def head(self) -> BlockRef:
        """Find the newest block."""
        ...

    async def ref(self, number: int) -> BlockRef | None:
        """Find the block that is at this height now; None when the chain is shorter."""
        ...

    async def block(self, number: int, addresses: frozenset[str]) -> Block:
        """Read the block at this height, with the transfers from or to any of `addresses`.

        A transfer of the coin is a transaction with a value above zero (creations of contracts included), a
        transfer of a token is a `Transfer` event of a configured contract. Coins that a contract passes on inside a
        transaction show in balances only: they leave no record but in execution traces, which few nodes offer.

        Raises:
            BlockGoneError: there is none at this height, or it went away while it was being read.
        """
        ...

    async def balance(self, address: str, asset: Asset, at: BlockRef) -> int:
        """Read what `address` held after block `at`, in the asset's smallest unit.

        Raises:
            BlockGoneError: that block went away.
        """
        ...

    async def close(self) -> None:
        """Give back connections. The source is not used afterwards."""
        ...
