"""A client that knows the bare contract and nothing else: own stubs, own process, no SDK.

`python bare_client.py ADDRESS CLIENT_ID`, with the compiled stubs on PYTHONPATH. Reports one of each kind, then obeys;
writes a line of JSON for each command, with the unknown fields it held. Blocking gRPC, as such clients often are.
"""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Iterator
from typing import Any

import common_pb2 as common  # pyright: ignore[reportMissingImports]  (compiled by the test)
import crypto_streaming_pb2 as contract  # pyright: ignore[reportMissingImports]
import crypto_streaming_pb2_grpc as stubs  # pyright: ignore[reportMissingImports]
import grpc
from google.protobuf.unknown_fields import UnknownFieldSet

STATUS_AFTER = {"pause": common.CLIENT_STATUS_PAUSED, "resume": common.CLIENT_STATUS_ACTIVE}
REPORTS: dict[str, Any] = {
    "register": contract.ClientRegistration(client_name="bare", client_type="old", version="0.9"),
    "wallet_update": contract.WalletUpdate(wallet_id="w", symbol="BTC", balance_available="0.000000000000000001"),
    "transaction": contract.TransactionReport(transaction_id="t", type="deposit", symbol="BTC", amount=str(2**256 - 1)),
    "status": contract.StatusUpdate(status=common.CLIENT_STATUS_ACTIVE),
    "heartbeat": contract.HeartbeatUpdate(),
    "error": contract.ErrorReport(severity="minor", message="an error"),
    "log": contract.LogEntry(level="INFO", message="a line"),
}


def main() -> None:
    address, client_id = sys.argv[1:]
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def messages() -> Iterator[Any]:
        for kind, payload in REPORTS.items():
            yield contract.ClientMessage(client_id=client_id, message_id=f"{client_id}-{kind}", **{kind: payload})
        while True:
            yield outgoing.get()

    with grpc.insecure_channel(address) as channel:
        for command in stubs.CryptoStreamingServiceStub(channel).ConnectClient(messages()):
            kind = command.WhichOneof("command")
            line = {"kind": kind, "unknown_fields": len(UnknownFieldSet(command)), "id": command.command_id}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            ack = common.CommandAck(
                command_id=command.command_id,
                success=True,
                message=f"did {kind}",
                current_status=STATUS_AFTER.get(kind or "", common.CLIENT_STATUS_UNKNOWN),
            )
            outgoing.put(contract.ClientMessage(client_id=client_id, message_id=command.command_id, command_ack=ack))


if __name__ == "__main__":
    main()
