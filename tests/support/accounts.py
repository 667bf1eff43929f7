"""Which user PostgreSQL runs as: it refuses to run as root, which is what containers and CI machines often are."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support.processes import Account

ROOT = Path(__file__).resolve().parents[2]
_SHARED_DIRECTORIES = (Path("/var/tmp"), Path("/tmp"))


def unprivileged_account() -> Account | None:
    """Return `nobody` when we are root, None (ourselves) otherwise. `nobody` is on every system: none is created."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def is_reachable(path: Path, account: Account | None) -> bool:
    """Tell whether the account may pass through every directory above `path` (false below `/root`, for one)."""
    if account is None:
        return True
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def reachable_temporary_parent(account: Account | None) -> Path:
    """Return a directory for temporary files that the account can reach."""
    candidates = (Path(tempfile.gettempdir()), *_SHARED_DIRECTORIES)
    for candidate in candidates:
        if candidate.is_dir() and is_reachable(candidate / "x", account):
            return candidate
    raise RuntimeError(f"user {account} can reach none of {', '.join(map(str, candidates))}")


def stand_in_directory(path: Path) -> Path:
    """Return a directory of ours in /var/tmp that belongs to `path`, for when an account can not reach that.

    The same for each call, so that what is put there is found again.

    Raises:
        RuntimeError: someone else made it.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    directory = _SHARED_DIRECTORIES[0] / f"crypto-streaming-{os.geteuid()}-{digest}"
    directory.mkdir(mode=0o755, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022 or directory.is_symlink():
        raise RuntimeError(f"{directory} is not a directory that only we can write")
    directory.chmod(0o755)
    return directory


def reachable_copy(base: Path, names: Sequence[str], version: str, account: Account | None) -> Path:
    """Return `base` itself when the account can reach it, else a directory where it finds copies; made once.

    Args:
        base: a directory.
        names: what is needed of it, relative to it. A program finds its libraries relative to itself.
        version: another one makes another copy.
        account: who has to reach it.
    """
    if is_reachable(base / "x", account):
        return base
    parent = stand_in_directory(ROOT)
    copy = parent / version
    if not copy.exists():
        # Under another name first: a copy that was cut short is not taken for a whole one.
        partial = Path(tempfile.mkdtemp(dir=parent))
        partial.chmod(0o755)
        for name in names:
            shutil.copytree(base / name, partial / name, symlinks=True)
        try:
            partial.rename(copy)
        except OSError:
            shutil.rmtree(partial)
            if not copy.exists():  # else another process was quicker
                raise
    return copy
