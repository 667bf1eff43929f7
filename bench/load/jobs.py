"""What the driver asks of a generator, and what it answers: one JSON object a line, in both directions."""

from __future__ import annotations

from pydantic import BaseModel


class Fleet(BaseModel):
    """Connect plain clients that ack each command at once; they stay until the next `Fleet` or the end."""

    address: str
    """Where to connect; empty only disconnects."""
    via: str = ""
    """Where to command them, to see whether they are connected; empty = `address`."""
    clients: int
    prefix: str
    """Client ids are `<prefix>-<number>`."""
    channels: int = 4


class Calls(BaseModel):
    """Call ExecuteCommandSync again and again."""

    address: str
    prefix: str
    clients: int
    calls: int
    in_flight: int
    warm_up: int
    cpu_pids: list[int]
    """Processes whose CPU time to count while calling."""


class Messages(BaseModel):
    """Send wallet updates and wait for the receipts."""

    address: str
    prefix: str
    clients: int
    messages: int
    """In all; a multiple of `clients` x `batch`."""
    in_flight: int
    """Of what is sent (a batch is one), over all clients."""
    batch: int
    """1 sends message by message."""
    cpu_pids: list[int]


class Idle(BaseModel):
    """Open streams that say nothing after their registration; they stay until the next `Idle` or the end."""

    address: str
    prefix: str
    streams: int
    channels: int = 8


class RestPings(BaseModel):
    """POST the ping action again and again, one at a time."""

    url: str
    """Of the edge, with the scheme."""
    prefix: str
    clients: int
    calls: int
    warm_up: int
    cpu_pids: list[int]


class Job(BaseModel):
    """Exactly one of these."""

    fleet: Fleet | None = None
    calls: Calls | None = None
    messages: Messages | None = None
    idle: Idle | None = None
    rest_pings: RestPings | None = None


class Outcome(BaseModel):
    """What came of a job. Times in seconds; fields that make no sense for the job are 0."""

    error: str = ""
    seconds: float = 0
    operations: int = 0
    p50: float = 0
    p99: float = 0
    cpu: list[float] = []
    """CPU time of each of `cpu_pids`."""

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    @property
    def cpu_per_operation(self) -> float:
        """Of all the watched processes together."""
        return sum(self.cpu) / self.operations
