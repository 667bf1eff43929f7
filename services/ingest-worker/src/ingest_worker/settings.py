"""What the worker can be told (environment variables `WORKER_*`)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from service_kit.bus import INGEST_ACK_WAIT_SECONDS
from service_kit.settings import NatsSettings, ServiceSettings


class WorkerSettings(ServiceSettings, NatsSettings):
    """Settings of the ingest worker."""

    model_config = SettingsConfigDict(env_prefix="WORKER_")

    database_url: str
    """Where PostgreSQL is, as a libpq URL."""

    batch_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Frames of about so many bytes make a batch, which is one database transaction unless it has too many rows."""

    batch_rows: int = Field(default=10_000, ge=1)
    """One database transaction writes at most so many rows."""

    batch_frames: int = Field(default=500, ge=1, le=5000)
    """A batch has at most so many frames. All workers together must stay below the consumer's `max_ack_pending`."""

    batch_seconds: float = Field(default=0.05, ge=0)
    """How long the first frame of a batch may wait for company."""

    fetch_seconds: float = Field(default=0.5, gt=0.01)
    """How long one request for frames waits when there are none; so long a stop may take to be noticed."""

    suspect_deliveries: int = Field(default=5, ge=1)
    """A frame that was delivered more often is written in a transaction of its own."""

    keep_alive_seconds: float = Field(default=3.0, gt=0, lt=INGEST_ACK_WAIT_SECONDS / 2)
    """How often JetStream is told that the frames in hand are still being worked on. Below half of the consumer's ack
    wait, so that one late word does not make it deliver them again."""

    backoff_seconds: float = Field(default=5.0, gt=0)
    """Upper bound of the (random) pause between two attempts while the database is out."""

    statement_seconds: float = Field(default=60.0, gt=0)
    """A statement that takes longer is given up and tried again; the second time with half of the rows, and so on."""

    stop_seconds: float = Field(default=20.0, gt=0)
    """How long SIGTERM lets the batch in hand take. Frames that are not written by then are delivered again. Whatever
    does not answer, the process ends ten seconds later at the latest: keep the orchestrator's grace period above."""

    presence_seconds: float = Field(default=1.0, gt=0)
    """How often what the gateways' presence snapshots say is written."""

    lag_seconds: float = Field(default=5.0, gt=0)
    """How often the backlog is asked for, for the metrics."""
