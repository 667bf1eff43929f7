"""What the chart makes is what Kubernetes accepts, and hangs together."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils
from pydantic_settings import BaseSettings
from referencing import Registry, Resource
from support.envoy import CHART
from support.helm import WORKLOADS, Object, component_of, containers_of, find, of_kind, pod_of, render, selects

VALUE_FILES = [*sorted((CHART / "ci").glob("*.yaml")), CHART / "values-production.yaml"]
VERSIONS = ["1.29", "1.32", kubernetes_validate.latest_version()]
# Of operators and the Gateway API: Kubernetes itself has no schema for them.
CUSTOM = {"HTTPRoute", "GRPCRoute", "PodMonitor", "ScaledObject"}
OURS = {"gateway", "api", "worker", "migrate", "test"}
SETTINGS = {
    "GATEWAY_": ("stream_gateway.settings", "GatewaySettings"),
    "WORKER_": ("ingest_worker.settings", "WorkerSettings"),
    "API_": ("command_api.settings", "ApiSettings"),
}

each_file = pytest.mark.parametrize("file", VALUE_FILES, ids=lambda file: file.stem)


def workloads(file: Path) -> Iterator[tuple[Object, Object]]:
    for workload in of_kind(render(file), *WORKLOADS):
        yield workload, pod_of(workload)


# kubernetes-validate reads its definitions anew for each object; that would take minutes here.
@functools.cache
def schema_version(version: str) -> str:
    return [each for each in utils.all_versions() if utils.major_minor(each) == utils.major_minor(version)][-1]


@functools.cache
def registry(version: str) -> Registry[Any]:
    definitions = utils.schema_contents(_schema_file(version, "_definitions"), version)
    return Resource.from_contents(definitions) @ Registry()


@functools.cache
def validator(kind: str, api_version: str, version: str) -> Any:
    # As kubernetes-validate names its files: the first part of the group, and the version.
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = utils.schema_contents(_schema_file(version, f"{kind.lower()}-{short}"), version)
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry(version))


def _schema_file(version: str, name: str) -> str:
    return f"kubernetes-json-schema/v{schema_version(version)}-local-strict/{name}.json"


def test_the_validator_is_strict() -> None:
    deployment = find(render(), "Deployment", "crypto-gateway")
    checker = validator("Deployment", "apps/v1", "1.32")
    assert not list(checker.iter_errors(deployment))
    assert list(checker.iter_errors(deployment | {"spec": deployment["spec"] | {"replica": 3}}))


@pytest.mark.parametrize("version", VERSIONS)
@each_file
def test_kubernetes_accepts_every_object(file: Path, version: str) -> None:
    for each in render(file):
        if each["kind"] not in CUSTOM:
            problems = validator(each["kind"], each["apiVersion"], version).iter_errors(each)
            assert [f"{each['kind']}: {problem.json_path}: {problem.message}" for problem in problems] == []


@each_file
def test_objects_are_named_once_and_labelled(file: Path) -> None:
    objects = render(file)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    for each in objects:
        assert each["metadata"]["namespace"] == "streams"
        assert {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component", "version", "managed-by")} <= (
            each["metadata"]["labels"].keys()
        )


def test_a_long_release_name_fits() -> None:
    for each in render(release="a" * 53):
        assert len(each["metadata"]["name"]) <= 58, each["metadata"]["name"]  # a Job's and Deployment's pods add some


@each_file
def test_no_variable_is_given_twice(file: Path) -> None:
    for _, pod in workloads(file):
        for container in containers_of(pod):
            names = [each["name"] for each in container.get("env", [])]
            assert len(names) == len(set(names))


@each_file
def test_services_are_given_settings_that_they_have(file: Path) -> None:
    checked = 0
    for _, pod in workloads(file):
        if component_of(pod) not in OURS:
            continue
        for container in containers_of(pod):
            for variable in container["env"]:
                assert variable["name"] in known_settings(), variable
                checked += 1
    assert checked > 20


@functools.cache
def known_settings() -> frozenset[str]:
    kinds: dict[str, type[BaseSettings]] = {
        prefix: getattr(importlib.import_module(module), name) for prefix, (module, name) in SETTINGS.items()
    }
    return frozenset((prefix + field).upper() for prefix, kind in kinds.items() for field in kind.model_fields)


@each_file
def test_pods_are_restricted(file: Path) -> None:
    """The "restricted" Pod Security Standard, and a little more."""
    for _, pod in workloads(file):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert ("runAsUser" in spec["securityContext"]) is (file.stem != "openshift-values")
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec)
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= {"emptyDir", "configMap", "secret"}
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"]
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"memory"}


@each_file
def test_services_can_write_to_tmp(file: Path) -> None:
    for _, pod in workloads(file):
        if component_of(pod) in OURS:
            volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
            for container in containers_of(pod):
                mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
                assert "emptyDir" in volumes[mounts["/tmp"]]


@each_file
def test_what_is_mounted_is_there(file: Path) -> None:
    objects = render(file)
    # Made outside the chart, where its values say so.
    secrets = {each["metadata"]["name"] for each in of_kind(objects, "Secret")}
    configs = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    for workload, pod in workloads(file):
        volumes = {each["name"] for each in pod["spec"].get("volumes", [])}
        volumes |= {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configs
        for container in containers_of(pod):
            assert {each["name"] for each in container.get("volumeMounts", [])} <= volumes
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and reference["name"].startswith("crypto-") and reference["name"] in secrets:
                    assert reference["key"] in find(objects, "Secret", reference["name"])["data"]


def test_the_chart_makes_every_secret_that_it_needs_by_itself() -> None:
    objects = render()
    named = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for workload in of_kind(objects, *WORKLOADS)
        for container in containers_of(pod_of(workload))
        for variable in container.get("env", [])
        if "valueFrom" in variable
    }
    assert named == {each["metadata"]["name"] for each in of_kind(objects, "Secret")}
    kept = find(objects, "Secret", "crypto-postgres")["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}


def test_existing_secrets_are_used_and_none_is_made() -> None:
    objects = render(CHART / "ci" / "bare-values.yaml")
    assert of_kind(objects, "Secret", "StatefulSet", "NetworkPolicy", "Job", "PodDisruptionBudget", "Pod") == []
    container = find(objects, "Deployment", "crypto-api")["spec"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each.get("valueFrom") for each in container["env"]}
    assert given["API_DATABASE_URL"] == {"secretKeyRef": {"name": "database", "key": "uri"}}
    assert given["API_SECRET_KEY"] == {"secretKeyRef": {"name": "api", "key": "secret-key"}}


@each_file
def test_selectors_find_pods_and_ports(file: Path) -> None:
    objects = render(file)
    pods = [pod for _, pod in workloads(file)]

    def selected(selector: Object) -> list[Object]:
        return [pod for pod in pods if selects(selector, pod["metadata"]["labels"])]

    for service in of_kind(objects, "Service"):
        (pod,) = selected({"matchLabels": service["spec"]["selector"]})
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert len(selected(budget["spec"]["selector"])) == 1
        # A minimum of one would forbid to drain the node of a single pod.
        assert "minAvailable" not in budget["spec"]
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        assert selected(workload["spec"]["selector"]) == [pod_of(workload)]
        # A selector can not be changed: nothing in it may depend on the version or on values.
        assert workload["spec"]["selector"]["matchLabels"].keys() == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }


@each_file
def test_an_autoscaler_decides_alone(file: Path) -> None:
    objects = render(file)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"] for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    }
    assert bool(scaled) is (file.stem == "autoscaling-values")
    for each in of_kind(objects, "Deployment"):
        assert ("replicas" in each["spec"]) is (each["metadata"]["name"] not in scaled)


@each_file
def test_images_are_named_without_a_registry_but_the_given(file: Path) -> None:
    registry_of = {
        "openshift-values": "registry.example.org/mirror/",
        "values-production": "registry.example.org/crypto/",
    }
    for _, pod in workloads(file):
        for container in containers_of(pod):
            image = container["image"]
            assert image.startswith(registry_of.get(file.stem, ""))
            name = image.removeprefix(registry_of.get(file.stem, ""))
            # A first part with a dot or a port would be a registry.
            assert re.fullmatch(r"[a-z-]+(/[a-z-]+)?(:v?[0-9][0-9.]*|@sha256:[0-9a-f]{64})", name), image


def test_generated_passwords_are_in_the_urls() -> None:
    import base64

    objects = render()
    for name, shape in (
        ("crypto-nats", r"nats://crypto:{}@crypto-nats:4222"),
        ("crypto-postgres", r"postgresql://crypto:{}@crypto-postgres:5432/crypto"),
    ):
        data = {key: base64.b64decode(value).decode() for key, value in find(objects, "Secret", name)["data"].items()}
        assert data["url"] == shape.format(data["password"])
        assert re.fullmatch(r"[A-Za-z0-9]{32}", data["password"])
        # NATS takes a variable that begins with a digit for a number.
        assert name != "crypto-nats" or data["password"][0].isalpha()


def test_envoy_is_told_where_the_services_are() -> None:
    import yaml

    objects = render(release="other")
    config = yaml.safe_load(find(objects, "ConfigMap", "other-envoy")["data"]["envoy.yaml"])
    hosts = {
        cluster["name"]: endpoint["endpoint"]["address"]["socket_address"]
        for cluster in config["static_resources"]["clusters"]
        for locality in cluster["load_assignment"]["endpoints"]
        for endpoint in locality["lb_endpoints"]
    }
    assert hosts["gateway_streams"] == hosts["gateway_commands"] == {"address": "other-gateway", "port_value": 50051}
    assert hosts["api"] == {"address": "other-api", "port_value": 8000}
    headless = find(objects, "Service", "other-gateway")["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    api = find(objects, "Deployment", "other-api")["spec"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each.get("value") for each in api["env"]}
    host, _, port = given["API_GATEWAY_ADDRESS"].partition(":")
    assert int(port) in {each["port"] for each in find(objects, "Service", host)["spec"]["ports"]}


def test_the_api_knows_the_names_it_is_called_by() -> None:
    container = find(render(CHART / "ci" / "gateway-api-values.yaml"), "Deployment", "crypto-api")["spec"]["template"][
        "spec"
    ]["containers"][0]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    assert given["API_ALLOWED_HOSTS"].split(",") == [
        "localhost",
        "127.0.0.1",
        "crypto-envoy",
        "crypto-envoy.streams",
        "crypto-envoy.streams.svc",
        "crypto-envoy.streams.svc.cluster.local",
        ".example.org",
    ]
    assert given["API_CSRF_TRUSTED_ORIGINS"] == "https://*.example.org"


def test_only_the_edge_can_be_exposed() -> None:
    for file in VALUE_FILES:
        for service in of_kind(render(file), "Service"):
            if service["spec"].get("type", "ClusterIP") != "ClusterIP":
                assert [port["name"] for port in service["spec"]["ports"]] == ["edge"]
