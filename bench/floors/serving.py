"""What the gRPC floors share: one server on a free port, announced on standard output."""

from __future__ import annotations

import asyncio
import sys

import grpc.aio
import uvloop

from crypto_streaming import pb

# The gateway's own: without the first, two servers on one port would share its connections silently.
OPTIONS = (("grpc.so_reuseport", 0),)


def run(servicer: pb.CryptoStreamingServiceServicer) -> None:
    """Serve until killed, on the event loop that the command line names: `uvloop`, as the gateway, or `asyncio`."""
    runner = {"uvloop": uvloop.run, "asyncio": asyncio.run}[sys.argv[1]]
    runner(_serve(servicer))


async def _serve(servicer: pb.CryptoStreamingServiceServicer) -> None:
    """The first line of standard output is `host:port`."""
    server = grpc.aio.server(options=OPTIONS)
    pb.add_CryptoStreamingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()
