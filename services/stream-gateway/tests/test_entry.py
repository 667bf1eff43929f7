"""What the command line and the environment may say, and what is said when they are wrong."""

from __future__ import annotations

import pytest

from stream_gateway.__main__ import main
from stream_gateway.adapters.grpc_server import load_hook
from stream_gateway.settings import GatewaySettings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, **settings: str) -> None:
    """Run a gateway that does not get as far as starting."""
    monkeypatch.setattr("sys.argv", ["stream_gateway", *arguments])
    for name, value in settings.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("NATS_NAMESPACE", "No Such"),
        ("NATS_REPLICAS", "0"),
        ("FRAMES_MAX_BYTES", "1"),
        ("LEASE_SECONDS", "-1"),
        ("LIVENESS_SECONDS", "soon"),
        ("MAX_MESSAGE_BYTES", "2000000"),
        ("LOG_LEVEL", "chatty"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    run(monkeypatch, **{name: value})
    assert f"GATEWAY_{name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"LEASE_SECONDS": "4", "EVICT_SECONDS": "4"}, "evict_seconds"),
        ({"HEARTBEAT_SECONDS": "90"}, "liveness_seconds"),
        ({"MAX_MESSAGE_BYTES": "524288", "WINDOW_BYTES": "524287"}, "window_bytes"),
    ],
)
def test_settings_have_to_fit_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, str], words: str
) -> None:
    run(monkeypatch, **settings)
    assert words in capsys.readouterr().err.lower()


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_a_number_of_workers_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    run(monkeypatch, "--workers", workers)
    assert "--workers" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{}, {"PORT": "20000"}, {"OPS_PORT": "20000"}])
def test_workers_need_fixed_ports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, str]
) -> None:
    run(monkeypatch, "--workers", "2", **settings)
    assert "GATEWAY_OPS_PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("no_colon", ValueError),
        (":f", ValueError),
        ("os:", ValueError),
        ("no.such.module:f", ImportError),
        ("os:no_such_function", TypeError),
        ("os:name", TypeError),
    ],
)
def test_a_hook_that_is_not_there_is_an_error(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_hook(path)


def test_each_start_has_a_name_of_its_own_that_fits_into_a_subject() -> None:
    settings = GatewaySettings(id="pod.1 / *.>" + "x" * 100)
    names = {settings.make_gateway_id() for _ in range(10)}
    assert len(names) == 10
    assert all(name.replace("-", "").replace("_", "").isalnum() and len(name) < 64 for name in names)
