"""The contract's bytes, for ever: clients that speak them exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from crypto_streaming import pb

DOCUMENT = json.loads(Path(__file__).with_name("wire-vectors.json").read_text())
VECTORS: list[dict[str, Any]] = DOCUMENT["vectors"]

# What the document says of the contract, field by field: (message, field, number).
MESSAGE_KINDS = {"ClientMessage", "DjangoCommand", "SendCommandRequest", "SendCommandResponse", "CommandAck"}


def message_type(vector: dict[str, Any]) -> type[Message]:
    package, _, name = vector["type"].rpartition(".")
    assert package == DOCUMENT["package"]
    return getattr(pb, name)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_bytes_parse_to_the_json(vector: dict[str, Any]) -> None:
    message = message_type(vector).FromString(bytes.fromhex(vector["hex"]))
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == vector["json"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_json_serialises_to_the_bytes(vector: dict[str, Any]) -> None:
    message = json_format.ParseDict(vector["json"], message_type(vector)())
    assert message.SerializeToString(deterministic=True).hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_bytes_survive_a_round_trip(vector: dict[str, Any]) -> None:
    message = message_type(vector).FromString(bytes.fromhex(vector["hex"]))
    assert message.SerializeToString().hex() == vector["hex"]


def test_vectors_cover_every_kind_of_message() -> None:
    assert {vector["type"].rpartition(".")[2] for vector in VECTORS} == MESSAGE_KINDS


def test_service_has_the_contracts_name_and_rpcs() -> None:
    service = pb.DESCRIPTOR.services_by_name["CryptoStreamingService"]
    assert service.full_name == DOCUMENT["service"] == pb.SERVICE_NAME
    rpcs = {
        method.name: (method.input_type.name, method.client_streaming, method.output_type.name, method.server_streaming)
        for method in service.methods
    }
    assert rpcs == {
        "ConnectClient": ("ClientMessage", True, "DjangoCommand", True),
        "SendCommandToClient": ("SendCommandRequest", False, "SendCommandResponse", False),
        "ExecuteCommandSync": ("SendCommandRequest", False, "CommandAck", False),
    }
