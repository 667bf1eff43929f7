"""Fixtures of the gateway's integration tests: gateway processes on a real NATS, without the rest of the system."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support.bare_client import BareCaller
from support.frame_log import FrameLog
from support.http import get
from support.nats import NatsServer
from support.processes import remove_directory, scratch_directory
from support.services import GatewayProcess

_numbers = itertools.count(1)
StartGateway = Callable[..., GatewayProcess]


@dataclass
class GatewayPair:
    """Two gateways that know each other, somebody who calls at each, and their log."""

    gateways: list[GatewayProcess]
    callers: list[BareCaller]
    log: FrameLog
    namespace: str

    def addresses(self) -> list[str]:
        """Where clients connect."""
        return [gateway.address for gateway in self.gateways]

    def total(self, metric: str) -> float:
        """A metric's value, summed over both gateways."""
        return sum(gateway.metrics().get(metric, 0.0) for gateway in self.gateways)


@pytest.fixture(scope="module")
def gateway_pair(nats_server: NatsServer) -> Iterator[GatewayPair]:
    """Two healthy gateways, shared by the tests of a module: they are not to be hurt."""
    directory = scratch_directory("gateways")
    namespace = f"p{os.getpid()}_{next(_numbers)}"
    settings = {
        "NATS_URL": nats_server.url,
        "NATS_NAMESPACE": namespace,
        "COMMAND_SECONDS": 1.0,
        "OUTBOX_MESSAGES": 4,
        "PRESENCE_SECONDS": 0.3,
        "REGISTER_SECONDS": 1.0,
        "WINDOW_MESSAGES": 20,
        "DRAIN_SECONDS": 3.0,
    }
    gateways = [
        GatewayProcess(f"gateway-{number}", settings, log_file=directory / f"{number}.log") for number in (1, 2)
    ]
    try:
        for gateway in gateways:
            gateway.launch()
        for gateway in gateways:
            gateway.wait_ready()
        callers = [BareCaller(gateway.address) for gateway in gateways]
        yield GatewayPair(gateways, callers, FrameLog(nats_server.url, namespace), namespace)
        for caller in callers:
            caller.close()
        for gateway in gateways:
            gateway.request_stop()
        for gateway in gateways:
            assert gateway.stop() == 0
    finally:
        for gateway in gateways:
            gateway.kill9()
        remove_directory(directory)


@pytest.fixture
def start_gateway(nats_server: NatsServer, nats_namespace: str) -> Iterator[StartGateway]:
    """Start gateways of the test's own, to be hurt: `start_gateway(NATS_URL=…, LEASE_SECONDS=…)`.

    They share a namespace. `ready=False` does not wait for them.
    """
    directory = scratch_directory("gateways")
    started: list[GatewayProcess] = []

    def start(*, ready: bool = True, **settings: object) -> GatewayProcess:
        name = f"gateway-{len(started) + 1}"
        defaults: dict[str, object] = {
            "NATS_URL": nats_server.url,
            "NATS_NAMESPACE": nats_namespace,
            "DRAIN_SECONDS": 3.0,
            "DRAIN_SETTLE_SECONDS": 0.1,
        }
        gateway = GatewayProcess(name, defaults | settings, log_file=directory / f"{name}.log")
        started.append(gateway)
        gateway.launch()
        if ready:
            gateway.wait_ready()
        return gateway

    yield start
    for gateway in started:
        gateway.kill9()
    remove_directory(directory)


@pytest.fixture
def nats_subscriptions(nats_server: NatsServer) -> Callable[[], int]:
    """How many subscriptions the shared NATS server knows."""

    def count() -> int:
        return int(json.loads(get(f"{nats_server.monitor_url}/varz").text)["subscriptions"])

    return count
