"""The fixtures that tests of every service share: real servers, one of each per session, and namespaces within them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from support.migrations import migrate
from support.nats import NatsServer
from support.postgres import PostgresServer
from support.processes import remove_directory
from support.stack import Stack

_TEMPLATE_DATABASE = "migrated_template"

_numbers = itertools.count(1)


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


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole system: PostgreSQL, NATS, Envoy, two gateways, one API, one worker.

    A test that hurts a process leaves it running and healthy again, or starts a stack of its own.
    """
    system = Stack()
    system.start()
    yield system
    system.stop()
