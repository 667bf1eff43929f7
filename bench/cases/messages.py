"""Messages in: reports of clients with receipts, one by one and in batches, until the last receipt is there.

The floor takes them one by one and keeps nothing; it is the floor of the batches too.
"""

from __future__ import annotations

from bench.load.jobs import Job, Messages, Outcome
from bench.plan import Plan
from bench.processes import Floor, Generator
from bench.report import Bound, Figure
from bench.system import Target, gateways

CLIENTS = 8
IN_FLIGHT = 256
BATCH = 100
BATCHES_IN_FLIGHT = 64


async def measure(plan: Plan) -> list[Figure]:
    """Run the benchmark."""
    rate = Figure(f"messages in, one by one, {IN_FLIGHT} in flight: rate", "/s", 1, Bound(0.8, at_most=False))
    cpu = Figure(f"messages in, one by one, {IN_FLIGHT} in flight: server CPU", "µs/op", 1e6, Bound(1.4, at_most=True))
    batched = Figure(f"messages in, in batches of {BATCH}: rate", "/s", 1, Bound(10, at_most=False))

    async with (
        Floor("ingest", plan.floor_loop) as sink,
        gateways(plan, "ingest", 1) as (gateway,),
        Generator() as sender,
    ):
        floor = Target(sink.address, sink.pid)
        serial = 0

        async def send(to: Target, *, batch: int) -> Outcome:
            nonlocal serial
            serial += 1
            unit = CLIENTS * batch
            count = plan.messages if batch == 1 else plan.messages * 10
            return await sender.run(
                Job(
                    messages=Messages(
                        address=to.address,
                        # New clients each time: the last stream of the old ones may still be closing.
                        prefix=f"reporter-{serial}",
                        clients=CLIENTS,
                        messages=count // unit * unit,
                        in_flight=IN_FLIGHT if batch == 1 else BATCHES_IN_FLIGHT,
                        batch=batch,
                        cpu_pids=[to.pid],
                    )
                )
            )

        for target in (floor, gateway):
            await send(target, batch=1)
        for number in range(plan.rounds):
            order = (gateway, floor) if number % 2 else (floor, gateway)
            single = {target: await send(target, batch=1) for target in order}
            bare, ours = single[floor], single[gateway]
            ours_batched = await send(gateway, batch=BATCH)
            rate.add(ours=ours.rate, floor=bare.rate)
            cpu.add(ours=ours.cpu_per_operation, floor=bare.cpu_per_operation)
            batched.add(ours=ours_batched.rate, floor=bare.rate)
    return [rate, cpu, batched]
