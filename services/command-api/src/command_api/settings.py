"""Everything the API can be told, declared once; `django_settings` turns it into Django's names."""

from __future__ import annotations

import ipaddress
from typing import Self

from psycopg import ProgrammingError, conninfo
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from service_kit.settings import ServiceSettings


class ApiSettings(ServiceSettings):
    """Settings of command-api, from the environment."""

    model_config = SettingsConfigDict(env_prefix="API_", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    """Address the REST port listens on."""

    port: int = Field(default=8000, ge=1, le=65535)
    """Port of the REST API."""

    database_url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/crypto")
    """Where PostgreSQL is: a libpq URL or connection string. May hold a password."""

    gateway_address: str = Field(default="127.0.0.1:8081", pattern=r"^\S+:\d+$")
    """`host:port` of Envoy's internal listener, behind which the gateways are."""

    secret_key: SecretStr = SecretStr("")
    """Signs sessions and CSRF tokens. Required unless `API_HOST` is a loopback address, where a random one will do."""

    open_on_loopback: bool = False
    """Let whoever reaches the port use the API without a token. Refused unless `API_HOST` is a loopback address."""

    allowed_hosts: str = ""
    """Host names by which the API may be called, separated by commas. Empty: loopback names only."""

    csrf_trusted_origins: str = ""
    """Origins (`https://api.example.org`) whose pages may use a session, separated by commas."""

    threads: int = Field(default=48, ge=2, le=512)
    """Request threads of the process. More than all waits together: reads are answered while every wait is taken."""

    max_waits: int = Field(default=32, ge=1, le=511)
    """Requests that may wait for a client's ack at the same time; beyond: 503."""

    default_timeout: float = Field(default=15.0, gt=0, le=600)
    """Seconds to wait for a client's ack when the request does not say."""

    max_timeout: float = Field(default=120.0, gt=0, le=600)
    """The longest wait, in seconds, that a request may ask for."""

    bulk_concurrency: int = Field(default=256, ge=1, le=1024)
    """Commands of one bulk request that may be under way at the same time; they need no thread each."""

    max_bulk_requests: int = Field(default=4, ge=1, le=64)
    """Bulk requests that may run at the same time; beyond: 503."""

    online_timeout: float = Field(default=90.0, gt=0)
    """A client not seen for so many seconds is offline."""

    offline_grace: float = Field(default=5.0, ge=0)
    """A client whose stream ended without a goodbye is shown as online for so many seconds: it may be reconnecting."""

    database_connections: int = Field(default=16, ge=1, le=512)
    """The most connections to PostgreSQL that the process holds."""

    database_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for a connection to PostgreSQL; after that, 503."""

    shutdown_timeout: float = Field(default=30.0, gt=0)
    """Seconds that running requests get to finish after SIGTERM."""

    @field_validator("database_url")
    @classmethod
    def _parsable(cls, value: SecretStr) -> SecretStr:
        try:
            parameters = conninfo.conninfo_to_dict(value.get_secret_value())
        except ProgrammingError:
            # libpq's own words may repeat the password.
            raise ValueError("not a libpq URL or connection string") from None
        if not parameters.get("dbname"):
            raise ValueError("names no database")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_waits + self.max_bulk_requests >= self.threads:
            raise ValueError("API_MAX_WAITS and API_MAX_BULK_REQUESTS together must be less than API_THREADS")
        if self.default_timeout > self.max_timeout:
            raise ValueError("API_DEFAULT_TIMEOUT must not exceed API_MAX_TIMEOUT")
        if not self.on_loopback:
            if self.open_on_loopback:
                raise ValueError(f"API_OPEN_ON_LOOPBACK is set, but API_HOST={self.host} is not a loopback address")
            if not self.secret_key.get_secret_value():
                raise ValueError("API_SECRET_KEY is required unless API_HOST is a loopback address")
            if not self.allowed_hosts:
                raise ValueError("API_ALLOWED_HOSTS is required unless API_HOST is a loopback address")
        return self

    @property
    def on_loopback(self) -> bool:
        """Only processes of this machine can reach the port."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
