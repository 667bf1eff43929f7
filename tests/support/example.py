"""The example client on a chain: what `make up` shows, and what `make demo` measures."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from evm_wallet_client.simulated import COIN, TOKEN, Rehearsal, simulated_address
from service_kit.clock import SystemClock
from support import erc20
from support.chain import AnvilNode, ChainTransfer, Node, anvil_program
from support.processes import ManagedProcess
from support.waiting import DeadlinePassedError, eventually

if TYPE_CHECKING:
    from support.stack import Stack

ACCOUNTS = 10
DECIMALS: Mapping[str, int] = {COIN.symbol: COIN.decimals, erc20.SYMBOL: erc20.DECIMALS}
"""What the clients follow, and the decimals of each."""

_SPREAD_ATTEMPTS = 5
_TESTS = Path(__file__).parents[1]


class ExampleChain(Protocol):
    """A chain with ten accounts that the example's clients can follow, and whose truth can be looked up."""

    rpc: str
    """What the clients are given as `--rpc`."""
    token: str
    """What the clients are given as `--token`."""
    accounts: list[str]
    description: str

    def finished(self) -> bool:
        """Tell whether no further transfer comes by itself."""
        ...

    def transfers(self) -> list[ChainTransfer]:
        """List every transfer of the chain, oldest first."""
        ...

    def balance(self, address: str, symbol: str) -> int:
        """Read a balance after the newest block, in the smallest unit."""
        ...


class RealChain:
    """A development node with the demonstration token, of which every account holds some.

    With the same directory it goes on with the same chain.
    """

    def __init__(self, directory: Path, *, block_time: float) -> None:
        self._directory = directory
        self._trickle: ManagedProcess | None = None
        self.process = AnvilNode(block_time=block_time, keep_state=True, directory=directory / "anvil")
        self.process.start()
        self.node = Node(self.process.url)
        self.rpc = self.process.url
        self.accounts = self.node.accounts()[:ACCOUNTS]
        self.token = self._known_token() or self._new_token()
        self.description = f"anvil on {self.rpc}, a block every {block_time:g} s"

    def _known_token(self) -> str | None:
        note = self._directory / "token"
        token = note.read_text() if note.exists() else ""
        return token if token and self.node.has_code(token) else None

    def _new_token(self) -> str:
        owner = self.accounts[0]
        token = self.node.deploy_token(owner)
        for account in self.accounts[1:]:
            self.node.send(owner, token, data=erc20.transfer(account, 10**6 * 10**erc20.DECIMALS))
        (self._directory / "token").write_text(token)
        return token

    def trickle(self, *, interval: float, count: int | None = None) -> ManagedProcess:
        """Start sending transfers, for ever or so many."""
        args = ["--rpc", self.rpc, "--token", self.token, "--interval", f"{interval:g}"]
        if count is not None:
            args += ["--count", str(count)]
        process = ManagedProcess(
            "trickle",
            [sys.executable, "-m", "support.trickle", *args],
            env={"PYTHONPATH": str(_TESTS)},
            log_file=self._directory / "trickle.log",
        )
        process.start()
        self._trickle = process
        return process

    def finished(self) -> bool:
        """See `ExampleChain`."""
        return self._trickle is None or not self._trickle.is_running

    def transfers(self) -> list[ChainTransfer]:
        """See `ExampleChain`."""
        return self.node.transfers(self.token)

    def balance(self, address: str, symbol: str) -> int:
        """See `ExampleChain`."""
        return self.node.balance(address, self.token if symbol == erc20.SYMBOL else None)


class RehearsedChain:
    """A simulated chain that every process computes for itself; see `evm_wallet_client.simulated`."""

    def __init__(self, *, block_time: float, blocks: int | None = None) -> None:
        self.rpc = f"simulated://example?start={int(time.time())}&block={block_time:g}"
        if blocks is not None:
            self.rpc += f"&blocks={blocks}"
        self.token = TOKEN.contract or ""
        self.accounts = [simulated_address(number) for number in range(ACCOUNTS)]
        self.description = f"simulated (no npm here), a block every {block_time:g} s"
        self._rehearsal = Rehearsal(self.rpc, SystemClock())
        self._blocks = blocks

    def finished(self) -> bool:
        """See `ExampleChain`."""
        return self._rehearsal.grown().head.number == self._blocks

    def transfers(self) -> list[ChainTransfer]:
        """See `ExampleChain`."""
        return [
            ChainTransfer(
                id=transfer.id,
                symbol=transfer.asset.symbol,
                sender=transfer.sender,
                recipient=transfer.recipient,
                raw=transfer.raw,
                succeeded=transfer.succeeded,
                block=block.ref.number,
            )
            for block in self._rehearsal.grown().blocks
            for transfer in block.transfers
            if transfer.succeeded or transfer.asset == COIN
        ]

    def balance(self, address: str, symbol: str) -> int:
        """See `ExampleChain`."""
        return self._rehearsal.grown().balance(address, symbol)


def wallet_client(
    stack: Stack,
    chain: ExampleChain,
    client_id: str,
    watched: Sequence[str],
    *,
    options: Mapping[str, str] | None = None,
) -> ManagedProcess:
    """Describe one example client that connects through Envoy's edge listener; the caller starts it.

    Args:
        stack: whom it connects to.
        chain: what it follows.
        client_id: its id; its state and log are kept under it.
        watched: the addresses it follows.
        options: further options of its command line, without their dashes.
    """
    directory = stack.directory / "example" / client_id
    args = ["--client-id", client_id, "--server", stack.edge_address, "--rpc", chain.rpc, "--token", chain.token]
    args += ["--state-dir", str(directory), "--start-block", "0"]
    for address in watched:
        args += ["--address", address]
    for name, value in (options or {}).items():
        args += [f"--{name}", value]
    return ManagedProcess(
        client_id, [sys.executable, "-m", "evm_wallet_client", *args], log_file=directory / "client.log"
    )


def await_clients(stack: Stack, clients: Mapping[str, ManagedProcess], timeout: float = 30.0) -> Counter[str]:
    """Wait until the clients are connected, and count them by gateway.

    Envoy gives a stream to the less loaded of two gateways that it picks at random, which may be one gateway twice:
    where all came to one gateway, a client is started again.

    Raises:
        DeadlinePassedError: some did not connect within `timeout` seconds.
    """
    spread: Counter[str] = Counter()
    for _ in range(_SPREAD_ATTEMPTS):
        spread = eventually(lambda: _gateways(stack, set(clients)), timeout=timeout, message="the clients connect")
        if len(spread) > 1 or len(clients) < 2 or len(stack.gateways) < 2:
            break
        next(iter(clients.values())).restart()
    return spread


def _gateways(stack: Stack, client_ids: set[str]) -> Counter[str]:
    """Ask the API which gateway holds which client; empty while one of them is missing."""
    answer = httpx.get(f"{stack.edge_url}/api/crypto/commands/", timeout=10, trust_env=False).raise_for_status()
    held = {client["client_id"]: client["gateway_id"] for client in answer.json()}
    return Counter(held[client_id] for client_id in client_ids) if client_ids <= held.keys() else Counter()


def start_example(stack: Stack) -> list[ManagedProcess]:
    """Start a chain, a trickle of transfers and four clients; returns the processes in the order of their start."""
    processes: list[ManagedProcess] = []
    chain: ExampleChain
    if anvil_program() is not None:
        chain = RealChain(stack.directory / "example", block_time=2)
        processes += [chain.process, chain.trickle(interval=2)]
    else:
        chain = RehearsedChain(block_time=2)
    print(f"example: the chain is {chain.description}")
    clients: dict[str, ManagedProcess] = {}
    for number in range(4):
        # Neighbours share an account: a transfer may be reported by more than one client.
        watched = [chain.accounts[(2 * number + offset) % ACCOUNTS] for offset in range(3)]
        client_id = f"wallet-{number + 1}"
        clients[client_id] = wallet_client(stack, chain, client_id, watched)
        clients[client_id].launch()
    try:
        spread = await_clients(stack, clients)
        print("example: clients per gateway: " + ", ".join(f"{name} {count}" for name, count in sorted(spread.items())))
    except DeadlinePassedError as problem:
        # Shown rather than fatal: the system is there, and the logs say what is missing.
        print(f"example: {problem}; see {stack.directory / 'example'}")
    return [*processes, *clients.values()]
