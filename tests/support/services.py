"""The services of this repository as processes, each with its settings as it is started in `make up` and in tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from support import http
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess


class ServiceProcess(ManagedProcess):
    """One process of a service: `python -m <module>`, settings in its environment, ready when `/readyz` says so.

    Args:
        module: the service's package.
        prefix: what its environment variables begin with.
        settings: its settings, by their names without the prefix.
        ops_port: where `/metrics`, `/livez` and `/readyz` are; a free port if None.
        name: how it is called in messages.
        log_file: where its output goes.
    """

    def __init__(
        self,
        module: str,
        prefix: str,
        settings: Mapping[str, object],
        *,
        name: str,
        log_file: Path,
        ops_port: int | None = None,
    ) -> None:
        self.ops_port = ops_port or free_port()
        named = {"OPS_HOST": LOOPBACK, "OPS_PORT": self.ops_port, **settings}
        super().__init__(
            name,
            [sys.executable, "-m", module],
            env={"PYTHONUNBUFFERED": "1", **{f"{prefix}{key}": str(value) for key, value in named.items()}},
            log_file=log_file,
            ready=self.is_ready,
            # Above the longest drain.
            stop_timeout=40.0,
        )

    @property
    def ops_url(self) -> str:
        """Where `/metrics`, `/livez` and `/readyz` are."""
        return f"http://{LOOPBACK}:{self.ops_port}"

    def is_ready(self) -> bool:
        """Ask `/readyz`."""
        return http.get(f"{self.ops_url}/readyz").status == 200

    def metrics(self) -> dict[str, float]:
        """Return every sample of `/metrics`, by name with labels as it is written there."""
        lines = http.get(f"{self.ops_url}/metrics").text.splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


class GatewayProcess(ServiceProcess):
    """One stream gateway."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object],
        *,
        log_file: Path,
        port: int | None = None,
        ops_port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        super().__init__(
            "stream_gateway",
            "GATEWAY_",
            {"ID": name, "HOST": LOOPBACK, "PORT": self.port, **settings},
            name=name,
            log_file=log_file,
            ops_port=ops_port,
        )

    @property
    def address(self) -> str:
        """Where it takes gRPC calls, as host:port."""
        return f"{LOOPBACK}:{self.port}"


class ApiProcess(ServiceProcess):
    """One command API."""

    def __init__(
        self,
        name: str,
        settings: Mapping[str, object],
        *,
        log_file: Path,
        port: int | None = None,
        ops_port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        super().__init__(
            "command_api",
            "API_",
            {"HOST": LOOPBACK, "PORT": self.port, **settings},
            name=name,
            log_file=log_file,
            ops_port=ops_port,
        )

    @property
    def address(self) -> str:
        """Where it takes HTTP calls, as host:port."""
        return f"{LOOPBACK}:{self.port}"


class WorkerProcess(ServiceProcess):
    """One ingest worker."""

    def __init__(
        self, name: str, settings: Mapping[str, object], *, log_file: Path, ops_port: int | None = None
    ) -> None:
        super().__init__("ingest_worker", "WORKER_", settings, name=name, log_file=log_file, ops_port=ops_port)
