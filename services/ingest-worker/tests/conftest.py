"""What the worker's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingest_worker.adapters import database
from ingest_worker.pipeline import Pipeline


@pytest.fixture
def connection(database_url: str) -> Iterator[database.Connection]:
    """A connection that is ready for writing."""
    with database.connect(database_url) as made:
        database.prepare(made)
        yield made


@pytest.fixture
def pipeline(connection: database.Connection) -> Pipeline:
    """A pipeline into the test's own database."""
    return Pipeline(connection)
