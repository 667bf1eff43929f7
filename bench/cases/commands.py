"""Command round trip: ExecuteCommandSync to a client that acks at once, on the same and on the other replica."""

from __future__ import annotations

from bench.load.jobs import Calls, Fleet, Job, Outcome
from bench.plan import Plan
from bench.processes import Floor, Generator
from bench.report import Bound, Figure
from bench.system import Target, gateways

CLIENTS = 64
IN_FLIGHT = 64
PREFIX = "commanded"


async def measure(plan: Plan) -> list[Figure]:
    """Run the benchmark."""
    p50 = Figure("command, same replica, 1 in flight: p50", "µs", 1e6, Bound(1.15, at_most=True))
    p99 = Figure("command, same replica, 1 in flight: p99", "µs", 1e6)
    alone_cpu = Figure("command, same replica, 1 in flight: server CPU", "µs/op", 1e6)
    rate = Figure(f"command, same replica, {IN_FLIGHT} in flight: rate", "/s", 1, Bound(0.9, at_most=False))
    cpu = Figure(f"command, same replica, {IN_FLIGHT} in flight: server CPU", "µs/op", 1e6, Bound(1.2, at_most=True))
    busy_p99 = Figure(f"command, same replica, {IN_FLIGHT} in flight: p99", "µs", 1e6)
    far_p50 = Figure("command, other replica, 1 in flight: p50", "µs", 1e6, Bound(1.6, at_most=True))
    far_rate = Figure(f"command, other replica, {IN_FLIGHT} in flight: rate", "/s")
    far_cpu = Figure(f"command, other replica, {IN_FLIGHT} in flight: CPU of both gateways", "µs/op", 1e6)

    async with (
        Floor("relay", plan.floor_loop) as relay,
        gateways(plan, "relay", 2) as (near, far),
        Generator() as floor_fleet,
        Generator() as fleet,
        Generator() as caller,
    ):
        floor = Target(relay.address, relay.pid)

        async def calls(via: Target, in_flight: int) -> Outcome:
            count = plan.calls if in_flight == 1 else plan.calls * 4
            # The client is on the near gateway, whichever is called.
            servers = {floor} if via == floor else {near, via}
            return await caller.run(
                Job(
                    calls=Calls(
                        address=via.address,
                        prefix=PREFIX,
                        clients=CLIENTS,
                        calls=count,
                        in_flight=in_flight,
                        warm_up=count // 8,
                        cpu_pids=[server.pid for server in servers],
                    )
                )
            )

        await floor_fleet.run(Job(fleet=Fleet(address=floor.address, clients=CLIENTS, prefix=PREFIX)))
        await fleet.run(Job(fleet=Fleet(address=near.address, clients=CLIENTS, prefix=PREFIX)))
        for number in range(plan.rounds):
            order = [floor, near, far]
            if number % 2:
                order.reverse()
            alone = {target: await calls(target, 1) for target in order}
            busy = {target: await calls(target, IN_FLIGHT) for target in order}
            p50.add(ours=alone[near].p50, floor=alone[floor].p50)
            p99.add(ours=alone[near].p99, floor=alone[floor].p99)
            alone_cpu.add(ours=alone[near].cpu_per_operation, floor=alone[floor].cpu_per_operation)
            rate.add(ours=busy[near].rate, floor=busy[floor].rate)
            cpu.add(ours=busy[near].cpu_per_operation, floor=busy[floor].cpu_per_operation)
            busy_p99.add(ours=busy[near].p99, floor=busy[floor].p99)
            far_p50.add(ours=alone[far].p50, floor=alone[floor].p50)
            far_rate.add(ours=busy[far].rate, floor=busy[floor].rate)
            far_cpu.add(ours=busy[far].cpu_per_operation, floor=busy[floor].cpu_per_operation)
    return [p50, p99, alone_cpu, rate, cpu, busy_p99, far_p50, far_rate, far_cpu]
