"""What the client can be told, on the command line or by `EVM_CLIENT_…` variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from crypto_streaming.client_ids import client_id_problem
from service_kit.settings import LogLevel

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def _address(value: str) -> str:
    """Take an address in any case; all that we write is lower case."""
    lowered = value.strip().lower()
    if _ADDRESS.fullmatch(lowered) is None:
        raise ValueError(f"{value!r} is not an address: 0x and 40 hexadecimal digits")
    return lowered


def _client_id(value: str) -> str:
    problem = client_id_problem(value)
    if problem is not None:
        raise ValueError(problem)
    return value


def _server(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{value!r} is not host:port")
    return value


def _rpc(value: str) -> str:
    if not value.startswith(("http://", "https://", "simulated://")):
        raise ValueError(f"{value!r} begins neither with http:// nor https:// nor simulated://")
    return value


Address = Annotated[str, AfterValidator(_address)]


class ClientSettings(BaseSettings):
    """Follows addresses on an Ethereum node: reports their balances and transfers, and obeys commands."""

    model_config = SettingsConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        env_prefix="EVM_CLIENT_",
        cli_prog_name="evm_wallet_client",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    client_id: Annotated[str, AfterValidator(_client_id)]
    """Who this client is to the server."""

    client_name: str = "EVM wallet client"
    """Its name for people."""

    server: Annotated[str, AfterValidator(_server)]
    """host:port of the streaming service (Envoy's edge listener)."""

    rpc: Annotated[str, AfterValidator(_rpc)]
    """The Ethereum node's address (http or https), or `simulated://seed?start=<seconds since 1970>` for a chain that
    needs no node."""

    address: tuple[Address, ...] = Field(min_length=1)
    """An address to follow; repeat it for more."""

    token: tuple[Address, ...] = ()
    """Address of an ERC-20 contract to follow beside the coin; repeat it for more."""

    state_dir: Path
    """Directory of the cursor and of the reports that have no receipt yet. One client, one directory."""

    coin: str = Field(default="ETH", min_length=1, max_length=32)
    """Symbol of the chain's own coin."""

    confirmations: int = Field(default=3, ge=1, le=10_000)
    """Blocks, its own included, after which a transfer counts as confirmed."""

    remember_blocks: int = Field(default=64, ge=1, le=10_000)
    """How many of the newest blocks can be taken back when the chain is reorganised."""

    start_block: int | None = Field(default=None, ge=0)
    """Height at which a client without a cursor begins; left out, the newest."""

    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    """How often the node is asked for a new block."""

    refresh_seconds: float = Field(default=300.0, gt=0)
    """How often every balance is reported though it has not changed."""

    rpc_timeout_seconds: float = Field(default=10.0, gt=0, le=600)
    """How long one question to the node may take."""

    log_level: LogLevel = "info"
    """The least severe log line that is written."""
