"""Values that are wrong are refused, with words that say why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.envoy import CHART, helm_binary
from support.helm import RefusedError, find, render

VALUE_FILES = sorted((CHART / "ci").glob("*.yaml"))
MTLS = CHART / "ci" / "mtls-values.yaml"


@pytest.mark.parametrize("file", [*VALUE_FILES, CHART / "values-production.yaml"], ids=lambda file: file.stem)
def test_helm_finds_no_fault(file: Any) -> None:
    command = [helm_binary(), "lint", "--strict", CHART, "--values", file]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateway.replica", 3),
        ("replicas", 3),
        ("gateway.replicas", "three"),
        ("gateway.replicas", 0),
        ("gateway.pod.nodeselector", {"disk": "fast"}),
        ("gateway.resources.limit", {"memory": "1Gi"}),
        ("gateway.resources.limits.memory", "1 GB"),
        ("envoy.streams.idleTimeout", "soon"),
        ("envoy.health.interval", "500ms"),
        ("envoy.admin.address", "0.0.0.0"),
        ("envoy.edge.port", 70000),
        ("envoy.service.type", "Loadbalancer"),
        ("nats.namespace", "Crypto"),
        ("fullnameOverride", "-crypto"),
        ("gateway.settings.GATEWAY_HEARTBEAT", 30),
        ("gateway.settings.GATEWAY_HEARTBEAT_SECONDS", "often"),
        ("gateway.settings.GATEWAY_HEARTBEAT_SECONDS", 0),
        # The chart's own to decide.
        ("gateway.settings.GATEWAY_DRAIN_SECONDS", 60),
        ("api.settings.API_OPEN_ON_LOOPBACK", True),
        ("worker.settings.WORKER_NATS_URL", "nats://elsewhere:4222"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(name: str, value: object) -> None:
    with pytest.raises(RefusedError, match="values don't meet the specifications of the schema") as caught:
        render(values={name: value})
    assert name.rpartition(".")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"envoy.service.type": "LoadBalancer"}, "nothing says who a client is"),
        ({"envoy.service.type": "NodePort"}, "nothing says who a client is"),
        (
            {
                "envoy.service.type": "NodePort",
                "envoy.edge.tls.enabled": True,
                "envoy.edge.tls.secretName": "edge",
            },
            "nothing says who a client is",
        ),
        (
            {
                "gatewayApi.enabled": True,
                "gatewayApi.parentRefs": [{"name": "public"}],
                "gatewayApi.hostnames": ["api.example.org"],
                "gatewayApi.streams": {"enabled": True, "hostnames": ["streams.example.org"]},
            },
            "Envoy does not see who a client is",
        ),
        ({"ingress.enabled": True, "ingress.hosts": ["api.example.org"]}, "API tokens in plain text"),
    ],
)
def test_nothing_is_exposed_without_identity(values: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        render(values=values)
    # Unless someone says that it is meant.
    assert render(values=values | {"insecure": True})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"envoy.edge.tls.enabled": True}, "needs envoy.edge.tls.secretName"),
        ({"envoy.edge.tls.clientCertificates": True}, "clientCertificates needs"),
        ({"ingress.enabled": True, "ingress.tlsSecretName": "x"}, "needs ingress.hosts"),
        ({"gatewayApi.enabled": True}, "needs gatewayApi.parentRefs"),
        (
            {
                "insecure": True,
                "gatewayApi.enabled": True,
                "gatewayApi.parentRefs": [{"name": "public"}],
                "gatewayApi.hostnames": ["example.org"],
                "gatewayApi.streams": {"enabled": True, "hostnames": ["example.org"]},
            },
            "not of both",
        ),
        ({"nats.url": "nats://a", "nats.existingSecret.name": "b"}, "choose one"),
        ({"postgres.url": "postgresql://a/b", "postgres.existingSecret.name": "b"}, "choose one"),
        ({"nats.replicas": 3}, "bundled NATS is one node"),
        ({"nats.url": "nats://a", "worker.autoscaling.enabled": True}, "needs monitoringEndpoint"),
        ({"envoy.health.interval": "1s"}, "to notice that a gateway drains"),
        ({"gateway.settings.GATEWAY_DRAIN_SETTLE_SECONDS": 1.5}, "to notice that a gateway drains"),
        ({"api.preStopSeconds": 10}, "above envoy.rest.maxConnectionSeconds"),
        ({"gateway.settings.GATEWAY_LIVENESS_SECONDS": 200}, "above GATEWAY_LIVENESS_SECONDS"),
        ({"api.settings.API_MAX_TIMEOUT": 200}, "above API_MAX_TIMEOUT"),
        (
            {
                "ingress.enabled": True,
                "ingress.hosts": ["a.example.org"],
                "ingress.tlsSecretName": "x",
                "envoy.edge.tls.enabled": True,
                "envoy.edge.tls.secretName": "edge",
            },
            "choose one",
        ),
    ],
)
def test_values_that_contradict_one_another_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        render(values=values)


def test_settings_reach_the_service_as_they_were_written() -> None:
    settings = {"GATEWAY_WINDOW_BYTES": 2**33, "GATEWAY_FRAME_LINGER_SECONDS": 0.025, "GATEWAY_LOG_LEVEL": "debug"}
    objects = render(values={f"gateway.settings.{name}": value for name, value in settings.items()})
    container = find(objects, "Deployment", "crypto-gateway")["spec"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert {name: given[name] for name in settings} == {
        "GATEWAY_WINDOW_BYTES": "8589934592",
        "GATEWAY_FRAME_LINGER_SECONDS": "0.025",
        "GATEWAY_LOG_LEVEL": "debug",
    }


@pytest.mark.parametrize(
    ("file", "words", "absent"),
    [
        (
            "default",
            ["port-forward svc/crypto-envoy 8080:8080", "job/crypto-migrate-1", "NATS and PostgreSQL in one pod each"],
            ["insecure"],
        ),
        ("mtls", ["and a client's certificate", "https://"], ["port-forward"]),
        ("gateway-api", ["insecure: true. Whoever reaches Envoy"], []),
        ("external", ["crypto-envoy-internal.streams:8081"], ["For evaluation only"]),
    ],
)
def test_the_notes_say_what_to_try(file: str, words: list[str], absent: list[str], tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    # `helm template` shows no notes: another object carries them.
    notes = '{{ include "crypto-streaming/templates/NOTES.txt" . | toJson }}'
    (chart / "templates" / "notes.yaml").write_text(f"kind: Notes\nnotes: {notes}\n")
    command = [
        helm_binary(),
        "template",
        "crypto",
        chart,
        "--namespace",
        "streams",
        "--show-only",
        "templates/notes.yaml",
    ]
    result = subprocess.run(
        [*command, "--values", CHART / "ci" / f"{file}-values.yaml"], check=True, capture_output=True, text=True
    )
    said = yaml.safe_load(result.stdout)["notes"]
    for each in words:
        assert each in said
    for each in absent:
        assert each not in said
    assert "\n\n\n" not in said
