"""What the chart starts all at once waits for what it needs: the commands of its init containers and its Job."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from support.helm import containers_of, find, pod_of, render
from support.ports import LOOPBACK, free_port
from support.postgres import PostgresServer
from support.processes import ManagedProcess, remove_directory
from support.waiting import eventually

MODULES = {"api": "command_api", "worker": "ingest_worker"}


def starter(kind: str, name: str, module: str, database_url: str, directory: Path) -> ManagedProcess:
    """The first container of a pod, as a process."""
    container = next(containers_of(pod_of(find(render(), kind, name))))
    (variable,) = container["env"]
    return ManagedProcess(
        name,
        [sys.executable, "-m", module, *container["args"]],
        env={variable["name"]: database_url, "PYTHONUNBUFFERED": "1"},
        log_file=directory / f"{name}.log",
    )


def test_everything_waits_for_the_database_and_its_schema(tmp_path: Path) -> None:
    server = PostgresServer()
    url = server.url("late")
    job = starter("Job", "crypto-migrate-1", "command_api", url, tmp_path)
    others = [starter("Deployment", f"crypto-{name}", module, url, tmp_path) for name, module in MODULES.items()]
    try:
        for each in (job, *others):
            each.launch()
        for each in (job, *others):
            eventually(lambda each=each: "refused" in each.log_file.read_text())
        server.start()
        server.create_database("late")
        assert job.wait(30) == 0
        assert all(each.is_running for each in others)
        (migrate,) = pod_of(find(render(), "Job", "crypto-migrate-1"))["spec"]["containers"]
        migration = ManagedProcess(
            "migrate",
            [sys.executable, "-m", "command_api", *migrate["args"]],
            env={"API_DATABASE_URL": url},
            log_file=tmp_path / "migrate.log",
        )
        # Twice, as a rollback does.
        for _ in range(2):
            migration.launch()
            assert migration.wait(60) == 0, migration.log_tail()
        assert [each.wait(30) for each in others] == [0, 0]
    finally:
        for each in (job, *others):
            each.kill9()
        server.stop()
        remove_directory(server.data_directory.parent)


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_a_pod_that_is_not_wanted_any_more_waits_no_longer(name: str, module: str, tmp_path: Path) -> None:
    url = f"postgresql://crypto@{LOOPBACK}:{free_port()}/nothing"
    process = starter("Deployment", f"crypto-{name}", module, url, tmp_path)
    process.launch()
    eventually(lambda: "refused" in process.log_file.read_text())
    process.request_stop()
    assert process.wait(10) == 1


def test_processes_are_asked_to_stop_as_kubernetes_does() -> None:
    dockerfile = (Path(__file__).resolve().parents[2] / "Dockerfile").read_text()
    assert f"STOPSIGNAL {signal.SIGTERM.name}" in dockerfile
