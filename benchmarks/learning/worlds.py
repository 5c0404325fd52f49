"""People typing in a world: which typist they are, what their keyboard shows them, and what its log then holds.

A *world* fixes the typist's constants, where candidates come from, and who decides what is shown. Everybody types all
their days on the session and log that a window uses; what the log holds afterwards, featurised by the product, is one
row for every line that had a candidate. Beside it stands what no device knows: the typist's probability of tapping.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.reference import PlainBm25
from data_logging import ImpressionLog
from data_logging.records import LoggedImpression, Outcome
from keyboard_app.simulation.clock import SimulatedClock
from keyboard_app.simulation.evaluation import RememberingSource
from keyboard_app.simulation.person import SimulatedPerson
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.splits import Person
from keyboard_app.simulation.typist import Typist, TypistSetting
from keyboard_app.suggestions import Exploration, SuggestionEngine, TypingSession
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog, shipped_catalog
from suggestion_model.features import Featurizer
from suggestion_model.runtime import Ranker
from suggestion_model.types import Candidate, CandidateSource, Context, Example

Array = NDArray[Any]
EXAMPLE_FIELDS = tuple(field.name for field in fields(Example) if field.name not in ("label", "weight"))
_SHOW_ALWAYS = -1e30
_MEMORY = Path("/dev/shm")
"""Logs are written and thrown away by the thousand; a file system in memory spares the disk, where there is one."""


class World(msgspec.Struct, frozen=True):
    """What people type on."""

    typist: TypistSetting
    policy: Literal["always", "field"] = "always"
    """``always`` shows the best candidate of every line; ``field`` is version 0's threshold with exploration."""
    source: Literal["catalog", "reference"] = "catalog"

    @property
    def name(self) -> str:
        """For progress and files."""
        return f"{self.source}-{self.policy}-{self.typist.seed}"


@dataclass(frozen=True)
class Rows:
    """One row for each line that had a candidate, person by person in the order of time; n rows."""

    person: Array
    """int32[n], index into the people."""
    time: Array
    """float64[n], Unix time in seconds."""
    training: Array
    """bool[n]: the line belongs to what its person may train on."""
    chat: Array
    """bool[n]: a line on which nothing is ever wanted."""
    shown: Array
    """bool[n]: it was examined."""
    tapped: Array
    """bool[n], drawn."""
    propensity: Array
    """float64[n], probability that ``shown`` came out as it did."""
    probability: Array
    """float64[n], of a tap once examined."""
    taste: Array
    """float64[n], of the person for the line's topic, in [0, 1]."""
    baseline: Array
    """float64[n], the source's own score."""
    query: Array
    """int32[n], equality only: the same query has the same number."""
    category: Array
    """int32[n], likewise."""
    topic: Array
    """int32[n], likewise."""


ROW_FIELDS = tuple(field.name for field in fields(Rows))
_NAMES = ("query", "category", "topic")


class Booth:
    """Lets people type; one a process."""

    def __init__(self, catalog: Path | None) -> None:
        self._bundle = Bundle.shipped()
        found = load_catalog(catalog, sensitive=True) if catalog is not None else shipped_catalog(sensitive=True)
        self._catalog = RememberingSource(_NothingSensitive(found))
        self._plain = PlainBm25.read(catalog) if catalog is not None and ".csv" in catalog.name else None
        self._ranker = Ranker(self._bundle)
        self._featurizer = Featurizer(self._bundle)

    def type_days(self, person: Person, worlds: Sequence[World]) -> list[dict[str, Any]]:
        """Type one person's days in each world; candidates of a context are computed once.

        Returns:
            For each world the columns of its rows (without ``person``), names still as text, and ``lines``:
            int[2, 2], lines typed by (training, chat).
        """
        found = [self._type(person, world) for world in worlds]
        self._catalog.forget()
        return found

    def _type(self, person: Person, world: World) -> dict[str, Any]:
        clock = SimulatedClock()
        typist = Typist(world.typist)
        with tempfile.TemporaryDirectory(prefix="laboratory-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            log = ImpressionLog(Path(folder) / "log.sqlite", clock=clock, retention_days=3650)
            engine = SuggestionEngine(
                self._bundle,
                self._source(world),
                log=log,
                clock=clock,
                rng=random.Random(f"{world.typist.seed}/{person.user}"),
                exploration=Exploration() if world.policy == "field" else Exploration(0.0, 0.0),
                timezone=UTC,
                ranker=self._ranker,
                featurizer=self._featurizer,
            )
            if world.policy == "always":
                engine.use_model(0, self._bundle.weights0, _SHOW_ALWAYS)
            else:
                engine.use_model(0, self._bundle.weights0, self._bundle.threshold0)
            session = TypingSession(engine, log, clock=clock, examined_after_s=world.typist.dwell_s)
            owner = SimulatedPerson(session, typist, clock, "line")
            noted: dict[int, tuple[ReplayLine, bool]] = {}
            lines = np.zeros((2, 2), np.int64)
            parts = [(True, person.training), (False, person.scoring)]
            # The reference learns nothing, so only the lines it is judged on are typed on it.
            for training, part in parts if world.source == "catalog" else parts[1:]:
                for line in part:
                    lines[int(training), int(line.kind == "chat")] += 1
                    owner.type_line(line)
                    sent = session.last_line
                    if sent is not None and sent.row is not None and sent.impression is not None:
                        noted[sent.row] = (line, training)
            logged = {row.id: row for row in log.impressions()}
            log.close()
        rows = [(logged[number], *noted[number]) for number in sorted(noted)]
        return {**self._columns(rows, typist, world), "lines": lines}

    def _source(self, world: World) -> CandidateSource:
        if world.source == "catalog":
            return self._catalog
        if self._plain is None:
            raise ValueError("the reference needs a query list; the shipped graph is none")
        return self._plain

    def _columns(
        self, rows: Sequence[tuple[LoggedImpression, ReplayLine, bool]], typist: Typist, world: World
    ) -> dict[str, Any]:
        impressions = [logged.impression for logged, _, _ in rows]
        taps = [typist.tap_probability(logged.impression.candidate, line) for logged, line, _ in rows]
        columns: dict[str, Any] = {
            "time": np.array([each.created_at for each in impressions], np.float64),
            "training": np.array([training for _, _, training in rows], bool),
            "chat": np.array([line.kind == "chat" for _, line, _ in rows], bool),
            "shown": np.array([each.shown for each in impressions], bool),
            "tapped": np.array([logged.outcome is Outcome.TAPPED for logged, _, _ in rows], bool),
            "propensity": np.array([each.propensity for each in impressions], np.float64),
            "probability": np.array(taps, np.float64),
            "taste": np.array([typist.taste(line.user, line.topic) for _, line, _ in rows], np.float64),
            "baseline": np.array([each.baseline_score for each in impressions], np.float64),
            "query": [each.candidate for each in impressions],
            "category": [each.category for each in impressions],
            "topic": [line.topic for _, line, _ in rows],
        }
        if world.source == "catalog":
            # A withheld row is featurised like a shown one: it is never trained on, but a model can be judged on it.
            examples = [
                self._featurizer.example(_as_shown(logged) if not logged.impression.shown else logged)
                for logged, _, _ in rows
            ]
            for name in EXAMPLE_FIELDS:
                columns[f"example_{name}"] = [getattr(example, name) for example in examples]
        return columns


def _as_shown(logged: LoggedImpression) -> LoggedImpression:
    return replace(logged, impression=replace(logged.impression, shown=True), outcome=Outcome.IGNORED)


def stack(people: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Array]:
    """Join the columns of several people, (index, columns) each, into arrays; names become ``name_*`` lists."""
    arrays: dict[str, Array] = {}
    counts = [len(columns["time"]) for _, columns in people]
    arrays["person"] = np.repeat(np.array([index for index, _ in people], np.int32), counts)
    for name in ROW_FIELDS[1:]:
        if name in _NAMES:
            values = [value for _, columns in people for value in columns[name]]
            known, numbers = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
            arrays[name], arrays[f"name_{name}"] = numbers.astype(np.int32), known
        else:
            arrays[name] = np.concatenate([columns[name] for _, columns in people])
    for name in {key for _, columns in people for key in columns if key.startswith("example_")}:
        values = [value for _, columns in people for value in columns[name]]
        if values:
            arrays[name] = np.stack(values)
    arrays["lines"] = np.stack([columns["lines"] for _, columns in people])
    arrays["users"] = np.array([index for index, _ in people], np.int32)
    return arrays


def join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Join stacked parts, rows ordered by person; names are numbered anew over all parts."""
    found: dict[str, Array] = {}
    order = np.argsort(np.concatenate([part["person"] for part in parts]), kind="stable")
    people = np.argsort(np.concatenate([part["users"] for part in parts]))
    for name in set().union(*parts):
        if name.startswith("name_"):
            continue
        if name in _NAMES:
            known, numbers = np.unique(np.concatenate([p[f"name_{name}"][p[name]] for p in parts]), return_inverse=True)
            found[name], found[f"name_{name}"] = numbers.astype(np.int32)[order], known
        elif name in ("lines", "users"):
            found[name] = np.concatenate([part[name] for part in parts])[people]
        else:
            found[name] = np.concatenate([part[name] for part in parts if len(part["person"])])[order]
    return found


class _NothingSensitive:
    """Judging happens with sensitive categories switched on: they are shown and explored like any other."""

    def __init__(self, source: CandidateSource) -> None:
        self._source = source

    def candidates(self, context: Context, limit: int = 8) -> list[Candidate]:
        return [replace(found, sensitive=False) for found in self._source.candidates(context, limit)]
