"""The durable log's records (see `protos/streaming/frames/v1/frame.proto`)."""

from __future__ import annotations

from ._proto.frame_pb2 import (
    Frame,
    FrameEntry,
    Presence,
    PresenceSnapshot,
    Rejected,
    SessionClosed,
    SessionOpened,
)

__all__ = ["Frame", "FrameEntry", "Presence", "PresenceSnapshot", "Rejected", "SessionClosed", "SessionOpened"]
