"""What the tests of the client authors' half share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.scripted_gateway import ScriptedGateway


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    made = ScriptedGateway()
    await made.start()
    yield made
    await made.stop()
