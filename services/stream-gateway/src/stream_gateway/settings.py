"""What the gateway can be told (environment variables `GATEWAY_*`)."""

from __future__ import annotations

import re
import secrets
import socket
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from service_kit.settings import NatsSettings, ServiceSettings


class GatewaySettings(ServiceSettings, NatsSettings):
    """Settings of the stream gateway."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    host: str = "127.0.0.1"
    """Address the gRPC port listens on."""

    port: int = Field(default=0, ge=0, le=65535)
    """The gRPC port; 0 takes a free one and logs it."""

    id: str = ""
    """Name of this gateway in logs, frames and the session directory; empty = the host's name. A random suffix is
    added at each start, so that a restarted gateway is not taken for its predecessor."""

    grpc_handlers: str = ""
    """`package.module:function` of an application that adds its own servicers: it is called with the server before
    the server starts. Empty = none."""

    heartbeat_seconds: float = Field(default=30.0, gt=0)
    """How often a client is expected to say something; announced in Welcome."""

    liveness_seconds: float = Field(default=90.0, gt=0)
    """A client silent for longer than this is gone."""

    register_seconds: float = Field(default=10.0, gt=0)
    """How long a new stream may take to send its first message."""

    presence_seconds: float = Field(default=10.0, gt=0)
    """How often the snapshot of connected clients is published."""

    command_seconds: float = Field(default=15.0, gt=0)
    """How long ExecuteCommandSync waits when the call has no deadline."""

    max_message_bytes: int = Field(default=256 * 1024, ge=1024, le=512 * 1024)
    """A larger message is dead-lettered with its beginning, length and hash."""

    window_messages: int = Field(default=2048, ge=1)
    """Reports without a receipt that a client with receipts may have under way."""

    window_bytes: int = Field(default=1024 * 1024, ge=512 * 1024)
    """Bytes of reports without a receipt that a client with receipts may have under way."""

    stream_budget_bytes: int = Field(default=2 * 1024 * 1024, ge=512 * 1024)
    """Bytes not yet durable of one stream, above which it is not read from: backpressure for clients without
    receipts, and the last bound for all."""

    process_budget_bytes: int = Field(default=128 * 1024 * 1024, ge=1024 * 1024)
    """Bytes not yet durable of all streams, above which streams without receipts are not read from; at twice as much
    none is."""

    outbox_messages: int = Field(default=256, ge=1)
    """Commands that may wait to be written to one client; beyond: CLIENT_OVERLOADED."""

    frame_linger_seconds: float = Field(default=0.025, ge=0)
    """How long an entry that nobody waits for (an ack, a report without receipts) may wait for company."""

    lease_seconds: float = Field(default=3.0, gt=0.5)
    """How long this gateway trusts its sessions without word from NATS."""

    evict_seconds: float = Field(default=3.5, gt=0.5)
    """How long a new session waits for an old holder that does not answer. Above `lease_seconds`: by then the old
    holder has stopped trusting its session."""

    drain_seconds: float = Field(default=20.0, gt=0)
    """From SIGTERM to exit, at most."""

    drain_settle_seconds: float = Field(default=2.0, ge=0)
    """From SIGTERM until the first client is asked to leave: time for Envoy to notice."""

    reconnect_delay_seconds: float = Field(default=1.0, ge=0)
    """Upper bound of the random delay that a drained client is asked to wait before it connects again."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.evict_seconds <= self.lease_seconds:
            raise ValueError("evict_seconds must be above lease_seconds")
        if self.liveness_seconds <= self.heartbeat_seconds:
            raise ValueError("liveness_seconds must be above heartbeat_seconds")
        if min(self.window_bytes, self.stream_budget_bytes) < self.max_message_bytes:
            raise ValueError("window_bytes and stream_budget_bytes must hold a message of max_message_bytes")
        return self

    def make_gateway_id(self) -> str:
        """The name of this process: host or configured name, made safe for a NATS token, and a random suffix."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.id or socket.gethostname()) or "gateway"
        return f"{name[:40]}-{secrets.token_hex(4)}"
