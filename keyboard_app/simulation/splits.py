"""Who trains, and on what: the splits of a replay, so that nothing that is scored was ever trained on.

A fifth of the people, by a hash of their name, never train. Of everybody else the last four days are held back. No
conversation crosses: it belongs to the side of its last line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from keyboard_app.simulation.replay import OnError, ReplayError, ReplayLine, read_replay

HELD_OUT_SHARE = 0.2
HELD_BACK = timedelta(days=4)


def hash_fraction(*parts: str) -> float:
    """A number in [0, 1), fixed by the parts, that looks uniform."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_held_out(user: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether this person never trains; a fifth of all people, whatever the replay."""
    return hash_fraction("federated-keyboard/held-out-people/1", user) < share


@dataclass(frozen=True, slots=True)
class Person:
    """One person's lines in a replay, cut into what may train and what is held back, each in the order of time."""

    user: str
    training: tuple[ReplayLine, ...]
    """Conversations that ended before the last four days; empty for a held-out person."""
    scoring: tuple[ReplayLine, ...]
    """For a held-out person everything, for the others the last four days."""


@dataclass(frozen=True, slots=True)
class ReplayOutline:
    """What one pass over a replay tells: when it begins and ends, and how much each person typed."""

    first: float
    """Unix time of the first line, in seconds."""
    last: float
    lines: Mapping[str, int]
    """Number of lines by person."""

    @property
    def cut(self) -> float:
        """Unix time at which the held-back days begin."""
        return self.last - HELD_BACK.total_seconds()

    @property
    def who_may_train(self) -> list[str]:
        """The people who are not held out, by name."""
        return sorted(user for user in self.lines if not is_held_out(user))

    @property
    def held_out(self) -> list[str]:
        """The people who never train, by name."""
        return sorted(user for user in self.lines if is_held_out(user))

    def choose(self, devices: int, seed: int) -> list[str]:
        """Draw the people whose keyboards a fleet of ``devices`` hosts; the same for everyone who knows the seed.

        Raises:
            ReplayError: fewer than ``devices`` people may train.
        """
        people = self.who_may_train
        if len(people) < devices:
            raise ReplayError(f"the replay holds {len(people)} people who may train; ask for at most that many devices")
        return sorted(people, key=lambda user: hash_fraction("federated-keyboard/fleet/1", str(seed), user))[:devices]


def outline(path: Path | str, on_error: OnError = "raise") -> ReplayOutline:
    """Read a replay once.

    Raises:
        ReplayError: the file is broken, empty, or spans too few days to hold four of them back.
    """
    counts: dict[str, int] = {}
    first = last = None
    for line in read_replay(path, on_error=on_error):
        first = first if first is not None else line.time
        last = line.time
        counts[line.user] = counts.get(line.user, 0) + 1
    if first is None or last is None:
        raise ReplayError(f"{Path(path).name} holds no lines; give a replay with at least one")
    if last - first <= HELD_BACK.total_seconds():
        raise ReplayError(
            f"{Path(path).name} spans less than the four days that are held back: nothing is left to train on"
        )
    return ReplayOutline(first, last, counts)


def load_people(
    path: Path | str, seen: ReplayOutline, users: Iterable[str], on_error: OnError = "raise"
) -> dict[str, Person]:
    """Load the lines of some people of a replay, split by :func:`split_person`, in the order asked for."""
    wanted = list(users)
    lines: dict[str, list[ReplayLine]] = {user: [] for user in wanted}
    for line in read_replay(path, on_error=on_error, users=lines.keys()):
        lines[line.user].append(line)
    return {user: split_person(user, lines[user], seen.cut) for user in wanted}


def split_person(user: str, lines: Sequence[ReplayLine], cut: float) -> Person:
    """Split one person's lines at ``cut`` (Unix time), conversations kept whole on the side of their last line."""
    if is_held_out(user):
        return Person(user, (), tuple(lines))
    end: dict[str, float] = {}
    for line in lines:
        end[line.conversation] = line.time
    return Person(
        user,
        tuple(line for line in lines if end[line.conversation] < cut),
        tuple(line for line in lines if end[line.conversation] >= cut),
    )
