"""The chains of this package's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.chain import AnvilNode, anvil_program
from support.chain_handles import AnvilHandles, Chain, SimulatedHandles


@pytest.fixture(params=["simulated", "anvil"])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    """Give a chain of its own to the test: simulated, and that of a real node where there is one."""
    if request.param == "simulated":
        yield SimulatedHandles()
        return
    if anvil_program() is None:
        pytest.skip("anvil is not there: npm is missing or could not install it")
    process = AnvilNode(mine=False, keep_state=True)
    process.start()
    handles = AnvilHandles(process)
    try:
        yield handles
    finally:
        await handles.source.close()
        handles.close()


@pytest.fixture
def simulated() -> SimulatedHandles:
    """Give a simulated chain to tests of what is the same over any source."""
    return SimulatedHandles()
