"""REST beside gRPC: a ping of a client, through the same Envoy.

The clients connect through Envoy as well, over both gateways, so both kinds of calls meet clients on either replica.
"""

from __future__ import annotations

import asyncio

from support.stack import Stack

from bench.cpu import with_descendants
from bench.load.jobs import Calls, Fleet, Job, Outcome, RestPings
from bench.plan import Plan
from bench.processes import Generator
from bench.report import Bound, Figure

CLIENTS = 16
PREFIX = "pinged"


async def measure(plan: Plan) -> list[Figure]:
    """Run the benchmark."""
    p50 = Figure("ping by REST, beside gRPC through the same Envoy: p50", "µs", 1e6, Bound(2.2, at_most=True))
    p99 = Figure("ping by REST, beside gRPC through the same Envoy: p99", "µs", 1e6)
    cpu = Figure("ping by REST, CPU of the API, beside the gateways' of gRPC", "µs/op", 1e6)
    stack = Stack()
    await asyncio.to_thread(stack.start)
    try:
        async with Generator() as fleet, Generator() as caller:
            await fleet.run(
                Job(fleet=Fleet(address=stack.edge_address, via=stack.internal_address, clients=CLIENTS, prefix=PREFIX))
            )

            async def grpc() -> Outcome:
                return await caller.run(
                    Job(
                        calls=Calls(
                            address=stack.internal_address,
                            prefix=PREFIX,
                            clients=CLIENTS,
                            calls=plan.rest_calls,
                            in_flight=1,
                            warm_up=plan.rest_calls // 8,
                            cpu_pids=[gateway.pid for gateway in stack.gateways],
                        )
                    )
                )

            async def rest() -> Outcome:
                return await caller.run(
                    Job(
                        rest_pings=RestPings(
                            url=stack.edge_url,
                            prefix=PREFIX,
                            clients=CLIENTS,
                            calls=plan.rest_calls,
                            warm_up=plan.rest_calls // 8,
                            cpu_pids=with_descendants(stack.api.pid),
                        )
                    )
                )

            for number in range(plan.rounds):
                if number % 2:
                    ours, bare = await rest(), await grpc()
                else:
                    bare, ours = await grpc(), await rest()
                p50.add(ours=ours.p50, floor=bare.p50)
                p99.add(ours=ours.p99, floor=bare.p99)
                cpu.add(ours=ours.cpu_per_operation, floor=bare.cpu_per_operation)
    finally:
        await asyncio.to_thread(stack.stop)
    return [p50, p99, cpu]
