"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of a run. A round measures the floor and then the system; the figures are medians over the rounds.

    Attributes:
        rounds: of commands, messages and rows.
        memory_rounds: of idle streams; each starts its servers anew.
        calls: commands of a round with one in flight; with 64 it is four times as many.
        messages: messages of a round, sent one by one; in batches it is ten times as many.
        idle_streams: streams whose memory is measured.
        rows: messages in the worker's backlog of a round.
        rest_calls: REST requests of a round.
        floor_loop: the event loop of the gRPC floors. The gateway's own, or the ratio would count the difference
            between two loops as if it were ours.
        self_check: measure a second floor in the place of the gateway: what the ratios then differ from 1 is noise.
    """

    rounds: int = 7
    memory_rounds: int = 3
    calls: int = 1000
    messages: int = 24_000
    idle_streams: int = 1000
    rows: int = 40_000
    rest_calls: int = 500
    floor_loop: str = "uvloop"
    self_check: bool = False


QUICK = Plan(rounds=3, memory_rounds=1, calls=400, messages=12_000, rows=20_000, rest_calls=200)
