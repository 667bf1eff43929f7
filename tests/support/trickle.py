"""A trickle of transfers on a development node, as a process: `python -m support.trickle --rpc http://…`.

What it sends is random, from a seed: coins and tokens between the node's own accounts, now and then one to oneself, one
that is reverted, one that creates a contract, several at once. It waits for a node that is restarted.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
from collections.abc import Iterator

import httpx

from support import erc20
from support.chain import Node, RpcError

Submission = tuple[str, str | None, int, str]
"""Sender, recipient (None creates a contract), wei, data."""


def submissions(accounts: list[str], token: str | None, seed: int) -> Iterator[Submission]:
    """Invent transactions without end. All accounts must hold tokens, or their transfers of tokens are reverted."""
    dice = random.Random(seed)
    while True:
        sender, recipient = dice.choice(accounts), dice.choice(accounts)
        wei = dice.randrange(1, 10**18)
        kind = dice.random()
        if kind < 0.05:
            yield sender, None, wei, "0x"
        elif kind < 0.10 and token is not None:
            # The token takes no coins: this one fails.
            yield sender, token, wei, "0x"
        elif kind < 0.40 and token is not None:
            yield sender, token, 0, erc20.transfer(recipient, dice.randrange(1, 1000 * 10**erc20.DECIMALS))
        else:
            yield sender, recipient, wei, "0x"


def main() -> None:
    """Send until told to stop, or the wanted number."""
    parser = argparse.ArgumentParser(prog="support.trickle", description=__doc__)
    parser.add_argument("--rpc", required=True, help="the node's address")
    parser.add_argument("--token", help="address of the demonstration token")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=float, default=1.0, help="mean number of seconds between two transactions")
    parser.add_argument("--count", type=int, help="stop after this many; without it, never")
    options = parser.parse_args()
    stopped = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    node = Node(options.rpc)
    pace = random.Random(options.seed)
    sent = 0
    accounts: list[str] = []
    stream: Iterator[Submission] | None = None
    while not stopped.is_set() and sent != options.count:
        try:
            if stream is None:
                accounts = node.accounts()
                stream = submissions(accounts, options.token, options.seed)
            sender, recipient, wei, data = next(stream)
            node.send(sender, recipient, value=wei, data=data)
            sent += 1
        except (httpx.HTTPError, RpcError) as error:
            print(f"not sent: {error}", flush=True)
            stopped.wait(1)
        stopped.wait(pace.expovariate(1 / options.interval) if options.interval else 0)
    print(f"sent {sent} transactions", flush=True)


if __name__ == "__main__":
    main()
