"""What people's devices logged, and what others would tap: typed once on version 0, then read by every model.

Training people type their days on version 0 with exploration, as in a fleet, and their logs give the examples of each
federated round. People who never train type theirs without exploration; of each line are kept the ranker's inputs for
the catalog's best candidate, which is all the ranker decides about, and the typist's probability of tapping it. A model
is then scored on those lines as they stand, at its own operating point (:mod:`keyboard_app.simulation.lift`).
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_logging import ImpressionLog
from data_logging.records import Outcome
from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.lift import ScoredLines
from keyboard_app.simulation.person import LineOutcome, SimulatedPerson
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.splits import Person, load_people, outline
from keyboard_app.simulation.typist import Typist, TypistSetting
from keyboard_app.suggestions import Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog, shipped_catalog
from suggestion_model.features import Featurizer, is_labelled
from suggestion_model.runtime import PAIR_INPUTS, Ranker
from suggestion_model.types import CandidateSource, Example, RankerInputs

_LABELLED = (Outcome.TAPPED, Outcome.DISMISSED, Outcome.IGNORED)


@dataclass(frozen=True, slots=True)
class Device:
    """One training device: its examples in the order of time."""

    user: str
    examples: tuple[Example, ...]
    known: tuple[int, ...]
    """How many of them its log held at each round."""

    def at_round(self, number: int) -> list[Example]:
        """What its log held when round ``number`` (from 0) began."""
        return list(self.examples[: self.known[number]])


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Candidates of lines by people who never train; m candidates on n lines."""

    inputs: RankerInputs
    """m rows."""
    line: NDArray[np.int64]
    """[m], index of the line; ascending."""
    taps: NDArray[np.float64]
    """[m], probability that the candidate is tapped once examined."""
    person: NDArray[np.int64]
    """[n], of each line."""
    lines_typed: int
    people: int

    def scored(self, logits: NDArray[np.floating]) -> ScoredLines:
        """A model's best candidate of each line, from its logits float[m]."""
        order = np.lexsort((-logits, self.line))
        first = np.append(True, np.diff(self.line[order]) > 0)
        best = order[first]
        return ScoredLines(self.person, logits[best].astype(np.float64), self.taps[best], self.lines_typed)

    def auc(self, logits: NDArray[np.floating]) -> float:
        """Probability that a tapped candidate outranks one that is not, each counted by its tap probability."""
        order = np.argsort(logits, kind="stable")
        ranked, taps = logits[order], self.taps[order]
        starts = np.flatnonzero(np.append(True, np.diff(ranked) > 0))
        positive = np.add.reduceat(taps, starts)
        negative = np.add.reduceat(1 - taps, starts)
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


@dataclass(frozen=True, slots=True)
class People:
    """Everything the quality part of a benchmark needs."""

    devices: tuple[Device, ...]
    held_out: HeldOut


def type_everything(
    replay: Path, catalog: Path | None, devices: int, rounds: int, most_held_out: int, typist: TypistSetting, seed: int
) -> People:
    """Type all days, on as many processes as there are processors.

    Raises:
        ReplayError, CatalogError, BundleError: something cannot be read.
    """
    seen = outline(replay)
    training = seen.choose(devices, seed)
    held_out = seen.held_out[:most_held_out]
    processes = max(1, min(os.cpu_count() or 1, 4))
    shares = [(training[part::processes], held_out[part::processes]) for part in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_type_some, replay, catalog, typist, seed, rounds, *share) for share in shares]
        parts = [job.result() for job in jobs]
    by_user = {device.user: device for part in parts for device in part[0]}
    lines = {user: rows for part in parts for user, rows in part[1].items()}
    return People(
        devices=tuple(by_user[user] for user in training),
        held_out=_gather([lines[user] for user in held_out]),
    )


@dataclass(frozen=True, slots=True)
class _TypedLine:
    inputs: RankerInputs
    taps: NDArray[np.float64]


def _type_some(
    replay: Path,
    catalog: Path | None,
    typist: TypistSetting,
    seed: int,
    rounds: int,
    training: list[str],
    held_out: list[str],
) -> tuple[list[Device], dict[str, tuple[int, list[_TypedLine]]]]:
    people = load_people(replay, outline(replay), [*training, *held_out])
    booth = _Booth(catalog, typist)
    devices = [booth.log_days(people[user], random.Random(f"{seed}/{user}"), rounds) for user in training]
    return devices, {user: booth.note_candidates(people[user]) for user in held_out}


class _Booth:
    """Lets people type on version 0 and keeps what is needed."""

    def __init__(self, catalog: Path | None, typist: TypistSetting) -> None:
        self._bundle = Bundle.shipped()
        self._source: CandidateSource = load_catalog(catalog) if catalog is not None else shipped_catalog()
        self._ranker = _ListeningRanker(self._bundle)
        self._featurizer = Featurizer(self._bundle)
        self._typist = Typist(typist)

    def _person(
        self, clock: SimulatedClock, log: ImpressionLog | None, rng: random.Random, exploration: Exploration
    ) -> TypingSession:
        engine = SuggestionEngine(
            self._bundle,
            self._source,
            log=log,
            clock=clock,
            rng=rng,
            exploration=exploration,
            timezone=UTC,
            ranker=self._ranker,
        )
        return TypingSession(engine, log, clock=clock, examined_after_s=self._typist.setting.dwell_s)

    def log_days(self, person: Person, rng: random.Random, rounds: int) -> Device:
        """Type the training days, cut into as many equal runs of lines as there are rounds."""
        clock = SimulatedClock()
        with tempfile.TemporaryDirectory() as folder:
            log = ImpressionLog(Path(folder) / "log.sqlite", clock=clock)
            session = self._person(clock, log, rng, Exploration())
            SimulatedPerson(session, self._typist, clock, "line").type_lines(person.training)
            rows = [row for row in log.impressions(outcomes=_LABELLED) if is_labelled(row)]
            log.close()
        shown_at = [row.impression.created_at for row in rows]
        ends = [person.training[len(person.training) * (k + 1) // rounds - 1].time for k in range(rounds)]
        return Device(
            person.user,
            tuple(self._featurizer.example(row) for row in rows),
            tuple(sum(at <= end for at in shown_at) for end in ends),
        )

    def note_candidates(self, person: Person) -> tuple[int, list[_TypedLine]]:
        """Type the scored days; returns how many lines, and those with candidates."""
        clock = SimulatedClock()
        session = self._person(clock, None, random.Random(0), Exploration(0.0, 0.0))
        noted: list[_TypedLine] = []

        def note(line: ReplayLine, query: str) -> None:
            inputs = self._ranker.heard
            assert inputs is not None
            noted.append(_TypedLine(inputs, np.array([self._typist.tap_probability(query, line)], np.float64)))

        owner = _NotedPerson(session, self._typist, clock, note)
        for line in person.scoring:
            owner.type_line(line)
        return len(person.scoring), noted


class _NotedPerson(SimulatedPerson):
    def __init__(
        self, session: TypingSession, typist: Typist, clock: SimulatedClock, note: Callable[[ReplayLine, str], None]
    ) -> None:
        super().__init__(session, typist, clock, "line")
        self._note = note

    def _look(self, line: ReplayLine) -> LineOutcome:
        if self._session.decision is not None:
            self._note(line, self._session.decision.candidate.query)
        return super()._look(line)


class _ListeningRanker(Ranker):
    heard: RankerInputs | None = None

    def scores(self, inputs: RankerInputs) -> NDArray[np.float32]:
        self.heard = inputs
        return super().scores(inputs)


def _gather(people: Sequence[tuple[int, list[_TypedLine]]]) -> HeldOut:
    lines = [(person, line) for person, (_, noted) in enumerate(people) for line in noted]
    if not lines:
        from benchmarks import BenchmarkError

        raise BenchmarkError("people who never train met no candidate at all: give a longer replay")
    return HeldOut(
        inputs=RankerInputs(
            *(np.concatenate([getattr(line.inputs, name) for _, line in lines]) for name in PAIR_INPUTS)
        ),
        line=np.repeat(np.arange(len(lines)), [len(line.taps) for _, line in lines]),
        taps=np.concatenate([line.taps for _, line in lines]),
        person=np.array([person for person, _ in lines], np.int64),
        lines_typed=sum(typed for typed, _ in people),
        people=len(people),
    )
