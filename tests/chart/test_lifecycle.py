"""How pods start, are asked whether they are well, and stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.envoy import CHART
from support.helm import Object, containers_of, find, of_kind, pod_of, render

VALUE_FILES = [*sorted((CHART / "ci").glob("*.yaml")), CHART / "values-production.yaml"]
each_file = pytest.mark.parametrize("file", VALUE_FILES, ids=lambda file: file.stem)


def deployment(name: str, file: Path | None = None) -> Object:
    objects = render(file) if file else render()
    found = [each for each in of_kind(objects, "Deployment") if each["metadata"]["name"].endswith(f"-{name}")]
    assert len(found) == 1
    return found[0]


def main_container(name: str, file: Path | None = None) -> Object:
    container: Object = deployment(name, file)["spec"]["template"]["spec"]["containers"][0]
    return container


def environment(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}


def pre_stop_seconds(container: Object) -> int:
    command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["0"])
    return int(command[-1].split()[-1])


def test_everything_that_runs_on_is_asked_three_things() -> None:
    for workload in of_kind(render(), "Deployment", "StatefulSet"):
        (container,) = pod_of(workload)["spec"]["containers"]
        startup, liveness, readiness = (container[f"{what}Probe"] for what in ("startup", "liveness", "readiness"))
        assert startup["failureThreshold"] * startup["periodSeconds"] >= 60
        assert {"initialDelaySeconds"}.isdisjoint(startup | liveness | readiness)
        asked = {
            what: {k: v for k, v in probe.items() if k in {"httpGet", "grpc", "exec", "tcpSocket"}}
            for what, probe in (("liveness", liveness), ("readiness", readiness))
        }
        assert asked["liveness"] != asked["readiness"]


def test_an_outage_of_what_is_behind_kills_nobody() -> None:
    for name in ("gateway", "api", "worker", "envoy"):
        # Answered by the process about itself alone.
        assert main_container(name)["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}


def test_the_gateway_is_ready_when_envoy_thinks_so() -> None:
    readiness = main_container("gateway")["readinessProbe"]["grpc"]
    config = yaml.safe_load(find(render(), "ConfigMap", "crypto-envoy")["data"]["envoy.yaml"])
    services = {
        check["grpc_health_check"]["service_name"]
        for cluster in config["static_resources"]["clusters"]
        for check in cluster.get("health_checks", [])
    }
    assert services == {readiness["service"]}
    assert readiness["port"] == int(environment(main_container("gateway"))["GATEWAY_PORT"])


@each_file
@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("gateway", "GATEWAY_DRAIN_SECONDS"),
        ("api", "API_SHUTDOWN_TIMEOUT"),
        ("worker", "WORKER_STOP_SECONDS"),
        ("envoy", None),
    ],
)
def test_a_pod_is_not_killed_while_it_leaves(file: Path, name: str, variable: str | None) -> None:
    container = main_container(name, file)
    grace = deployment(name, file)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    own = float(environment(container)[variable]) if variable else 0.0
    assert grace >= pre_stop_seconds(container) + own + 5


def test_one_value_moves_all_that_belongs_together() -> None:
    objects = render(values={"gateway.drainSeconds": 90, "gateway.preStopSeconds": 7})
    spec = find(objects, "Deployment", "crypto-gateway")["spec"]["template"]["spec"]
    assert environment(spec["containers"][0])["GATEWAY_DRAIN_SECONDS"] == "90"
    assert pre_stop_seconds(spec["containers"][0]) == 7
    assert spec["terminationGracePeriodSeconds"] == 102


def test_envoy_has_no_connection_to_the_api_left_when_it_stops() -> None:
    config = yaml.safe_load(find(render(), "ConfigMap", "crypto-envoy")["data"]["envoy.yaml"])
    (api,) = [each for each in config["static_resources"]["clusters"] if each["name"] == "api"]
    protocol = api["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    age = protocol["common_http_protocol_options"]["max_connection_duration"]
    assert float(age.removesuffix("s")) < pre_stop_seconds(main_container("api"))


def test_updates_take_away_nothing_before_its_successor_is_there() -> None:
    for each in of_kind(render(), "Deployment"):
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_new_configuration_starts_new_pods() -> None:
    def checksums(**values: Any) -> dict[str, str]:
        return {
            name: find(objects, kind, f"crypto-{name}")["spec"]["template"]["metadata"]["annotations"][
                "checksum/config"
            ]
            for objects in [render(values=values)]
            for kind, name in (("Deployment", "envoy"), ("StatefulSet", "nats"))
        }

    before = checksums()
    assert checksums() == before
    other_envoy = checksums(**{"envoy.commands.defaultTimeout": "61s"})
    assert (other_envoy["envoy"] != before["envoy"], other_envoy["nats"]) == (True, before["nats"])
    assert checksums(**{"nats.bundled.syncInterval": "10s"})["nats"] != before["nats"]


def test_another_server_starts_new_pods() -> None:
    def checksums(password: str) -> dict[str, str]:
        values = {"nats.url": f"nats://user:{password}@nats:4222", "postgres.url": "postgresql://db/crypto"}
        return {
            each["metadata"]["name"]: pod_of(each)["metadata"]["annotations"]["checksum/servers"]
            for each in of_kind(render(values=values), "Deployment")
            if not each["metadata"]["name"].endswith("-envoy")
        }

    # The Secret keeps its name, so that nothing else in the pods would change.
    before, after = checksums("old"), checksums("new")
    assert before.keys() == after.keys() == {"crypto-gateway", "crypto-api", "crypto-worker"}
    assert all(before[name] != after[name] for name in before)


def test_pods_of_a_lost_node_come_back_soon() -> None:
    for each in of_kind(render(values={"nodeLossSeconds": 45}), "Deployment"):
        lost = {
            toleration["key"]: toleration["tolerationSeconds"] for toleration in pod_of(each)["spec"]["tolerations"]
        }
        assert lost == {"node.kubernetes.io/not-ready": 45, "node.kubernetes.io/unreachable": 45}
    # Two pods must never write to one volume: theirs are left to people.
    for each in of_kind(render(), "StatefulSet"):
        assert "tolerations" not in pod_of(each)["spec"]


def test_a_chart_version_alone_starts_no_pod() -> None:
    for workload in of_kind(render(), "Deployment", "StatefulSet"):
        labels = pod_of(workload)["metadata"]["labels"]
        assert {"helm.sh/chart", "app.kubernetes.io/version"}.isdisjoint(labels)


def test_the_schema_comes_first() -> None:
    objects = render()
    job = find(objects, "Job", "crypto-migrate-1")
    # A hook would wait for a database that is not installed yet, or be waited for by pods that wait for it.
    assert "annotations" not in job["metadata"]
    assert [each["args"] for each in containers_of(pod_of(job))] == [
        ["manage", "wait_for_database"],
        ["manage", "migrate", "--no-input"],
    ]
    for name, arguments in (("api", ["manage", "wait_for_database", "--migrated"]), ("worker", ["wait"])):
        (first,) = find(objects, "Deployment", f"crypto-{name}")["spec"]["template"]["spec"]["initContainers"]
        assert first["args"] == arguments


def test_another_role_may_migrate() -> None:
    job = find(render(CHART / "ci" / "external-values.yaml"), "Job", "crypto-migrate-1")
    for container in containers_of(pod_of(job)):
        (variable,) = container["env"]
        assert variable["valueFrom"]["secretKeyRef"] == {"name": "crypto-owner", "key": "uri"}


def test_the_test_is_no_part_of_the_release() -> None:
    pod = find(render(), "Pod", "crypto-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert find(render(), "ConfigMap", "crypto-test")["data"]["smoke.py"] == (CHART / "files" / "smoke.py").read_text()
