"""Settings: frozen, typed, read from the environment once, documented where they are declared.

A service declares one subclass of `ServiceSettings`; each field has a docstring. `docs/configuration.md` is generated
from these classes (`settings_reference`), so that a variable is described in one place only.
"""

from __future__ import annotations

import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["debug", "info", "warning", "error"]


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")

    log_level: LogLevel = "info"
    """The least severe log line that is written."""

    ops_host: str = "127.0.0.1"
    """Address of the HTTP port for `/metrics`, `/livez` and `/readyz`."""

    ops_port: int = Field(default=0, ge=0, le=65535)
    """Port for `/metrics`, `/livez` and `/readyz`; 0 takes a free one and logs it."""


class NatsSettings(BaseSettings):
    """How a service reaches NATS. Mixed into the settings of those that do."""

    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")

    nats_url: str = "nats://127.0.0.1:4222"
    """One or more NATS URLs, separated by commas."""

    nats_namespace: str = Field(default="crypto", pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """Prefix of every subject, stream and bucket: systems with different prefixes can share one NATS."""

    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Replicas of the streams and the directory. 3 in production; 1 survives killed processes, not a lost disk."""

    frames_max_bytes: int = Field(default=2 * 1024**3, ge=1024 * 1024)
    """Size of the durable log. A full log pushes back on clients; nothing is dropped."""


_Settings = TypeVar("_Settings", bound=BaseSettings)


def load_settings(kind: type[_Settings]) -> _Settings:
    """Read the settings from the environment; on a wrong value say which, and exit with status 2.

    Raises:
        SystemExit: a variable is missing or has a value outside its bounds.
    """
    try:
        return kind()
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        for problem in error.errors():
            name = prefix + "_".join(str(part) for part in problem["loc"])
            print(f"configuration: {name.upper()}: {problem['msg']}", file=sys.stderr)  # noqa: T201  (no log yet)
        raise SystemExit(2) from None


def settings_reference(kind: type[BaseSettings]) -> list[tuple[str, str, str, str]]:
    """Describe each setting: (environment variable, type, default, what it is for).

    Raises:
        LookupError: a setting has no docstring.
    """
    prefix = str(kind.model_config.get("env_prefix", ""))
    rows: list[tuple[str, str, str, str]] = []
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        type_name = getattr(annotation, "__name__", str(annotation)) if annotation is not Literal else str(annotation)
        if "Literal" in str(annotation):
            type_name = str(annotation).replace("typing.", "")
        if not field.description:
            raise LookupError(f"{kind.__name__}.{name} has no docstring")
        default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        rows.append(((prefix + name).upper(), type_name, default, field.description.strip()))
    return rows
