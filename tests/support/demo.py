"""The whole system in under a minute, checked: `make demo`.

Starts a stack of its own, a chain, and clients that follow it over both gateways; sends every command by every way in;
kills a gateway in the middle; then compares what PostgreSQL holds with what the chain says. Exits 0 only if all of it
held.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from crypto_streaming.blocking import BlockingStreamingCommandClient
from crypto_streaming.errors import CommandError
from support.audit import Audit, audit
from support.chain import anvil_program
from support.demo_commands import AsyncSdkSurface, BlockingSdkSurface, Drill, GrpcSurface, RestSurface, Surface
from support.example import ACCOUNTS, RealChain, RehearsedChain, await_clients, wallet_client
from support.processes import ManagedProcess
from support.stack import Stack
from support.waiting import DeadlinePassedError, eventually

BLOCK_SECONDS = 0.5
REHEARSED_BLOCKS = 40
CLIENT_OPTIONS = {"poll-seconds": "0.2", "confirmations": "2"}


class Demo:
    """One run; each step leaves what it found in `problems`."""

    def __init__(self, *, clients: int, transfers: int) -> None:
        self.started = time.monotonic()
        self.problems: list[str] = []
        self._clients = clients
        self._transfers = transfers
        self._exit = ExitStack()

    def say(self, text: str) -> None:
        """Print one line with the time since the start."""
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    def run(self) -> bool:
        """Do everything; true when all of it held."""
        try:
            with self._exit:
                self._run()
        except AssertionError as problem:
            self.problems.append(str(problem))
        self.say("everything is stopped")
        for problem in self.problems:
            print(f"  FAILED  {problem}")
        print("demo: all of it held" if not self.problems else f"demo: {len(self.problems)} problems")
        return not self.problems

    def _run(self) -> None:
        stack = Stack()
        self._exit.callback(stack.stop)
        stack.start()
        self.say(f"the stack is up: Envoy {stack.edge_address}, {len(stack.gateways)} gateways")
        chain = self._start_chain(stack)
        watched, clients = self._start_clients(stack, chain)
        database = self._exit.enter_context(psycopg.connect(stack.database_url, autocommit=True))
        spread = await_clients(stack, clients)
        if len(spread) != len(stack.gateways):
            self.problems.append(f"not every gateway holds clients: {dict(spread)}")
        self.say("clients per gateway: " + ", ".join(f"{name} {count}" for name, count in sorted(spread.items())))

        if isinstance(chain, RealChain):
            self._exit.callback(chain.trickle(interval=0.04, count=self._transfers).stop)
        drill = Drill()
        rest = RestSurface(stack.edge_url)
        surfaces = self._surfaces(stack, rest)
        for surface in surfaces[:2]:
            drill.run(surface, watched)
            self.say(f"every command by {surface.name}")
        self._kill_gateway(stack, list(watched))
        for surface in surfaces[2:]:
            drill.run(surface, watched)
            self.say(f"every command by {surface.name}")
        drill.bulk(rest, self._clients)
        self.say("every client at once by REST")
        self.problems += drill.problems

        if isinstance(chain, RealChain):
            self._reorganise(chain, database, watched)
        result = self._settle(chain, database, watched)
        print()
        print(drill.table())
        print()
        print(f"commands answered                     {drill.commands:>7}")
        print(f"transfers, each once per client       {result.transfers:>7}")
        print(f"reports of them in the history        {result.reports:>7}")
        print(f"taken back by a reorganisation        {result.orphaned:>7}")
        print(f"balances equal to the chain's         {result.balances:>7}")
        print()

    def _start_chain(self, stack: Stack) -> RealChain | RehearsedChain:
        chain: RealChain | RehearsedChain
        if anvil_program() is not None:
            chain = RealChain(stack.directory / "example", block_time=BLOCK_SECONDS)
            self._exit.callback(chain.process.stop)
        else:
            chain = RehearsedChain(block_time=BLOCK_SECONDS, blocks=REHEARSED_BLOCKS)
        self.say(f"the chain: {chain.description}")
        return chain

    def _start_clients(
        self, stack: Stack, chain: RealChain | RehearsedChain
    ) -> tuple[dict[str, list[str]], dict[str, ManagedProcess]]:
        """Start the clients; neighbours share an account, and the last ones watch what the first ones do."""
        watched: dict[str, list[str]] = {}
        clients: dict[str, ManagedProcess] = {}
        for number in range(self._clients):
            client_id = f"wallet-{number + 1}"
            watched[client_id] = [chain.accounts[(2 * number + offset) % ACCOUNTS] for offset in range(3)]
            clients[client_id] = wallet_client(stack, chain, client_id, watched[client_id], options=CLIENT_OPTIONS)
            clients[client_id].launch()
            self._exit.callback(clients[client_id].stop)
        # Asked all at once when it comes to that, then waited for one after the other.
        for client in clients.values():
            self._exit.callback(client.request_stop)
        return watched, clients

    def _surfaces(self, stack: Stack, rest: RestSurface) -> list[Surface]:
        surfaces: list[Surface] = [
            rest,
            GrpcSurface(stack.internal_address),
            AsyncSdkSurface(stack.internal_address),
            BlockingSdkSurface(stack.internal_address),
        ]
        for surface in surfaces:
            self._exit.callback(surface.close)
        return surfaces

    def _reachable(self, stack: Stack, client_ids: Sequence[str]) -> bool:
        for client_id in client_ids:
            caller = BlockingStreamingCommandClient(client_id=client_id, address=stack.internal_address)
            try:
                if not caller.ping_client_sync(0, timeout=5).success:
                    return False
            except CommandError:
                return False
        return True

    def _kill_gateway(self, stack: Stack, client_ids: Sequence[str]) -> None:
        victim = stack.gateways[0]
        killed = time.monotonic()
        victim.kill9()
        eventually(lambda: self._reachable(stack, client_ids), timeout=30, message="clients reconnect after a kill")
        self.say(f"{victim.name} killed with -9: every client answers again after {time.monotonic() - killed:.1f} s")
        victim.start()

    def _reorganise(
        self, chain: RealChain, database: psycopg.Connection[Any], watched: Mapping[str, Sequence[str]]
    ) -> None:
        """Let the newest blocks go away once the trickle has ended and their transfers are in the database."""
        eventually(chain.finished, timeout=60, interval=0.2, message="the trickle's last transfer")
        sender, recipient = chain.accounts[1:3]
        sent = [chain.node.send(sender, recipient, value=wei) for wei in (10**18 + 1, 10**18 + 2)]
        first = min(int(chain.node.receipt(each)["blockNumber"], 16) for each in sent)
        watchers = sum(sender in addresses or recipient in addresses for addresses in watched.values())
        eventually(
            lambda: _count(database, sent) == watchers * len(sent), message="the transfers that will go away are known"
        )
        depth = chain.node.head() - first + 1
        chain.node.call("anvil_reorg", depth, [])
        self.say(f"the chain is reorganised: its newest {depth} blocks are replaced by others")

    def _settle(
        self, chain: RealChain | RehearsedChain, database: psycopg.Connection[Any], watched: Mapping[str, Sequence[str]]
    ) -> Audit:
        """Compare until nothing is under way any more."""
        eventually(chain.finished, timeout=60, interval=0.2, message="the chain's last transfer")

        def agrees() -> Audit:
            result = audit(database, chain, watched)
            assert not result.differences, "\n          ".join(result.differences[:10])
            return result

        try:
            result = eventually(agrees, timeout=45, interval=0.5, message="PostgreSQL agrees with the chain")
        except DeadlinePassedError:
            result = audit(database, chain, watched)
            self.problems += result.differences[:20]
            self.problems.append(f"{len(result.differences)} differences between PostgreSQL and the chain")
        else:
            self.say("PostgreSQL agrees with the chain")
        return result


def _count(database: psycopg.Connection[Any], transaction_ids: Sequence[str]) -> int:
    rows = database.execute("SELECT count(*) FROM transactions WHERE transaction_id = ANY(%s)", [list(transaction_ids)])
    row = rows.fetchone()
    return row[0] if row else 0


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(prog="support.demo", description=__doc__)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--transfers", type=int, default=300, help="how many transactions the trickle sends")
    options = parser.parse_args()
    sys.exit(0 if Demo(clients=options.clients, transfers=options.transfers).run() else 1)


if __name__ == "__main__":
    main()
