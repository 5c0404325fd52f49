"""What must never fall again, whatever backup is restored: metadata versions, model numbers, privacy spent.

The marks live in one small file outside the database and its backups: ``versions.json`` beside the release keys, or
where ``high_water`` points, or in the folder of an SQLite database (another database there belongs to the same
devices, and what they spent stays spent). They are raised before the database commits, so a crash can
only leave them too high: a version is skipped, a charge is counted although its sum was never opened.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from coordinator.errors import ReleaseError
from coordinator.settings import Settings

FILE = "versions.json"


class Spent(msgspec.Struct, frozen=True):
    """Privacy one task has spent."""

    rho: float = 0.0
    """Zero-concentrated differential privacy of all sums with noise."""
    without_noise: int = 0
    """Sums released without any."""

    def at_least(self, other: Spent) -> Spent:
        """The higher of each."""
        return Spent(max(self.rho, other.rho), max(self.without_noise, other.without_noise))


class HighWater(msgspec.Struct):
    """Highest values ever used."""

    roles: dict[str, int] = msgspec.field(default_factory=dict)
    """Metadata version by role."""
    model: int = 0
    spent: dict[str, Spent] = msgspec.field(default_factory=dict)
    """By task."""

    @classmethod
    def read(cls, path: Path) -> HighWater:
        """The marks in a file, or in the online folder of release keys; none when there is no file yet.

        Raises
        ------
        ReleaseError
            when the file cannot be read: going on without it could lower what it guards.
        """
        path = _file(path)
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()
        except (msgspec.DecodeError, OSError):
            raise ReleaseError(f"{path} cannot be read: restore it, versions and privacy spent depend on it") from None


@contextmanager
def raising(path: Path) -> Iterator[HighWater]:
    """Read the marks, let the caller raise them, and replace the file whole; one process at a time."""
    path = _file(path)
    with open(path.with_name(path.name + ".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marks = HighWater.read(path)
        before = msgspec.json.encode(marks)
        yield marks
        if msgspec.json.encode(marks) != before:
            part = path.with_name(path.name + ".part")
            part.write_bytes(msgspec.json.format(msgspec.json.encode(marks)))
            os.replace(part, path)


def high_water_path(settings: Settings) -> Path | None:
    """Where the marks of a deployment are; None when it has no place for them (PostgreSQL without keys or setting)."""
    if settings.high_water:
        return Path(settings.high_water)
    if settings.releases.keys:
        return Path(settings.releases.keys) / FILE
    sqlite = settings.database_url.removeprefix("sqlite:///")
    return Path(sqlite).absolute().parent / FILE if sqlite != settings.database_url else None


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path
