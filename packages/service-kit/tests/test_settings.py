from __future__ import annotations

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from service_kit.settings import NatsSettings, ServiceSettings, load_settings, settings_reference


class Example(ServiceSettings, NatsSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    count: int = Field(default=3, ge=1)
    """How many."""


class Undocumented(ServiceSettings):
    count: int = 3


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_COUNT", "7")
    assert load_settings(Example).count == 7


@pytest.mark.parametrize("value", ["0", "many", ""])
def test_a_wrong_value_is_named_and_ends_the_process(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXAMPLE_COUNT", value)
    with pytest.raises(SystemExit) as ended:
        load_settings(Example)
    assert ended.value.code == 2
    assert "EXAMPLE_COUNT" in capsys.readouterr().err


def test_settings_do_not_change() -> None:
    settings = load_settings(Example)
    with pytest.raises(ValueError, match="frozen"):
        settings.count = 4  # pyright: ignore[reportAttributeAccessIssue]  (that is the point)


def test_every_setting_is_described() -> None:
    rows = {name: words for name, _, _, words in settings_reference(Example)}
    assert rows["EXAMPLE_COUNT"] == "How many."
    assert all(rows.values())
    with pytest.raises(LookupError, match="count"):
        settings_reference(Undocumented)
