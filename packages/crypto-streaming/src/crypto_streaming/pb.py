"""The messages of the contract (`protos/`), under one name: `from crypto_streaming import pb`."""

from __future__ import annotations

from ._proto.common_pb2 import *  # noqa: F403
from ._proto.crypto_streaming_pb2 import *  # noqa: F403
from ._proto.crypto_streaming_pb2_grpc import *  # noqa: F403

SERVICE_NAME = "crypto.CryptoStreamingService"
