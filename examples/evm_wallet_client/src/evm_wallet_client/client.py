"""The client: reports what the follower finds, and obeys commands."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from crypto_streaming import pb
from crypto_streaming.agent import Ack, CryptoClient
from service_kit.clock import Clock

from .amounts import to_decimal
from .follower import BalanceReport, Follower, Notice, Step, TransferReport
from .reports import transaction_fields
from .source import BlockGoneError, ChainSource, SourceUnavailableError
from .state import StateFile

_log = logging.getLogger(__name__)

LONGEST_RETRY_SECONDS = 15.0
STOP_SECONDS = 2.0
"""How long `stop` waits for a step that is being reported: one that is cut off is repeated at the next start."""


class WalletClient:
    """Keeps one stream (`CryptoClient`) fed with what happens to some addresses on one chain.

    A step of the follower is read first, then reported as a whole and saved, under one lock: a pause that is acked has
    no half-reported step behind it. Between the reports and the save lies the only moment at which a crash repeats
    something (same transaction ids, so the tables stay the same); nothing is ever skipped.
    """

    def __init__(
        self,
        stream: CryptoClient,
        source: ChainSource,
        follower: Follower,
        state_file: StateFile,
        *,
        addresses: frozenset[str],
        clock: Clock,
        poll_seconds: float = 1.0,
        refresh_seconds: float = 300.0,
        receipt_seconds: float = 10.0,
    ) -> None:
        """Register the command handlers on `stream`; `run` does the rest.

        Args:
            stream: the connection; nobody else runs or stops it.
            source: the chain that `follower` follows.
            follower: says what is to be reported.
            state_file: keeps the cursor, and whether the client is paused.
            addresses: those that `follower` watches.
            clock: for what is due when.
            poll_seconds: pause between two looks at a chain that has nothing new.
            refresh_seconds: pause between two reports of balances that do not change.
            receipt_seconds: how long `sync_wallets` waits for the receipts of what it reported before it acks.
        """
        self._stream = stream
        self._source = source
        self._follower = follower
        self._state_file = state_file
        self._state = state_file.load()
        self._addresses = addresses
        self._clock = clock
        self._poll = poll_seconds
        self._refresh = refresh_seconds
        self._receipt_seconds = receipt_seconds
        self._refresh_due = clock.monotonic()
        self._running = asyncio.Event()
        if not self._state.paused:
            self._running.set()
        self._reporting = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._behind = 0
        self._outage = ""
        stream.on(pb.PauseClientCommand)(self.pause)
        stream.on(pb.ResumeClientCommand)(self.resume)
        stream.on(pb.PingCommand)(self.ping)
        stream.on(pb.SyncWalletsCommand)(self.sync_wallets)
        stream.on(pb.RequestStatusCommand)(self.request_status)

    @property
    def status(self) -> pb.ClientStatus:
        """What this client says of itself."""
        if self._state.paused:
            return pb.CLIENT_STATUS_PAUSED
        return pb.CLIENT_STATUS_ERROR if self._outage else pb.CLIENT_STATUS_ACTIVE

    async def run(self) -> None:
        """Follow the chain over the stream until `stop`.

        Raises:
            ExceptionGroup: holds what ended it; see `CryptoClient.run`.
        """
        try:
            if self._state.paused:
                await self._report_status("paused since before the start")
            async with asyncio.TaskGroup() as tasks:
                self._following = tasks.create_task(self._follow(), name="follow")
                await self._stream.run()
                self._following.cancel()
        finally:
            await self._source.close()

    async def stop(self) -> None:
        """End `run` in order: goodbye, and what has no receipt stays in the buffer for the next start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS), self._reporting:
                self._cancel_following()
        self._cancel_following()
        await self._stream.stop()

    def _cancel_following(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def pause(self, command: pb.PauseClientCommand) -> Ack:
        """Stop reporting. Once this is acked nothing is reported any more; the cursor stays where it is."""
        self._running.clear()
        async with self._reporting:
            self._state = replace(self._state, paused=True)
            self._state_file.save(self._state)
        _log.info("paused", extra={"reason": command.reason})
        return Ack(True, f"paused at block {self._position}", status=pb.CLIENT_STATUS_PAUSED)

    async def resume(self, command: pb.ResumeClientCommand) -> Ack:
        """Go on from the cursor: what happened meanwhile is reported now."""
        async with self._reporting:
            self._state = replace(self._state, paused=False)
            self._state_file.save(self._state)
        self._running.set()
        _log.info("resumed", extra={"reason": command.message})
        return Ack(True, f"resumed after block {self._position}", status=self.status)

    async def ping(self, command: pb.PingCommand) -> Ack:
        """Answer with the sequence number."""
        return Ack(True, f"pong {command.sequence}", status=self.status, result={"sequence": command.sequence})

    async def sync_wallets(self, command: pb.SyncWalletsCommand) -> Ack:
        """Report the balances of now, changed or not. When this is acked with success they are durably logged.

        Refused while paused, for a symbol that is not followed, and when the node can not be asked.
        """
        if self._state.paused:
            return self._refused("CLIENT_PAUSED", "paused: resume first")
        try:
            known = {asset.symbol for asset in await self._source.assets()}
            unknown = sorted(set(command.symbols) - known)
            if unknown:
                followed = ", ".join(sorted(known))
                return self._refused("UNKNOWN_SYMBOL", f"not followed: {', '.join(unknown)}; followed are: {followed}")
            balances = await self._balances_now(frozenset(command.symbols))
        except SourceUnavailableError as error:
            return self._refused("NODE_UNAVAILABLE", str(error))
        async with self._reporting:
            if self._state.paused:
                return self._refused("CLIENT_PAUSED", "paused meanwhile: resume first")
            for balance in balances:
                await self._report_balance(balance)
        try:
            await self._stream.flush(self._receipt_seconds)
        except TimeoutError:
            return self._refused("NOT_RECEIPTED", f"{len(balances)} balances reported, not all have a receipt yet")
        at = balances[0].at.number if balances else self._position
        message = f"{len(balances)} balances at block {at}"
        return Ack(True, message, status=self.status, result={"balances": len(balances), "block": at})

    async def request_status(self, _command: pb.RequestStatusCommand) -> Ack:
        """Say how far the chain has been followed. The counters of the stream (`stats`) come from the stream itself."""
        waiting = sum(each.status == "pending" for block in self._state.cursor.blocks for each in block.transfers)
        result: dict[str, object] = {
            "block": self._position,
            "behind": self._behind,
            "addresses": len(self._addresses),
            "pending_transfers": waiting,
        }
        message = self._outage or f"at block {self._position}, {self._behind} behind"
        return Ack(True, message, status=self.status, result=result)

    @property
    def _position(self) -> int:
        """The newest block that is reported; -1 when none is."""
        return self._state.cursor.next_block - 1

    def _refused(self, error: str, message: str) -> Ack:
        return Ack(False, message, error=error, status=self.status)

    async def _follow(self) -> None:
        failures = 0
        while True:
            await self._running.wait()
            try:
                idle = await self._step()
            except BlockGoneError as error:
                _log.info("the chain changed while it was read", extra={"detail": str(error)})
                idle = True
            except SourceUnavailableError as error:
                failures += 1
                await self._node_lost(str(error))
                await asyncio.sleep(min(self._poll * 2 ** min(failures, 10), LONGEST_RETRY_SECONDS))
                continue
            failures = 0
            await self._node_found()
            if idle:
                await asyncio.sleep(self._poll)

    async def _step(self) -> bool:
        """Read, report and save one step; True when the chain has nothing more for now."""
        step = await self._follower.read(self._state.cursor)
        if step.done and self._clock.monotonic() >= self._refresh_due:
            step = replace(step, reports=(*step.reports, *await self._balances_now()))
        async with self._reporting:
            if not self._running.is_set():
                return False
            await self._report(step)
            self._behind = step.behind
            if step.cursor != self._state.cursor:
                self._state = replace(self._state, cursor=step.cursor)
                self._state_file.save(self._state)
        if step.done and self._clock.monotonic() >= self._refresh_due:
            self._refresh_due = self._clock.monotonic() + self._refresh
        return step.done

    async def _balances_now(self, symbols: frozenset[str] = frozenset()) -> tuple[BalanceReport, ...]:
        while True:
            try:
                return await self._follower.balances(await self._source.head(), symbols)
            except BlockGoneError:
                # Reorganised between the two questions: the next head is another one.
                continue

    async def _report(self, step: Step) -> None:
        for report in step.reports:
            match report:
                case TransferReport():
                    fields = transaction_fields(report, self._addresses)
                    await self._stream.report_transaction(
                        fields.transaction_id,
                        type=fields.type,
                        symbol=fields.symbol,
                        amount=fields.amount,
                        status=fields.status,
                        details=fields.details,
                    )
                case BalanceReport():
                    await self._report_balance(report)
                case Notice():
                    _log.warning("%s", report.message)
                    await self._stream.report_log(report.message, level=report.level)

    async def _report_balance(self, report: BalanceReport) -> None:
        await self._stream.report_wallet(
            report.address,
            report.asset.symbol,
            available=to_decimal(report.raw, report.asset.decimals),
            last_sync=datetime.fromtimestamp(report.read_at / 1_000_000, tz=UTC),
        )

    async def _report_status(self, details: str) -> None:
        await self._stream.report_status(self.status, details)

    async def _node_lost(self, problem: str) -> None:
        """Report an outage of the node, once."""
        if self._outage:
            return
        self._outage = problem
        _log.error("the node can not be read", extra={"detail": problem})
        async with self._reporting:
            if self._running.is_set():
                await self._stream.report_error(f"the node can not be read: {problem}")
                await self._report_status(problem)

    async def _node_found(self) -> None:
        if not self._outage:
            return
        self._outage = ""
        _log.info("the node answers again")
        async with self._reporting:
            if self._running.is_set():
                await self._report_status("the node answers again")
