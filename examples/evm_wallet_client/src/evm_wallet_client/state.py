"""What survives a restart of the client: the cursor, and whether an operator paused it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from .follower import Cursor


@dataclass(frozen=True)
class ClientState:
    """Saved after every step whose reports are in the client's buffer."""

    cursor: Cursor = field(default_factory=Cursor)
    paused: bool = False


class StateFileError(Exception):
    """The file is there and can not be understood."""


class StateFile:
    """One JSON file, replaced as a whole: a crash leaves the old one or the new one."""

    _adapter: TypeAdapter[ClientState] = TypeAdapter(ClientState)

    def __init__(self, path: Path) -> None:
        """Use `path`; its directory is made when it is missing."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def load(self) -> ClientState:
        """Read the state; without a file, that of a client that has seen nothing.

        Raises:
            StateFileError: the file is not one of ours. Delete it to begin anew.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ClientState()
        try:
            return self._adapter.validate_json(content)
        except ValidationError as error:
            raise StateFileError(f"{self._path} is not a state file: {error}") from None

    def save(self, state: ClientState) -> None:
        """Replace the file, and wait until the disk has it: the buffer before it does the same."""
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(self._adapter.dump_json(state))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
