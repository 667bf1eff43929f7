"""The fixtures that tests of every service share: real servers, one of each per session, and namespaces within them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.nats import NatsServer
from support.postgres import PostgresServer
from support.processes import inherited_environment, remove_directory

_TEMPLATE_DATABASE = "migrated_template"

_numbers = itertools.count(1)


def migrate(database_url: str) -> None:
    """Bring a database to the present schema, whose one home is the migrations of command-api.

    Raises:
        AssertionError: a migration failed; carries its output.
    """
    result = subprocess.run(
        [sys.executable, "-m", "command_api", "manage", "migrate", "--no-input"],
        check=False,
        capture_output=True,
        text=True,
        env=inherited_environment() | {"API_DATABASE_URL": database_url, "API_SECRET_KEY": "only-for-this-command"},
    )
    assert result.returncode == 0, f"migrate failed:\n{result.stdout}{result.stderr}"


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A NATS server with JetStream on, files on disk. A test that hurts it starts one of its own instead."""
    server = NatsServer()
    server.start()
    yield server
    server.stop()
    remove_directory(server.directory)


@pytest.fixture
def nats_namespace() -> str:
    """A prefix for subjects, streams and buckets that no other test uses."""
    return f"t{os.getpid()}_{next(_numbers)}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server. A test that hurts it starts one of its own instead."""
    server = PostgresServer()
    server.start()
    yield server
    server.stop()
    remove_directory(server.data_directory.parent)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database with the schema and no rows, to be copied."""
    migrate(postgres_server.create_database(_TEMPLATE_DATABASE))
    return _TEMPLATE_DATABASE


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database of this test's own, with the schema and no rows."""
    name = f"test_{next(_numbers)}"
    yield postgres_server.create_database(name, migrated_template)
    postgres_server.drop_database(name)
