"""Who may talk to whom: the policies allow the arrows of the architecture, and not one more."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.envoy import CHART
from support.helm import WORKLOADS, Object, component_of, of_kind, pod_of, render, selects

Arrow = tuple[str, str, int]

INSIDE: set[Arrow] = {
    ("envoy", "gateway", 50051),
    ("envoy", "api", 8000),
    ("api", "envoy", 8081),
    # `helm test` is a client, a caller of commands, and makes itself a user.
    ("test", "envoy", 8080),
    ("test", "envoy", 8081),
    ("test", "postgres", 5432),
    ("gateway", "nats", 4222),
    ("worker", "nats", 4222),
    ("api", "postgres", 5432),
    ("worker", "postgres", 5432),
    ("migrate", "postgres", 5432),
}
PORTS = {50051, 8000, 8080, 8081, 9090, 9901, 9902, 4222, 8222, 5432}


class Network:
    """Which of a release's pods may open which connection, as a NetworkPolicy plugin would judge."""

    def __init__(self, objects: list[Object]) -> None:
        self.policies = of_kind(objects, "NetworkPolicy")
        self.pods = {component_of(pod): pod for pod in map(pod_of, of_kind(objects, *WORKLOADS))}

    def arrows(self) -> set[Arrow]:
        """Every connection from one of the pods to another that both ends allow."""
        return {
            (source, target, port)
            for source in self.pods
            for target in self.pods
            for port in PORTS
            if self._allows("egress", source, target, port) and self._allows("ingress", target, source, port)
        }

    def outside(self, direction: str) -> set[tuple[str, int]]:
        """Which pod has a rule, for which port, with a peer that is not one of the release."""
        end = "from" if direction == "ingress" else "to"
        return {
            (component, port["port"])
            for component in self.pods
            for rule in self._rules(direction, component)
            if not all("podSelector" in peer and "namespaceSelector" not in peer for peer in rule.get(end, [{}]))
            for port in rule["ports"]
        }

    def _rules(self, direction: str, component: str) -> list[Object]:
        labels = self.pods[component]["metadata"]["labels"]
        applying = [each for each in self.policies if selects(each["spec"]["podSelector"], labels)]
        assert applying, f"{component} is not isolated"
        assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in applying)
        return [rule for each in applying for rule in each["spec"].get(direction) or []]

    def _allows(self, direction: str, component: str, peer: str, port: int) -> bool:
        end = "from" if direction == "ingress" else "to"
        labels = self.pods[peer]["metadata"]["labels"]
        return any(
            port in {each["port"] for each in rule["ports"]}
            and (end not in rule or any(_is(each, labels) for each in rule[end]))
            for rule in self._rules(direction, component)
        )


def _is(peer: Object, labels: dict[str, str]) -> bool:
    return peer.keys() == {"podSelector"} and selects(peer["podSelector"], labels)


def test_the_arrows_are_those_of_the_architecture() -> None:
    assert Network(render()).arrows() == INSIDE


def test_what_goes_out_is_names_and_nothing_else() -> None:
    network = Network(render())
    assert network.outside("egress") == {
        (component, 53) for component in ("gateway", "api", "worker", "envoy", "migrate", "test")
    }


def test_what_comes_in_is_clients_and_prometheus() -> None:
    assert Network(render()).outside("ingress") == {
        ("envoy", 8080),
        *((component, 9090) for component in ("gateway", "api", "worker")),
        ("envoy", 9902),
        ("nats", 8222),
    }


def test_servers_of_ones_own_are_reached_outside() -> None:
    network = Network(render(CHART / "ci" / "external-values.yaml"))
    assert network.arrows() == {arrow for arrow in INSIDE if arrow[1] in network.pods}
    assert {each for each in network.outside("egress") if each[1] != 53} == {
        ("gateway", 4222),
        ("worker", 4222),
        *((component, 5432) for component in ("api", "worker", "migrate", "test")),
    }


@pytest.mark.parametrize("file", sorted((CHART / "ci").glob("*.yaml")), ids=lambda file: file.stem)
def test_no_pod_is_forgotten(file: Path) -> None:
    objects = render(file)
    if policies := of_kind(objects, "NetworkPolicy"):
        own = {component_of(each) for each in policies}
        assert {component_of(pod_of(each)) for each in of_kind(objects, *WORKLOADS)} <= own
