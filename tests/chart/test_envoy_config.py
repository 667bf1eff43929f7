"""Envoy accepts the configuration that the chart makes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.envoy import EnvoyProxy, envoy_binary, render_config

ADDRESSES = (["127.0.0.1:50051", "127.0.0.1:50052"], "127.0.0.1:8000")


def parsed(config: str) -> dict[str, Any]:
    return yaml.safe_load(config)


def test_envoy_accepts_the_configuration_for_local_processes(tmp_path: Path) -> None:
    EnvoyProxy(*ADDRESSES, tmp_path).validate()


def test_envoy_accepts_the_configuration_for_the_cluster(tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(render_config({}, tmp_path / "values.json"))
    result = subprocess.run(
        [envoy_binary(), "--mode", "validate", "--config-path", config], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_an_invalid_value_is_not_accepted(tmp_path: Path) -> None:
    # Well formed, so that it is Envoy that refuses it.
    proxy = EnvoyProxy(*ADDRESSES, tmp_path, values={"health.timeout": "0s"})
    with pytest.raises(AssertionError, match="Timeout"):
        proxy.validate()


def test_large_limits_are_written_as_whole_numbers(tmp_path: Path) -> None:
    limits = {
        "streams.maxStreams": 3_000_000,
        "streams.maxStreamsPerConnection": 2_000_000,
        "streams.maxConnections": 1_000_000,
        "commands.maxRequests": 1_000_000,
        "overload.maxHeapBytes": 2**34,
        "rest.maxRequestBytes": 2**24,
        "edge.maxConcurrentStreams": 1_000_000,
    }
    config = render_config(limits, tmp_path / "values.json")
    assert "e+" not in config
    streams = next(each for each in parsed(config)["static_resources"]["clusters"] if each["name"] == "gateway_streams")
    assert streams["circuit_breakers"]["thresholds"][0]["max_requests"] == 3_000_000
    proxy = EnvoyProxy(*ADDRESSES, tmp_path, values=limits)
    proxy.validate()


def test_no_route_to_a_gateway_retries(tmp_path: Path) -> None:
    config = parsed(render_config({}, tmp_path / "values.json"))
    routes = [
        route
        for listener in config["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for host in chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        for route in host["routes"]
        if route.get("route", {}).get("cluster", "").startswith("gateway_")
    ]
    assert len(routes) == 6
    for route in routes:
        assert "retry_policy" not in route["route"]
        # The default of 15 s is replaced on every one.
        assert route["route"]["timeout"] == "0s"


def test_the_admin_port_is_on_the_loopback_address_whatever_the_values(tmp_path: Path) -> None:
    addresses = {f"{listener}.address": "0.0.0.0" for listener in ("edge", "internal", "ops")}
    config = parsed(render_config(addresses, tmp_path / "values.json"))
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
