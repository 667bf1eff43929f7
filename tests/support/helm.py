"""The chart as Helm renders it."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.envoy import CHART, helm_binary
from support.processes import inherited_environment

Object = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "Job", "Pod")


class RefusedError(Exception):
    """Helm renders nothing from these values; carries its words."""


def render(*files: Path, values: Mapping[str, object] | None = None, release: str = "crypto") -> list[Object]:
    """Render the chart.

    Args:
        files: value files, later ones win.
        values: values on top of them, by dotted name.
        release: its name.

    Raises:
        RefusedError: the values are wrong.
    """
    return list(_render(files, json.dumps(values or {}, sort_keys=True), release))


@functools.cache
def _render(files: tuple[Path, ...], values: str, release: str) -> tuple[Object, ...]:
    command = [str(helm_binary()), "template", release, str(CHART), "--namespace", "streams"]
    for file in files:
        command += ["--values", str(file)]
    for name, value in json.loads(values).items():
        command += ["--set-json", f"{name}={json.dumps(value)}"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=inherited_environment())
    if result.returncode != 0:
        raise RefusedError(result.stderr)
    # The C loader takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(each for each in yaml.load_all(result.stdout, loader) if each)


def find(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the object of that kind and name.

    Raises:
        LookupError: there is none.
    """
    for each in objects:
        if (each["kind"], each["metadata"]["name"]) == (kind, name):
            return each
    raise LookupError(f"no {kind} {name}")


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def pod_of(workload: Object) -> Object:
    """Return the pod (metadata and spec) that a workload makes."""
    return workload if workload["kind"] == "Pod" else workload["spec"]["template"]


def component_of(labelled: Object) -> str:
    """Return what part of the system an object belongs to."""
    component: str = labelled["metadata"]["labels"]["app.kubernetes.io/component"]
    return component


def containers_of(pod: Object) -> Iterator[Object]:
    """Yield every container, those of the start first."""
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector with `matchLabels` and nothing else fits the labels."""
    assert not selector.keys() - {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()
