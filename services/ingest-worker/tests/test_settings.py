"""What the worker can be told, and what it can not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ingest_worker.settings import WorkerSettings
from service_kit.bus import INGEST_ACK_WAIT_SECONDS


def test_frames_in_hand_are_kept_alive_well_within_the_ack_wait() -> None:
    settings = WorkerSettings(database_url="postgresql:///x")
    assert settings.keep_alive_seconds < INGEST_ACK_WAIT_SECONDS / 2


@pytest.mark.parametrize("seconds", [INGEST_ACK_WAIT_SECONDS / 2, INGEST_ACK_WAIT_SECONDS, 0.0])
def test_a_keep_alive_that_comes_too_late_is_refused(seconds: float) -> None:
    with pytest.raises(ValidationError, match="keep_alive_seconds"):
        WorkerSettings(database_url="postgresql:///x", keep_alive_seconds=seconds)
