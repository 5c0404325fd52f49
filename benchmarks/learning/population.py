"""What the training algorithms are given: every device's examples, and the rows they are judged on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.judging import Judged
from benchmarks.learning.typing_stage import TypedWorld
from keyboard_app.simulation.splits import hash_fraction
from suggestion_model.features import MAX_EXAMPLE_WEIGHT

INNER_SHARE = 0.25
"""Of the training people, by hash: everything that is chosen is chosen on these, trained on the others."""
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """One typed world seen as devices.

    Args:
        world: what everybody typed.
        inner: True to train on an inner part of the training people and judge on the rest of *them*, for choosing
            settings; False for the real split.
        weighted: whether examples carry their inverse propensity.
        left_out: topics, by number, that nobody trains on and that alone are judged; none for all of them.
    """

    world: TypedWorld
    inner: bool = False
    weighted: bool = True
    left_out: frozenset[int] = frozenset()
    devices: tuple[Index, ...] = field(init=False)
    """Rows of each training device's examples, in the order of time; devices without examples left out."""
    persons: tuple[int, ...] = field(init=False)
    """Whose they are."""
    judged_rows: Index = field(init=False)
    judged: Judged = field(init=False)
    labels: NDArray[np.float32] = field(init=False)
    """[n rows], 1 for a drawn tap."""
    weights: NDArray[np.float32] = field(init=False)
    """[n rows], clipped inverse propensities."""

    def __post_init__(self) -> None:
        world, rows = self.world, self.world.rows
        aside = np.array([hash_fraction("inner-split/1", user) < INNER_SHARE for user in world.users])
        trains = world.may_train & ~aside if self.inner else world.may_train
        unseen = np.isin(rows.topic, sorted(self.left_out))
        usable = rows.training & rows.shown & trains[rows.person] & ~unseen
        devices, persons = [], []
        starts = np.searchsorted(rows.person, np.arange(len(world.users) + 1))
        for person in range(len(world.users)):
            own = np.flatnonzero(usable[starts[person] : starts[person + 1]]) + starts[person]
            if len(own):
                devices.append(own.astype(np.int64))
                persons.append(person)
        if self.inner:
            judged = np.flatnonzero(rows.training & (world.may_train & aside)[rows.person])
            lines = world.lines[world.may_train & aside][:, 1, :].sum(axis=0)
        else:
            judged, lines = world.scored, world.scored_lines
        if self.left_out:
            judged = judged[unseen[judged]]
            # Lines without a candidate are counted for all topics together only.
            lines = np.array([(~rows.chat[judged]).sum(), rows.chat[judged].sum()])
        _set(self, "devices", tuple(devices))
        _set(self, "persons", tuple(persons))
        _set(self, "judged_rows", judged.astype(np.int64))
        _set(
            self,
            "judged",
            Judged(
                np.asarray(rows.probability[judged], np.float64), rows.chat[judged], int(lines[1]), int(lines.sum())
            ),
        )
        weights = np.minimum(1.0 / rows.propensity, MAX_EXAMPLE_WEIGHT) if self.weighted else np.ones(len(rows.person))
        _set(self, "labels", rows.tapped.astype(np.float32))
        _set(self, "weights", weights.astype(np.float32))


def _set(population: Population, name: str, value: Any) -> None:
    object.__setattr__(population, name, value)
