"""Child processes that never outlive their parent, and that explain themselves when they die."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
TAIL_LINES = 15


class ChildError(RuntimeError):
    """A child process died or did not come up; the message ends with the tail of its log."""


class Child:
    """One child process with its log file.

    Args:
        name: what it is, for messages.
        command: program and arguments.
        log: file that takes its standard error, and its standard output unless ``pipe``.
        pipe: keep standard input and output as binary streams, ``process.stdin`` and ``process.stdout``.
        environment: added to this process's environment.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        pipe: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else sink,
                stderr=sink,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                # A group of its own: Ctrl-C reaches the parent alone, which then stops its children in order.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise :class:`ChildError` if it ended with an error."""
        code = self.process.poll()
        if code:
            raise ChildError(f"{self.name} ended with code {code}. The end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log, indented."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return "  (no log)"
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (the log is empty)"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process and whatever it started, if it still runs."""
        self._signal(signal.SIGTERM)

    def stop(self, patience_s: float = 5.0) -> None:
        """Stop it: ask, wait at most ``patience_s`` seconds, then kill. Idempotent."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2.0)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def nudge(self) -> None:
        """Write an empty line to its standard input, if it still listens."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            return
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Children:
    """All children of a run; leaving the context stops every one of them, newest first, within a few seconds."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def start(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        pipe: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a child; see :class:`Child`."""
        child = Child(name, command, log, pipe=pipe, environment=environment)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise :class:`ChildError` for the first child that ended with an error."""
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """Stop all, newest first."""
        for child in reversed(self._children):
            child.ask_to_stop()
        for child in reversed(self._children):
            child.stop()


def run_to_end(name: str, command: Sequence[str], log: Path, timeout_s: float = 60.0) -> None:
    """Run a short command to its end.

    Raises:
        ChildError: it failed or took longer than ``timeout_s``.
    """
    child = Child(name, command, log)
    try:
        child.process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"{name} was not done after {timeout_s:.0f} s. Its log so far:\n{child.tail()}") from error
    finally:
        child.stop(patience_s=1.0)
    child.check()


def wait_for_file(path: Path, child: Child, timeout_s: float) -> str:
    """Wait until ``child`` has written ``path``; returns its text, stripped.

    Raises:
        ChildError: the child died, or the file is not there after ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text("utf-8").strip()):
            return text
        child.check()
        if not child.running:
            raise ChildError(f"{child.name} ended too early. The end of {child.log}:\n{child.tail()}")
        time.sleep(0.05)
    raise ChildError(f"{child.name} was not ready after {timeout_s:.0f} s. Its log so far:\n{child.tail()}")


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent dies, however it dies; Linux alone can be asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
