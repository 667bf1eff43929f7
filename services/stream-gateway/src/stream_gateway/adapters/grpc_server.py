"""The gRPC server: options, health, reflection, and the hook for an application's own servicers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from crypto_streaming import pb

# A message above this never reaches us: the transport refuses it.
MAX_TRANSPORT_BYTES = 4 * 1024 * 1024
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # On by default: a second server would silently share the port.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_TRANSPORT_BYTES),
    ("grpc.max_send_message_length", MAX_TRANSPORT_BYTES),
    # Ping an idle peer, and let peers ping us: Envoy's keepalive interval is above this minimum.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class GrpcServer:
    """A server that answers health and reflection; other servicers are added before it starts."""

    def __init__(self) -> None:
        self.server = aio.server(options=SERVER_OPTIONS)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        # Not the alias of reflection: nothing describes it, and who lists every method would fail over it.
        names = (pb.SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)
        self.server.add_generic_rpc_handlers((_reflection_v1(ReflectionServicer(names)),))

    async def start(self, host: str, port: int) -> int:
        """Listen; not serving yet.

        Returns:
            The port.

        Raises:
            RuntimeError: the port is taken.
        """
        await self.set_serving(False)
        bound = self.server.add_insecure_port(f"{host}:{port}")
        await self.server.start()
        return bound

    async def set_serving(self, serving: bool) -> None:
        """Say to health checks whether new work should come here."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", pb.SERVICE_NAME):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let the others finish for `grace` seconds, then cancel them."""
        await self.server.stop(grace)


def load_hook(path: str) -> Callable[[aio.Server], object]:
    """Find an application's `grpc_handlers(server)` hook by `package.module:function`.

    Raises:
        ValueError: the path is not of that form.
        TypeError: what it names can not be called.
        ImportError: the module is not there.
    """
    module_name, _, function_name = path.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"grpc_handlers: {path!r} is not of the form package.module:function")
    hook = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(hook):
        raise TypeError(f"grpc_handlers: {path!r} can not be called")
    return hook


def _reflection_v1(servicer: Any) -> grpc.GenericRpcHandler:
    """Reflection v1 has the messages of v1alpha on the wire; grpcio-reflection serves only the latter's name."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler})
