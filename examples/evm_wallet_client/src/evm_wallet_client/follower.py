"""Following a chain: what to report next, given what is known of it.

`Follower.read` looks at the chain and says what one step would report, and what is known after it; it changes nothing.
Who calls it reports first and then keeps the new cursor, so that a crash between repeats a step and loses none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum

from service_kit.clock import Clock

from .source import Asset, Block, BlockRef, ChainSource, Transfer


class TransferStatus(StrEnum):
    """What became of a transfer, as reported."""

    PENDING = "pending"
    """In a block that is not deep enough yet."""
    CONFIRMED = "confirmed"
    """In a block with the wanted number of confirmations (its own counts as the first)."""
    FAILED = "failed"
    """Its transaction was reverted: it is in a block, and moved nothing."""
    ORPHANED = "orphaned"
    """Its block is not in the chain any more. It may come back in another one."""


@dataclass(frozen=True)
class TransferReport:
    """A transfer is new, or its status is."""

    transfer: Transfer
    status: TransferStatus
    block: BlockRef
    timestamp: int


@dataclass(frozen=True)
class BalanceReport:
    """What an address holds of an asset (smallest unit) after a block.

    `read_at` is our own clock (microseconds since 1970) when the block was asked for, and becomes `last_sync`. The
    block's own time will not do: "newer" is decided by `last_sync`, and the block that a reorganisation puts in
    another's place may be dated before it, so that the correction would lose to what it corrects.
    """

    address: str
    asset: Asset
    raw: int
    at: BlockRef
    read_at: int


@dataclass(frozen=True)
class Notice:
    """Something an operator should read. `level` is a word of the log: warning or error."""

    level: str
    message: str


Report = TransferReport | BalanceReport | Notice


@dataclass(frozen=True)
class FollowedTransfer:
    """A transfer and what was last said of it."""

    transfer: Transfer
    status: TransferStatus


@dataclass(frozen=True)
class FollowedBlock:
    """A block that was reported, kept while it could still go away."""

    ref: BlockRef
    timestamp: int
    transfers: tuple[FollowedTransfer, ...] = ()


@dataclass(frozen=True)
class Cursor:
    """What is known of the chain. Saved between steps.

    Attributes:
        chain: `ChainSource.identity` of the chain that is followed; empty before the first step.
        next_block: height to read next.
        blocks: the newest reported blocks, oldest first.
        balances: what was last reported of each `<address> <symbol>`, in the smallest unit.
        balances_at: hash of the block after which the balances were last looked at.
    """

    chain: str = ""
    next_block: int = 0
    blocks: tuple[FollowedBlock, ...] = ()
    balances: dict[str, int] = field(default_factory=dict[str, int])
    balances_at: str = ""


@dataclass(frozen=True)
class Step:
    """What one look at the chain comes to.

    Attributes:
        reports: to be reported, in this order.
        cursor: what is known once they are.
        behind: blocks still unread.
        done: nothing more to do until the chain grows.
    """

    reports: tuple[Report, ...]
    cursor: Cursor
    behind: int
    done: bool


class Follower:
    """Decides what to report of the addresses it watches."""

    def __init__(
        self,
        source: ChainSource,
        addresses: frozenset[str],
        *,
        confirmations: int = 3,
        remember: int = 64,
        start_block: int | None = None,
        clock: Clock,
    ) -> None:
        """Watch `addresses` (lower case).

        Args:
            source: the chain.
            addresses: whose balances and transfers are reported.
            confirmations: blocks, its own included, after which a transfer counts as confirmed.
            remember: blocks that are kept to notice that they went away; a deeper reorganisation is noticed, but
                what is below stays as reported.
            start_block: where to begin without a cursor; None begins at the newest block.
            clock: dates what is read.
        """
        self._source = source
        self._addresses = addresses
        self._confirmations = confirmations
        self._remember = max(remember, confirmations)
        self._start_block = start_block
        self._clock = clock

    async def read(self, cursor: Cursor) -> Step:
        """Look at the chain once: one more block, one reorganisation, or the balances after the newest block.

        Raises:
            SourceUnavailableError: see `ChainSource`.
            BlockGoneError: the chain changed while it was read; read again.
        """
        head = await self._source.head()
        tip = cursor.blocks[-1].ref if cursor.blocks else None
        if tip is None:
            chain = await self._source.identity()
            if chain != cursor.chain:
                start = head.number if self._start_block is None else self._start_block
                cursor = Cursor(chain=chain, next_block=start)
        if head == tip:
            if cursor.balances_at == head.hash:
                return Step((), cursor, behind=0, done=True)
            reports, cursor = await self._read_balances(cursor, head)
            return Step(reports, cursor, behind=0, done=True)
        if (tip is None and head.number < cursor.next_block) or any(head == known.ref for known in cursor.blocks):
            # The node is behind: started a moment ago, or another one of several behind one address.
            return Step((), cursor, behind=0, done=True)
        if tip is not None and head.number <= tip.number:
            return await self._roll_back(cursor, head)
        block = await self._source.block(cursor.next_block, self._addresses)
        if tip is not None and block.parent_hash != tip.hash:
            return await self._roll_back(cursor, head)
        return self._add(cursor, block, head)

    async def balances(self, at: BlockRef, symbols: frozenset[str] = frozenset()) -> tuple[BalanceReport, ...]:
        """Read every balance after block `at`, of all assets or those with these symbols.

        Raises:
            SourceUnavailableError: see `ChainSource`.
            BlockGoneError: the block went away.
        """
        read_at = self._clock.now_us()
        assets = [asset for asset in await self._source.assets() if not symbols or asset.symbol in symbols]
        wanted = [(address, asset) for address in sorted(self._addresses) for asset in assets]
        amounts = await asyncio.gather(*(self._source.balance(address, asset, at) for address, asset in wanted))
        return tuple(
            BalanceReport(address, asset, raw, at, read_at)
            for (address, asset), raw in zip(wanted, amounts, strict=True)
        )

    async def _read_balances(self, cursor: Cursor, head: BlockRef) -> tuple[tuple[Report, ...], Cursor]:
        found = await self.balances(head)
        changed = tuple(report for report in found if cursor.balances.get(balance_key(report)) != report.raw)
        balances = {balance_key(report): report.raw for report in found}
        return changed, replace(cursor, balances=balances, balances_at=head.hash)

    def _add(self, cursor: Cursor, block: Block, head: BlockRef) -> Step:
        """Report the transfers of one more block, and those that are deep enough now."""
        reports: list[Report] = []
        blocks: list[FollowedBlock] = []
        for known in cursor.blocks:
            followed, confirmed = self._confirm(known, head)
            blocks.append(followed)
            reports += confirmed
        status = TransferStatus.CONFIRMED if self._is_deep(block.ref, head) else TransferStatus.PENDING
        new = FollowedBlock(
            block.ref,
            block.timestamp,
            tuple(
                FollowedTransfer(transfer, status if transfer.succeeded else TransferStatus.FAILED)
                for transfer in block.transfers
            ),
        )
        reports += [TransferReport(each.transfer, each.status, new.ref, new.timestamp) for each in new.transfers]
        blocks.append(new)
        cursor = replace(cursor, next_block=block.ref.number + 1, blocks=tuple(blocks[-self._remember :]))
        return Step(tuple(reports), cursor, behind=head.number - block.ref.number, done=False)

    def _is_deep(self, block: BlockRef, head: BlockRef) -> bool:
        return head.number - block.number + 1 >= self._confirmations

    def _confirm(self, block: FollowedBlock, head: BlockRef) -> tuple[FollowedBlock, list[Report]]:
        pending = [each for each in block.transfers if each.status is TransferStatus.PENDING]
        if not pending or not self._is_deep(block.ref, head):
            return block, []
        transfers = tuple(
            replace(each, status=TransferStatus.CONFIRMED) if each.status is TransferStatus.PENDING else each
            for each in block.transfers
        )
        reports: list[Report] = [
            TransferReport(each.transfer, TransferStatus.CONFIRMED, block.ref, block.timestamp) for each in pending
        ]
        return replace(block, transfers=transfers), reports

    async def _roll_back(self, cursor: Cursor, head: BlockRef) -> Step:
        """Take back the blocks that are not in the chain any more, newest first."""
        kept = len(cursor.blocks)
        while kept and await self._source.ref(cursor.blocks[kept - 1].ref.number) != cursor.blocks[kept - 1].ref:
            kept -= 1
        gone = cursor.blocks[kept:]
        if not gone:
            return Step((), cursor, behind=0, done=True)
        reports: list[Report] = [
            TransferReport(each.transfer, TransferStatus.ORPHANED, block.ref, block.timestamp)
            for block in reversed(gone)
            for each in reversed(block.transfers)
        ]
        chain, next_block = cursor.chain, gone[0].ref.number
        if kept:
            reports.append(
                Notice("warning", f"the chain was reorganised: {len(gone)} blocks from {next_block} on are gone")
            )
        else:
            chain = await self._source.identity()
            if chain != cursor.chain:
                next_block = 0 if self._start_block is None else self._start_block
                problem = "this is another chain than the one followed so far"
            else:
                next_block = min(next_block, head.number)
                problem = f"the chain was reorganised below block {next_block}, the oldest remembered"
            reports.append(Notice("error", f"{problem}; what was reported of older blocks stays as it was"))
        cursor = replace(cursor, chain=chain, next_block=next_block, blocks=cursor.blocks[:kept])
        return Step(tuple(reports), cursor, behind=max(0, head.number + 1 - next_block), done=False)


def balance_key(report: BalanceReport) -> str:
    """Name a balance in `Cursor.balances`."""
    return f"{report.address} {report.asset.symbol}"
