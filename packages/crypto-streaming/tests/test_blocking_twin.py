"""One new file is a new command, in both twins; and what is committed is what would be generated."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = Path("packages/crypto-streaming/src/crypto_streaming")

NEW_COMMAND = """
from crypto_streaming import pb
from ._base import Command, CommandBuilder, CommandMethods

class NudgeCommand(Command):
    name = "nudge"
    payload_class = pb.PingCommand

    @staticmethod
    def create(strength: int = 1) -> pb.DjangoCommand:
        return CommandBuilder.create(pb.DjangoCommand, ping=pb.PingCommand(sequence=strength))

class NudgeMethods(CommandMethods):
    async def nudge_client(self, strength: int = 1) -> bool:
        return await self._deliver(NudgeCommand.create(strength))
"""

CHECK = """
import asyncio, inspect
from crypto_streaming import COMMANDS, BlockingStreamingCommandClient, StreamingCommandClient
assert COMMANDS["nudge"].create(3).ping.sequence == 3
assert inspect.iscoroutinefunction(StreamingCommandClient.nudge_client)
assert not inspect.iscoroutinefunction(BlockingStreamingCommandClient.nudge_client)
assert StreamingCommandClient.pause_client and BlockingStreamingCommandClient.pause_client
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package, the generator and the formatter's settings, to be changed at will."""
    shutil.copytree(ROOT / SOURCE, tmp_path / SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/blocking_twin.py", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def generate(root: Path) -> subprocess.CompletedProcess[str]:
    script = root / "scripts/blocking_twin.py"
    return subprocess.run([sys.executable, script], cwd=root, capture_output=True, text=True, check=False)


def generated(root: Path) -> dict[str, str]:
    package = root / SOURCE
    files = [*(package / "_blocking").rglob("*.py"), package / "commands/_registry.py"]
    return {str(path.relative_to(package)): path.read_text() for path in files}


def test_the_twin_is_up_to_date(copy: Path) -> None:
    assert generate(copy).returncode == 0
    assert generated(copy) == generated(ROOT)


def test_one_file_is_a_command(copy: Path) -> None:
    (copy / SOURCE / "commands/nudge.py").write_text(NEW_COMMAND)
    done = generate(copy)
    assert done.returncode == 0, done.stderr
    environment = {"PYTHONPATH": str((copy / SOURCE).parent)}
    subprocess.run([sys.executable, "-W", "error", "-c", CHECK], env=environment, check=True)


def test_half_a_command_is_refused(copy: Path) -> None:
    (copy / SOURCE / "commands/nudge.py").write_text(NEW_COMMAND.partition("class NudgeMethods")[0])
    done = generate(copy)
    assert done.returncode != 0
    assert "nudge.py: needs one subclass of CommandMethods" in done.stderr
