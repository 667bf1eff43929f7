"""Processes that are started, watched, hurt and stopped; none outlives the Python process that started it.

Each runs in a process group of its own, so that a kill takes its children along. Before it becomes the program, the
shell that starts it tells the keeper (`support.keeper`) its process group; when this Python process is gone, for
whatever reason, the keeper stops what is still listed. That way is used instead of `PR_SET_PDEATHSIG` because that
signal comes when the *thread* ends which started the process, reaches no grandchildren and leaves no time to stop in
order, and because it needs a `preexec_fn`, which forks a process that has gRPC's threads.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from support.keeper import descendants, live_groups, process_table
from support.waiting import eventually

# What a process sees of our environment. A proxy's variables are not among it: gRPC would ask it for 127.0.0.1.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAUNCHER = 'echo "process $$ $0" >&0 && exec "$@" </dev/null'


class ProcessFailedError(AssertionError):
    """A process did not start, did not stop in time, or died; carries the end of its log."""


@dataclass(frozen=True)
class Account:
    """The user under which a process runs."""

    uid: int
    gid: int


class Keeper:
    """This process's line to its keeper, started at the first use."""

    _instance: ClassVar[Keeper | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._owner = os.getpid()
        read_end, self.pipe = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(__file__).with_name("keeper.py"))],
            stdin=read_end,
            start_new_session=True,
            cwd="/",
        )
        os.close(read_end)
        atexit.register(self._close)

    @classmethod
    def get(cls) -> Keeper:
        """Return the keeper of this process."""
        with cls._lock:
            if cls._instance is None or cls._instance._owner != os.getpid():
                cls._instance = cls()
            return cls._instance

    def tell(self, line: str) -> None:
        """Send one line; see `support.keeper`."""
        os.write(self.pipe, f"{line}\n".encode())

    def _close(self) -> None:
        if self._owner == os.getpid():
            os.close(self.pipe)
            self._process.wait()


def scratch_directory(name: str, parent: Path | None = None) -> Path:
    """Make a temporary directory that goes away with this process, even when that is killed."""
    path = Path(tempfile.mkdtemp(prefix=f"cs-{name}-", dir=parent))
    Keeper.get().tell(f"directory {path}")
    return path


def remove_directory(path: Path) -> None:
    """Remove a scratch directory early."""
    shutil.rmtree(path, ignore_errors=True)


class ManagedProcess:
    """One process, started any number of times with the same arguments.

    Args:
        name: how it is called in messages.
        args: the program and its arguments.
        env: its environment variables beside PATH, HOME and the locale.
        log_file: where its output goes; appended to.
        cwd: its working directory.
        ready: true once it does its work; must not block for long. Called from the thread that waits.
        ready_timeout: seconds it may take to get ready.
        stop_signal: what asks it to stop in order.
        stop_timeout: seconds that may take.
        account: the user to run it as, if not ours.
    """

    def __init__(
        self,
        name: str,
        args: Sequence[str | Path],
        *,
        log_file: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool] | None = None,
        ready_timeout: float = 30.0,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 20.0,
        account: Account | None = None,
    ) -> None:
        self.name = name
        self.args = [str(arg) for arg in args]
        self.env = dict(env or {})
        self.log_file = log_file
        self.cwd = cwd
        self.ready = ready
        self.ready_timeout = ready_timeout
        self.stop_signal = stop_signal
        self.stop_timeout = stop_timeout
        self.account = account
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Launch the process and wait until it is ready.

        Raises:
            ProcessFailedError: it ended, or was not ready in time; it runs no more.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting; `wait_ready` is to follow. Several can start side by side so."""
        if self.is_running:
            raise RuntimeError(f"{self.name} runs already")
        self.before_launch()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCHER, str(int(self.stop_signal)), *self.args],
                stdin=Keeper.get().pipe,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=inherited_environment() | self.env,
                cwd=self.cwd,
                start_new_session=True,
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )

    def before_launch(self) -> None:
        """Prepare what each start needs anew; for subclasses."""

    def wait_ready(self) -> None:
        """Wait until the process is ready.

        Raises:
            ProcessFailedError: it ended, or was not ready in time; it runs no more.
        """

        def ended_or_ready() -> bool:
            return not self.is_running or self.ready is None or self.ready()

        try:
            eventually(ended_or_ready, timeout=self.ready_timeout, retry_on=(OSError, AssertionError), message="ready")
        except AssertionError as error:
            self.kill9()
            raise self._failed(f"not ready within {self.ready_timeout:g} s ({error})") from error
        if not self.is_running:
            code = self.returncode
            self.kill9()
            raise self._failed(f"ended with status {code} before it was ready")

    def stop(self, timeout: float | None = None) -> int:
        """Ask the process to stop and wait for it; no-op when it does not run.

        Args:
            timeout: seconds it may take, instead of `stop_timeout`.

        Returns:
            Its exit status; negative is a signal's number.

        Raises:
            ProcessFailedError: it did not stop in time; it has been killed.
        """
        popen = self._popen
        if popen is None:
            return 0
        seconds = self.stop_timeout if timeout is None else timeout
        if popen.poll() is None:
            self.request_stop()
            try:
                popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise self._failed(f"did not stop within {seconds:g} s") from None
        self._bury(popen)
        return popen.returncode

    def request_stop(self) -> None:
        """Ask the process to stop without waiting; `stop` is to follow. Asking twice is as good as once."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(self.stop_signal)
            # A paused process acts on a signal only when it goes on.
            self._popen.send_signal(signal.SIGCONT)

    def kill9(self) -> None:
        """Kill the process and its children with SIGKILL; no-op when it does not run."""
        if self._popen is not None:
            self._bury(self._popen)

    def restart(self) -> None:
        """Stop the process if it runs, and start it with the same arguments."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop the process and its children in their tracks (SIGSTOP): there, but not answering."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end by itself and return its exit status.

        Raises:
            ProcessFailedError: it still runs after the time.
        """
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failed(f"still runs after {timeout} s") from None
        self._bury(self._popen)
        return code

    @property
    def pid(self) -> int:
        """The process's id, which is its group's as well."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives (paused or not)."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The last exit status; None while it runs or before the first start."""
        return None if self._popen is None else self._popen.poll()

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _bury(self, popen: subprocess.Popen[bytes]) -> None:
        """Kill what is left of the process and its children, wait for that, and tell the keeper."""
        # PostgreSQL's children make groups of their own.
        children = descendants(popen.pid)
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        popen.wait()
        eventually(
            lambda: not live_groups([popen.pid]) and not {entry.pid for entry in process_table()} & set(children),
            message=f"{self.name}'s children are gone",
        )
        Keeper.get().tell(f"gone {popen.pid}")

    def _failed(self, what: str) -> ProcessFailedError:
        return ProcessFailedError(f"{self.name} {what}; the end of {self.log_file}:\n{self.log_tail()}")


def stop_in_stages(stages: Iterable[Sequence[ManagedProcess]]) -> None:
    """Stop processes stage after stage, those of one stage side by side; a failure does not keep the others running.

    Raises:
        ProcessFailedError: one did not stop in time, the first of them if several; all are gone.
    """
    failures: list[ProcessFailedError] = []
    for stage in stages:
        for process in stage:
            process.request_stop()
        for process in stage:
            try:
                process.stop()
            except ProcessFailedError as failure:
                failures.append(failure)
    if failures:
        raise failures[0]


def inherited_environment() -> dict[str, str]:
    """Return the part of our environment that processes are given."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment.setdefault("PATH", _DEFAULT_PATH)
    return environment
