"""Score models on people who never trained them, and on days nobody trained on.

Every model types for the same people on the same engine and session a window uses, at its own field threshold and
without exploration, so that habits and queries that stay away develop as they would in the field. Noted of each line
are the best candidate, shown or not, its score, and the typist's probability of tapping it;
:mod:`keyboard_app.simulation.lift` reads the rest off these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.lift import Lift, OperatingPoint, ScoredLines, field_point, lift, operating_point
from keyboard_app.simulation.person import LineOutcome, SimulatedPerson
from keyboard_app.simulation.processes import die_with_parent
from keyboard_app.simulation.splits import Person, load_people, outline
from keyboard_app.simulation.typist import Typist, TypistSetting
from keyboard_app.suggestions import Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog, shipped_catalog
from suggestion_model.runtime import Ranker
from suggestion_model.types import Candidate, CandidateSource, Context, Head


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """Weights on top of the shipped bundle, and the threshold they have in the field."""

    version: int
    weights: NDArray[np.float32]
    """float32[d]"""
    threshold: float
    """A logit."""
    head: Head = Head.RANKER

    @classmethod
    def shipped(cls) -> ModelUnderTest:
        """Version 0."""
        bundle = Bundle.shipped()
        return cls(0, bundle.weights0, bundle.threshold0)


@dataclass(frozen=True, slots=True)
class EvaluationSetting:
    """What is typed, and for whom."""

    replay: Path
    catalog: Path | None
    """None for the catalog that ships with the package."""
    typist: TypistSetting
    known: tuple[str, ...] = ()
    """People who trained: their last four days are scored, after their training days were typed unscored."""
    most_new_people: int | None = None
    """Score at most this many of the people who never train; None for all."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models at their own operating points, over the same lines."""

    first: OperatingPoint
    last: OperatingPoint
    lift: Lift
    lines: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The last model against the first."""

    overall: Comparison
    new_people: Comparison | None
    """People who never trained, all their days; None without any."""
    known_people: Comparison | None
    """People who trained, on the last four days."""
    scored: tuple[ScoredLines, ScoredLines]
    """First and last, all lines; the person index counts through new people, then known ones."""
    published: OperatingPoint
    """The last model at the threshold it has in the field."""


class RememberingSource:
    """Remembers candidates by context: the models compared here meet the same contexts, and matching costs the most."""

    def __init__(self, source: CandidateSource) -> None:
        self._source = source
        self._known: dict[tuple[Context, int], list[Candidate]] = {}

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        """As the source."""
        key = (context, limit)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._source.candidates(context, limit)
        return found

    def forget(self) -> None:
        """Drop everything."""
        self._known.clear()


class Examiner:
    """Lets people type on models; one a process."""

    def __init__(self, catalog: Path | None, typist: TypistSetting) -> None:
        self._bundle = Bundle.shipped()
        self._source = RememberingSource(load_catalog(catalog) if catalog is not None else shipped_catalog())
        self._typist = Typist(typist)
        self._ranker = Ranker(self._bundle)

    def examine(self, person: Person, models: Sequence[ModelUnderTest]) -> list[tuple[Any, int]]:
        """Type one person's days on each model.

        Returns:
            For each model (float64[n, 2] with score and tap probability of every line that had a candidate, lines).
        """
        results = [self._type(person, model) for model in models]
        self._source.forget()
        return results

    def _type(self, person: Person, model: ModelUnderTest) -> tuple[Any, int]:
        clock = SimulatedClock()
        engine = SuggestionEngine(
            self._bundle,
            self._source,
            log=None,
            clock=clock,
            exploration=Exploration(0.0, 0.0),
            timezone=UTC,
            ranker=self._ranker,
        )
        engine.use_model(model.version, model.weights, model.threshold, head=model.head)
        session = TypingSession(engine, clock=clock, examined_after_s=self._typist.setting.dwell_s)
        owner = SimulatedPerson(session, self._typist, clock, "line")
        owner.type_lines(person.training)
        outcomes: list[LineOutcome] = [owner.type_line(line) for line in person.scoring]
        rows = [(outcome.score, outcome.tap_probability) for outcome in outcomes if outcome.candidate is not None]
        return np.array(rows, np.float64).reshape(-1, 2), len(outcomes)


def evaluate(
    first: ModelUnderTest, last: ModelUnderTest, setting: EvaluationSetting, processes: int = 2, seed: int = 0
) -> Evaluation:
    """Compare two models on held-out people and held-back days.

    Arguments:
        first: usually version 0.
        last: usually the newest version.
        setting: who types what.
        processes: how many share the work; 1 stays in this process.
        seed: of the bootstrap.

    Raises:
        ReplayError, CatalogError, BundleError: something cannot be read.
    """
    seen = outline(setting.replay)
    new = seen.held_out[: setting.most_new_people]
    users = [*new, *setting.known]
    # Dealt by length, so that the processes finish together.
    order = sorted(range(len(users)), key=lambda index: -seen.lines.get(users[index], 0))
    shares = [[users[index] for index in order[part::processes]] for part in range(processes)]
    jobs = [(setting, share, (first, last)) for share in shares if share]
    if len(jobs) <= 1:
        found = [_examine_all(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(len(jobs), mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
            found = [future.result() for future in [pool.submit(_examine_all, *job) for job in jobs]]
    by_user = {user: results for part in found for user, results in part.items()}
    rng = np.random.default_rng(seed)
    scored = _gather(users, by_user, 0), _gather(users, by_user, 1)
    return Evaluation(
        overall=_compare(users, by_user, rng),
        new_people=_compare(new, by_user, rng) if new else None,
        known_people=_compare(list(setting.known), by_user, rng) if setting.known else None,
        scored=scored,
        published=field_point(scored[1], last.threshold),
    )


def _begin_worker() -> None:
    """End with the parent, however it ends; and be quiet: LiteRT greets every process on standard error."""
    die_with_parent()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _examine_all(
    setting: EvaluationSetting, users: list[str], models: tuple[ModelUnderTest, ModelUnderTest]
) -> dict[str, list[tuple[Any, int]]]:
    examiner = Examiner(setting.catalog, setting.typist)
    people = load_people(setting.replay, outline(setting.replay), users)
    return {user: examiner.examine(person, models) for user, person in people.items()}


def _gather(users: Iterable[str], by_user: dict[str, list[tuple[Any, int]]], model: int) -> ScoredLines:
    parts = [by_user[user][model] for user in users]
    rows = np.concatenate([rows for rows, _ in parts]) if parts else np.zeros((0, 2))
    person = np.repeat(np.arange(len(parts)), [len(rows) for rows, _ in parts])
    return ScoredLines(person.astype(np.int64), rows[:, 0], rows[:, 1], sum(lines for _, lines in parts))


def _compare(users: list[str], by_user: dict[str, list[tuple[Any, int]]], rng: np.random.Generator) -> Comparison:
    first, last = _gather(users, by_user, 0), _gather(users, by_user, 1)
    return Comparison(
        operating_point(first), operating_point(last), lift([(first, last)], len(users), rng), first.lines
    )
