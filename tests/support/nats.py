"""A NATS server with JetStream, as a process."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

from support import http
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess, scratch_directory

# Streams reserve their max_bytes out of this; it is a limit, nothing is allocated. Without it the limit is a share of
# the disk that happens to be free.
_MAX_FILE_STORE = "10TB"


class NatsServer(ManagedProcess):
    """One NATS server; its files survive restarts and kills.

    Args:
        directory: home of its configuration, log and JetStream files; a temporary one if None.
        port: where clients connect; a free one if None.
        monitor_port: where it answers HTTP (`/healthz`, `/varz`, `/jsz`, `/connz`); a free one if None.
        name: how it is called in messages.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        monitor_port: int | None = None,
        name: str = "nats",
        log_file: Path | None = None,
    ) -> None:
        self.directory = directory or scratch_directory(name)
        self.port = port or free_port()
        self.monitor_port = monitor_port or free_port()
        super().__init__(
            name,
            [Path(sysconfig.get_path("scripts")) / "nats-server", "--config", self.directory / "nats.conf"],
            log_file=log_file or self.directory / "nats.log",
            ready=self._is_healthy,
        )

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{LOOPBACK}:{self.monitor_port}"

    def before_launch(self) -> None:
        """Write the configuration."""
        store = self.directory / "jetstream"
        store.mkdir(parents=True, exist_ok=True)
        lines = (
            f"listen: {LOOPBACK}:{self.port}",
            f"http: {LOOPBACK}:{self.monitor_port}",
            f"server_name: {json.dumps(self.name)}",
            f"jetstream: {{ store_dir: {json.dumps(str(store))}, max_file_store: {_MAX_FILE_STORE} }}",
            # A gateway that is frozen or cut off holds up nobody else for longer than this.
            "write_deadline: 10s",
        )
        (self.directory / "nats.conf").write_text("\n".join(lines) + "\n")

    def _is_healthy(self) -> bool:
        return http.get(f"{self.monitor_url}/healthz").status == 200
