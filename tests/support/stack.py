"""The whole system as real processes: what tests, `make up`, `make demo` and `make bench` start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from support.envoy import EnvoyProxy
from support.migrations import migrate
from support.nats import NatsServer
from support.postgres import PostgresServer
from support.processes import ManagedProcess, remove_directory, scratch_directory, stop_in_stages
from support.services import ApiProcess, GatewayProcess, WorkerProcess

DATABASE = "crypto"
_GATEWAY_PORTS = ("gateway", "gateway_ops")


@dataclass(frozen=True)
class StackOptions:
    """What a stack consists of."""

    gateways: int = 2
    """Gateway replicas."""

    workers: int = 1
    """Ingest workers."""

    durable: bool = False
    """Whether PostgreSQL waits for the disk at each commit. Killed processes lose nothing either way."""

    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    """Fixed ports, by name (see `port_names`); free ones for the rest."""

    gateway_settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Settings of every gateway that differ from its own, by name without `GATEWAY_`."""

    worker_settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Likewise for workers, without `WORKER_`."""

    api_settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Likewise for the API, without `API_`."""

    envoy_values: Mapping[str, object] = field(default_factory=dict[str, object])
    """Values of the chart's `envoy` key that differ from its own, by dotted name."""

    def port_names(self) -> list[str]:
        """Name every port of the stack."""
        names = ["edge", "internal", "admin", "postgres", "nats", "nats_monitor", "api", "api_ops"]
        names += [f"{kind}_{number}" for number in range(1, self.gateways + 1) for kind in _GATEWAY_PORTS]
        return names + [f"worker_ops_{number}" for number in range(1, self.workers + 1)]


class Stack:
    """PostgreSQL, NATS, the gateways, the API, the workers and Envoy.

    Each process is an attribute, and can be stopped, killed, paused and started again: it keeps its ports.

    Args:
        options: what it consists of.
        directory: home of data and logs, kept when the stack stops; a temporary one, removed then, if None.
    """

    def __init__(self, options: StackOptions | None = None, directory: Path | None = None) -> None:
        self.options = options = options or StackOptions()
        self._temporary = directory is None
        self.directory = directory or scratch_directory("stack")
        self.logs = self.directory / "logs"
        ports = options.ports
        self.postgres = PostgresServer(
            None if self._temporary else self.directory / "postgres",
            port=ports.get("postgres"),
            durable=options.durable,
            log_file=self.logs / "postgres.log",
        )
        self.nats = NatsServer(
            self.directory / "nats",
            port=ports.get("nats"),
            monitor_port=ports.get("nats_monitor"),
            log_file=self.logs / "nats.log",
        )
        self.gateways = [
            GatewayProcess(
                f"gateway-{number}",
                {"NATS_URL": self.nats.url, **options.gateway_settings},
                port=ports.get(f"gateway_{number}"),
                ops_port=ports.get(f"gateway_ops_{number}"),
                log_file=self.logs / f"gateway-{number}.log",
            )
            for number in range(1, options.gateways + 1)
        ]
        self.workers = [
            WorkerProcess(
                f"worker-{number}",
                {"NATS_URL": self.nats.url, "DATABASE_URL": self.database_url, **options.worker_settings},
                ops_port=ports.get(f"worker_ops_{number}"),
                log_file=self.logs / f"worker-{number}.log",
            )
            for number in range(1, options.workers + 1)
        ]
        # The API and Envoy know each other's address.
        api_settings = {"DATABASE_URL": self.database_url, "OPEN_ON_LOOPBACK": "true"}
        self.api = ApiProcess(
            "api",
            api_settings | dict(options.api_settings),
            port=ports.get("api"),
            ops_port=ports.get("api_ops"),
            log_file=self.logs / "api.log",
        )
        self.envoy = EnvoyProxy(
            [gateway.address for gateway in self.gateways],
            self.api.address,
            self.directory / "envoy",
            edge_port=ports.get("edge"),
            internal_port=ports.get("internal"),
            admin_port=ports.get("admin"),
            values=options.envoy_values,
            log_file=self.logs / "envoy.log",
        )
        self.api.env["API_GATEWAY_ADDRESS"] = self.envoy.internal_address

    @property
    def worker(self) -> WorkerProcess:
        """The first worker."""
        return self.workers[0]

    @property
    def database_url(self) -> str:
        """Where the system's tables are."""
        return self.postgres.url(DATABASE)

    @property
    def edge_address(self) -> str:
        """Where clients connect, as host:port."""
        return self.envoy.edge_address

    @property
    def edge_url(self) -> str:
        """Where REST calls go."""
        return self.envoy.edge_url

    @property
    def internal_address(self) -> str:
        """Where command RPCs go, as host:port."""
        return self.envoy.internal_address

    @property
    def processes(self) -> list[ManagedProcess]:
        """Every process, in the order of dependency."""
        return [self.postgres, self.nats, *self.gateways, *self.workers, self.api, self.envoy]

    def start(self, said: Callable[[str], None] = lambda _: None) -> None:
        """Start everything, and wait until a call through Envoy would reach every gateway and the API.

        Args:
            said: called with a word on each step.

        Raises:
            ProcessFailedError: something did not start; nothing runs any more.
        """
        with ExitStack() as undo:
            undo.callback(self.kill)
            said("PostgreSQL and NATS")
            self.postgres.launch()
            self.nats.launch()
            self.postgres.wait_ready()
            self.nats.wait_ready()
            # What needs no database starts beside the migrations.
            said("the gateways and Envoy")
            for process in (*self.gateways, self.envoy):
                process.launch()
            said("the schema")
            if not self.postgres.has_database(DATABASE):
                self.postgres.create_database(DATABASE)
            migrate(self.database_url)
            said("the workers and the API")
            for process in (*self.workers, self.api):
                process.launch()
            for process in (*self.gateways, *self.workers, self.api, self.envoy):
                process.wait_ready()
            said("every gateway's health")
            self.envoy.wait_healthy()
            undo.pop_all()

    def stop(self) -> None:
        """Stop everything in order, what depends on others first.

        Raises:
            ProcessFailedError: something did not stop in time; nothing runs any more.
        """
        try:
            stop_in_stages(self.stop_stages)
        finally:
            self.kill()
            if self._temporary:
                self._remove()

    @property
    def stop_stages(self) -> list[Sequence[ManagedProcess]]:
        """In which order they stop."""
        return [[self.api], self.gateways, self.workers, [self.envoy], [self.nats], [self.postgres]]

    def kill(self) -> None:
        """Kill every process."""
        for process in reversed(self.processes):
            process.kill9()

    def _remove(self) -> None:
        remove_directory(self.directory)
        remove_directory(self.postgres.data_directory.parent)
