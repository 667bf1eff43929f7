"""A real Ethereum development node (anvil) as a process, and what tests and demonstrations do with it.

It speaks to the node in plain JSON-RPC and shares no code with the client under test: what it says about the chain is a
second opinion.
"""

from __future__ import annotations

import functools
import itertools
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support import erc20
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess, scratch_directory
from support.waiting import eventually

_INSTALL = Path(__file__).parents[2] / "scripts" / "install-anvil"
TRANSFER_GAS = 100_000


@functools.cache
def anvil_program() -> Path | None:
    """Find the node's program, installing it the first time; None on a machine without npm."""
    path = subprocess.run([_INSTALL], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return Path(path) if path else None


class RpcError(Exception):
    """The node answered with an error."""


class Node:
    """Calls an Ethereum node and does what a developer does by hand. Blocking; for one thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(timeout=10, trust_env=False)
        self._ids = itertools.count(1)

    def call(self, method: str, *params: Any) -> Any:
        """Call one method.

        Raises:
            RpcError: the node refused.
            httpx.HTTPError: it can not be reached.
        """
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        answer = self._http.post(self.url, json=body).raise_for_status().json()
        if "error" in answer:
            raise RpcError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def accounts(self) -> list[str]:
        """List the addresses that the node signs for, lower case."""
        return [account.lower() for account in self.call("eth_accounts")]

    def send(self, sender: str, recipient: str | None, *, value: int = 0, data: str = "0x") -> str:
        """Submit a transaction and return its hash. The gas is given, so that one that will revert is taken too."""
        gas = TRANSFER_GAS if recipient else 10 * TRANSFER_GAS
        transaction: dict[str, str] = {"from": sender, "value": hex(value), "data": data, "gas": hex(gas)}
        if recipient:
            transaction["to"] = recipient
        return self.call("eth_sendTransaction", transaction)

    def receipt(self, transaction: str) -> Mapping[str, Any]:
        """Wait until a transaction is in a block, and return its receipt."""
        return eventually(lambda: self.call("eth_getTransactionReceipt", transaction), message=f"{transaction} mined")

    def head(self) -> int:
        """Return the newest block's height."""
        return int(self.call("eth_blockNumber"), 16)

    def balance(self, address: str, token: str | None = None) -> int:
        """Read a balance after the newest block: wei, or a token's smallest unit."""
        if token is None:
            return int(self.call("eth_getBalance", address, "latest"), 16)
        return int(self.call("eth_call", {"to": token, "data": erc20.balance_of(address)}, "latest"), 16)

    def has_code(self, address: str) -> bool:
        """Tell whether a contract is at this address."""
        return self.call("eth_getCode", address, "latest") != "0x"

    def deploy_token(self, owner: str) -> str:
        """Create the demonstration token (`support.erc20`), all of it owned by `owner`; returns its address."""
        return self.receipt(self.send(owner, None, data=erc20.creation_code()))["contractAddress"].lower()

    def transfers(self, token: str | None = None) -> list[ChainTransfer]:
        """List every transfer of the chain, oldest first: transactions with a value, and the token's events."""
        found: list[ChainTransfer] = []
        for number in range(self.head() + 1):
            block = self.call("eth_getBlockByNumber", hex(number), True)
            for transaction in block["transactions"]:
                receipt = self.call("eth_getTransactionReceipt", transaction["hash"])
                if int(transaction["value"], 16):
                    recipient = transaction["to"] or receipt["contractAddress"]
                    found.append(
                        ChainTransfer(
                            id=transaction["hash"],
                            symbol="ETH",
                            sender=transaction["from"].lower(),
                            recipient=recipient.lower() if recipient else None,
                            raw=int(transaction["value"], 16),
                            succeeded=receipt["status"] == "0x1",
                            block=number,
                        )
                    )
                for index, event in enumerate(receipt["logs"]):
                    if event["address"].lower() == token and event["topics"][0] == erc20.TRANSFER_TOPIC:
                        found.append(
                            ChainTransfer(
                                id=f"{transaction['hash']}:{index}",
                                symbol=erc20.SYMBOL,
                                sender="0x" + event["topics"][1][-40:],
                                recipient="0x" + event["topics"][2][-40:],
                                raw=int(event["data"], 16),
                                succeeded=True,
                                block=number,
                            )
                        )
        return found


@dataclass(frozen=True)
class ChainTransfer:
    """One transfer as the chain has it; `raw` in the smallest unit."""

    id: str
    symbol: str
    sender: str
    recipient: str | None
    raw: int
    succeeded: bool
    block: int


class AnvilNode(ManagedProcess):
    """One development node.

    Args:
        block_time: seconds between blocks; None makes a block of each transaction at once, and others on demand.
        mine: False makes blocks on demand only (`evm_mine`).
        keep_state: a restart goes on with the same chain (saved every ten seconds and at the end).
        directory: home of its log and state; a temporary one if None.
        port: where it listens; a free one if None.
    """

    def __init__(
        self,
        *,
        block_time: float | None = None,
        mine: bool = True,
        keep_state: bool = False,
        directory: Path | None = None,
        port: int | None = None,
        name: str = "anvil",
        log_file: Path | None = None,
    ) -> None:
        program = anvil_program()
        if program is None:
            raise RuntimeError("anvil is not installed: see scripts/install-anvil")
        self.directory = directory or scratch_directory(name)
        self.port = port or free_port()
        # In order of arrival: by default a block is sorted by fees, and what was sent second may come first.
        args: list[str | Path] = [program, "--host", LOOPBACK, "--port", str(self.port), "--order", "fifo", "--silent"]
        if block_time is not None:
            args += ["--block-time", f"{block_time:g}"]
        elif not mine:
            args.append("--no-mining")
        if keep_state:
            args += ["--state", self.directory / "state.json", "--state-interval", "10"]
        super().__init__(name, args, log_file=log_file or self.directory / "anvil.log", ready=self._answers)

    @property
    def url(self) -> str:
        """Where it answers JSON-RPC."""
        return f"http://{LOOPBACK}:{self.port}"

    def _answers(self) -> bool:
        node = Node(self.url)
        try:
            return int(node.call("eth_chainId"), 16) > 0
        except httpx.HTTPError as error:
            raise AssertionError(f"no answer yet: {error}") from None
        finally:
            node.close()
