"""Figures beside their floors: medians over interleaved rounds, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.plan import Plan

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Bound:
    """What a ratio must reach (`docs/architecture.md` has the reasons).

    Attributes:
        limit: the ratio of the system to its floor.
        at_most: true for costs (time, CPU, memory), false for rates.
    """

    limit: float
    at_most: bool

    def holds(self, ratio: float) -> bool:
        """Whether it is reached."""
        return ratio <= self.limit if self.at_most else ratio >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


@dataclass
class Figure:
    """One measured quantity.

    Attributes:
        name: what was measured.
        unit: of the values, for the table.
        scale: what a value is multiplied with to be in that unit.
        bound: what the ratio must reach; None for a figure that is only shown.
        ours: the system's values, one for each round.
        floor: the floor's values of the same rounds.
    """

    name: str
    unit: str
    scale: float = 1.0
    bound: Bound | None = None
    ours: list[float] = field(default_factory=list[float])
    floor: list[float] = field(default_factory=list[float])

    def add(self, *, ours: float, floor: float) -> None:
        """Add one round."""
        self.ours.append(ours)
        self.floor.append(floor)

    @property
    def ratios(self) -> list[float]:
        """Round by round: what was measured together is compared."""
        return [ours / floor for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return median(self.ratios)

    @property
    def best(self) -> float:
        """The ratio of the best round of each: near what an idle machine would show, when this one is busy."""
        best = max if self.unit == "/s" else min
        return best(self.ours) / best(self.floor)

    @property
    def ok(self) -> bool:
        """Whether the bound holds; true without one."""
        return self.bound is None or self.bound.holds(self.ratio)


_HEAD = ("figure", "system", "floor", "unit", "ratio", "of rounds", "best", "must be", "")


def table(figures: Sequence[Figure]) -> str:
    """The figures as text in columns."""
    rows = [_HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    right_aligned = {1, 2, 4, 6}
    lines = [
        "  ".join(
            cell.rjust(width) if column in right_aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    ratios = figure.ratios
    return (
        figure.name,
        f"{median(figure.ours) * figure.scale:,.0f}",
        f"{median(figure.floor) * figure.scale:,.0f}",
        figure.unit,
        f"{figure.ratio:.2f}",
        f"{min(ratios):.2f}-{max(ratios):.2f}",
        f"{figure.best:.2f}",
        str(figure.bound or ""),
        "" if figure.bound is None else "ok" if figure.ok else "MISSED",
    )


def write_results(figures: Sequence[Figure], plan: Plan, broken: Mapping[str, str]) -> Path:
    """Keep the figures with all their rounds, and what broke, as JSON under `bench/results`; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    content = {
        "at": now.isoformat(timespec="seconds"),
        "plan": asdict(plan),
        "load_average": os.getloadavg(),
        "broken": dict(broken),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "figures": [
            {
                "name": figure.name,
                "unit": figure.unit,
                "system": [value * figure.scale for value in figure.ours],
                "floor": [value * figure.scale for value in figure.floor],
                "ratio": figure.ratio,
                "best": figure.best,
                "bound": str(figure.bound) if figure.bound else None,
                "ok": figure.ok,
            }
            for figure in figures
        ],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
