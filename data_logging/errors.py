"""What can go wrong with the local log. No message carries anything that was typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class LogError(Exception):
    """Base of all errors of the local log."""


class LogUnavailableError(LogError):
    """The file cannot be opened or written: read-only, no space left, or the disk failed. Nothing was stored."""


class LogBusyError(LogError):
    """Another process held the log for longer than the timeout. Nothing was changed; try again."""


class LogTooNewError(LogError):
    """The file was written by a newer version of this program. It was left as it is."""


class UnknownRowError(LogError):
    """No row has this id (any more)."""


@dataclass(frozen=True, slots=True)
class LogRecovered:
    """Notice that a damaged log was set aside and an empty one begun. Nothing was deleted."""

    set_aside: Path
    """Where the damaged file is now."""
    reason: str
    """What SQLite found, without any content."""

    def __str__(self) -> str:
        return (
            f"The local log was damaged ({self.reason}). It was kept as {self.set_aside} and an empty log was begun. "
            f"To rescue rows from it run: sqlite3 {self.set_aside.name} .recover; "
            "'keyboard-app log erase' removes it together with the log."
        )
