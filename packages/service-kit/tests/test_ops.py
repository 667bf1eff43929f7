from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from service_kit.ops import OpsServer


@pytest.fixture
def state() -> dict[str, bool]:
    return {"live": True, "ready": False}


@pytest.fixture
def url(state: dict[str, bool]) -> Iterator[str]:
    registry = CollectorRegistry()
    Counter("things", "Counted things.", registry=registry).inc(3)
    server = OpsServer("127.0.0.1", 0, live=lambda: state["live"], ready=lambda: state["ready"], registry=registry)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_live_and_ready_mean_different_things(url: str, state: dict[str, bool]) -> None:
    assert httpx.get(f"{url}/livez").status_code == 200
    assert httpx.get(f"{url}/readyz").status_code == 503
    state.update(live=False, ready=True)
    assert httpx.get(f"{url}/livez").status_code == 503
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_metrics_are_served(url: str) -> None:
    assert "things_total 3.0" in httpx.get(f"{url}/metrics").text


def test_other_paths_are_not_found(url: str) -> None:
    assert httpx.get(f"{url}/admin").status_code == 404
