"""What this device took part in: a small file for its owner, and the guard against a second masked input.

Kept: when, which round and model, how many others, how many examples and bytes, how it ended. The newest 200 stay.
An entry is written *before* the masked input leaves, so that a crash in between can only make the device too careful.
"""

from __future__ import annotations

import enum
import threading
from pathlib import Path

import msgspec

from federated_protocol.plan import Plan
from keyboard_app.device.files import set_aside, write_atomically


class Ending(enum.StrEnum):
    """How a participation ended."""

    CONTRIBUTING = "contributing"
    """The masked input is on its way or the round is still running."""
    FINISHED = "finished"
    ABANDONED = "abandoned"
    LEFT = "left"


class HistoryEntry(msgspec.Struct, frozen=True):
    """One round this device put a masked input into."""

    when: float
    """Unix time in seconds."""
    task: str
    round: int
    session: str
    model_version: int
    model_digest: str
    examples: int
    participants: int = 0
    """Devices in the sum, this one included; 0 while unknown."""
    bytes_up: int = 0
    bytes_down: int = 0
    ending: Ending = Ending.CONTRIBUTING
    why: str = ""
    privacy: str = ""
    """The plan's own label: which noise, and the epsilon it stands for; empty in entries of older versions."""
    forgotten: bool = False
    """Deleted by the owner; what is left of it only keeps the device from sending twice in one round."""


class History:
    """The participations of this device, oldest first, in ``path`` (JSON lines would not be atomic; one file is).

    Args:
        path: the file; a damaged one is set aside and a new one begun.
        retry_window_s: attempts of one round follow each other within this time; later, the same task and round mean
            that a coordinator started over with a new database.
    """

    def __init__(self, path: Path, retry_window_s: float = 6 * 3600.0, keep: int = 200) -> None:
        self._path = path
        self._retry_window_s = retry_window_s
        self._keep = keep
        self._lock = threading.Lock()
        self._entries = self._read()

    @property
    def entries(self) -> tuple[HistoryEntry, ...]:
        """All kept participations, oldest first, without those the owner deleted."""
        with self._lock:
            return tuple(entry for entry in self._entries if not entry.forgotten)

    @property
    def rounds_joined(self) -> int:
        """How many kept participations ended in a sum."""
        return sum(entry.ending is Ending.FINISHED for entry in self.entries)

    def has_contributed(self, plan: Plan, now: float) -> bool:
        """Whether a masked input of this device may already be with the coordinator for this round.

        Any attempt of it counts, on whatever model: two sums that differ in one device give its input away. So does
        a session that was joined before, under whatever number: honest coordinators name each run anew.
        """
        return any(
            entry.session == plan.session
            or (entry.task == plan.task and entry.round == plan.round and abs(now - entry.when) < self._retry_window_s)
            for entry in self._all()
        )

    @property
    def newest_input_at(self) -> float | None:
        """Unix time in seconds of the newest masked input, deleted entries included; None when there was none."""
        return max((entry.when for entry in self._all()), default=None)

    def put(self, entry: HistoryEntry) -> None:
        """Add the entry, or replace the one of the same session, and write the file.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            before = next((known for known in self._entries if known.session == entry.session), None)
            if before is not None and before.forgotten:
                return  # its owner deleted it while the round was still running
            entries = [known for known in self._entries if known.session != entry.session]
            self._entries = [*entries, entry][-self._keep :]
            self._write()

    def delete(self, session: str, now: float) -> None:
        """Forget one participation.

        While its round could still be retried, the round's name alone stays behind, unseen: without it the device
        could be made to send a second masked input of the same round.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            self._entries = [self._bare(entry) if entry.session == session else entry for entry in self._entries]
            self._drop_stale(now)
            self._write()

    def erase(self, now: float) -> int:
        """Forget every participation, as :meth:`delete` does; returns how many there were.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            erased = sum(not entry.forgotten for entry in self._entries)
            self._entries = [self._bare(entry) for entry in self._entries]
            self._drop_stale(now)
            self._write()
            return erased

    def _all(self) -> tuple[HistoryEntry, ...]:
        with self._lock:
            return tuple(self._entries)

    @staticmethod
    def _bare(entry: HistoryEntry) -> HistoryEntry:
        return HistoryEntry(
            entry.when, entry.task, entry.round, entry.session, entry.model_version, entry.model_digest, 0,
            forgotten=True,
        )  # fmt: skip

    def _drop_stale(self, now: float) -> None:
        self._entries = [
            entry for entry in self._entries if not entry.forgotten or abs(now - entry.when) < self._retry_window_s
        ]

    def _write(self) -> None:
        write_atomically(self._path, msgspec.json.encode(self._entries))

    def _read(self) -> list[HistoryEntry]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[HistoryEntry])
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            set_aside(self._path)
            return []
