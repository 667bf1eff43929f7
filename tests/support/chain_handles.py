"""A simulated chain and that of a real node, behind one set of handles: what the tests of the example run over."""

from __future__ import annotations

import time
from typing import Protocol

from evm_wallet_client.evm import EvmSource
from evm_wallet_client.simulated import COIN, TOKEN, SimulatedChain, SimulatedSource, simulated_address
from evm_wallet_client.source import ChainSource
from support import erc20
from support.chain import AnvilNode, Node


class Chain(Protocol):
    """A chain that does as the test says. Blocks are made by `mine` alone."""

    source: ChainSource
    accounts: list[str]

    def send(self, sender: str, recipient: str | None, wei: int) -> str:
        """Submit a transfer of coins (to None: into a new contract); returns its hash."""
        ...

    def send_failing(self, sender: str, wei: int) -> str:
        """Submit a transfer of coins that will be reverted; returns its hash."""
        ...

    def send_token(self, sender: str, recipient: str, raw: int) -> str:
        """Submit a transfer of the token DEMO (6 decimals), of which account 0 has plenty; returns its hash."""
        ...

    def mine(self) -> None:
        """Make one block of what was submitted."""
        ...

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by others without their transactions."""
        ...

    def break_down(self) -> None:
        """Make the node unreachable."""
        ...

    def come_back(self) -> None:
        """Undo `break_down`, with the same chain."""
        ...

    def start_afresh(self) -> None:
        """Replace the node's chain by a new one."""
        ...


class SimulatedHandles:
    def __init__(self) -> None:
        self.chain = SimulatedChain()
        self.source: ChainSource = SimulatedSource(self.chain)
        self.accounts = [simulated_address(number) for number in range(self.chain.accounts)]

    def send(self, sender: str, recipient: str | None, wei: int) -> str:
        return self.chain.send(sender, recipient, wei, asset=COIN)

    def send_failing(self, sender: str, wei: int) -> str:
        return self.chain.send(sender, TOKEN.contract, wei, asset=COIN, reverts=True)

    def send_token(self, sender: str, recipient: str, raw: int) -> str:
        return self.chain.send(sender, recipient, raw, asset=TOKEN)

    def mine(self) -> None:
        self.chain.mine()

    def reorganise(self, depth: int) -> None:
        self.chain.reorganise(depth)

    def break_down(self) -> None:
        self.chain.available = False

    def come_back(self) -> None:
        self.chain.available = True

    def start_afresh(self) -> None:
        self.chain.start_afresh()


class AnvilHandles:
    def __init__(self, process: AnvilNode) -> None:
        self._process = process
        self._node = Node(process.url)
        self.accounts = self._node.accounts()
        deployment = self._node.send(self.accounts[0], None, data=erc20.creation_code())
        self.mine()
        self._token = str(self._node.receipt(deployment)["contractAddress"])
        self.source: ChainSource = EvmSource(process.url, tokens=(self._token,), timeout=5)

    def send(self, sender: str, recipient: str | None, wei: int) -> str:
        return self._node.send(sender, recipient, value=wei)

    def send_failing(self, sender: str, wei: int) -> str:
        return self._node.send(sender, self._token, value=wei)

    def send_token(self, sender: str, recipient: str, raw: int) -> str:
        return self._node.send(sender, self._token, data=erc20.transfer(recipient, raw))

    def mine(self) -> None:
        self._node.call("evm_mine")

    def reorganise(self, depth: int) -> None:
        self._node.call("anvil_reorg", depth, [])

    def break_down(self) -> None:
        self._process.stop()

    def come_back(self) -> None:
        self._process.start()

    def start_afresh(self) -> None:
        self._process.stop()
        (self._process.directory / "state.json").unlink()
        # The time is all that tells one first block from another, in whole seconds.
        self._process.args += ["--timestamp", str(int(time.time()) - 1000)]
        self._process.start()

    def close(self) -> None:
        self._node.close()
        self._process.stop()
