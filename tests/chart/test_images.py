"""The images are made of what was tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.envoy import CHART
from support.helm import containers_of, of_kind, pod_of, render

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(each.name for each in (ROOT / "services").iterdir() if (each / "pyproject.toml").exists())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def locked(file: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package -> its version, and the hashes of its archives."""
    text = (ROOT / "requirements" / file).read_text().replace("\\\n", " ")
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for line in text.splitlines():
        if name_and_version := re.match(r"([a-z0-9.-]+)==(\S+)", line):
            hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})", line)
            found[name_and_version[1]] = (name_and_version[2], frozenset(hashes))
    return found


@pytest.mark.parametrize("file", [*(f"{service}.txt" for service in SERVICES), "build.txt"])
def test_images_have_the_versions_that_tests_run_with(file: str) -> None:
    tested, installed = locked("dev.txt"), locked(file)
    assert installed
    for name, (version, hashes) in installed.items():
        assert hashes
        assert tested[name] == (version, hashes), name


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_image(service: str) -> None:
    module = service.replace("-", "_")
    stage = DOCKERFILE.partition(f"FROM runtime AS {service}\n")[2].partition("\nFROM ")[0]
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in stage
    assert f"-r requirements/{service}.txt" in DOCKERFILE
    assert f"/wheels/{module}-*.whl" in DOCKERFILE
    assert (ROOT / "services" / service / "src" / module / "__main__.py").exists()
    used = {container["image"] for each in of_kind(render(), "Deployment") for container in containers_of(pod_of(each))}
    version = re.search(r"^appVersion: (\S+)$", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"crypto-streaming/{service}:{version[1]}" in used


def test_the_images_run_as_the_user_that_the_chart_says() -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    for each in of_kind(render(), "Deployment"):
        pod = pod_of(each)
        if "crypto-streaming/" in pod["spec"]["containers"][0]["image"]:
            assert pod["spec"]["securityContext"]["runAsUser"] == int(user)
