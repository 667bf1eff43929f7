"""The command line says what is wrong with it."""

from __future__ import annotations

import sys

import pytest
from pydantic_settings import CliApp

from evm_wallet_client.__main__ import main
from evm_wallet_client.settings import ClientSettings

GOOD = {
    "--client-id": "wallet-1",
    "--server": "127.0.0.1:9000",
    "--rpc": "http://127.0.0.1:8545",
    "--address": "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "--state-dir": "state",
}


def command_line(**changes: str) -> list[str]:
    options = GOOD | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return [word for option in options.items() for word in option]


def test_addresses_are_repeated_and_lower_case() -> None:
    second = "0x" + "Ab" * 20
    settings = CliApp.run(ClientSettings, cli_args=[*command_line(), "--address", second])
    assert settings.address == (GOOD["--address"].lower(), second.lower())
    assert settings.start_block is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("client_id", "pause_all"),
        ("client_id", "a b"),
        ("server", "127.0.0.1"),
        ("rpc", "ftp://node"),
        ("address", "0x12"),
        ("token", "vitalik.eth"),
        ("confirmations", "0"),
        ("start_block", "-1"),
        ("poll_seconds", "soon"),
    ],
)
def test_a_wrong_value_is_named(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evm_wallet_client", *command_line(**{option: value})])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert f"--{option.replace('_', '-')}" in capsys.readouterr().err
