"""Desks to type at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from data_logging import ImpressionLog
from keyboard_app.suggestions import FieldKind, SuggestionEngine, TypingSession
from keyboard_app.text import WordSuggester
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import load_catalog
from suggestion_model.runtime import Ranker
from suggestion_model.types import CandidateSource
from tests.clocks import SettableClock
from tests.keyboard_app.suggestions.desk import ALWAYS, QUERIES, START, THRESHOLD, Desk, FixedDraws, Seat


@pytest.fixture(scope="session")
def words() -> WordSuggester:
    """The shipped words, with corrections."""
    return WordSuggester.shipped()


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> CandidateSource:
    """A plain list of queries."""
    path = tmp_path_factory.mktemp("catalog") / "queries.csv"
    path.write_text(QUERIES)
    return load_catalog(path)


@pytest.fixture(scope="module")
def seat(
    bundle: Bundle,
    ranker: Ranker,
    words: WordSuggester,
    catalog: CandidateSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Seat]:
    """Make desks; their logs are closed at the end."""
    logs: list[ImpressionLog] = []

    def make(
        *draws: float, source: CandidateSource | None = None, kind: FieldKind = FieldKind.TEXT, **engine: object
    ) -> Desk:
        clock, folder = SettableClock(START), tmp_path_factory.mktemp("desk")
        log = ImpressionLog(folder / "log.sqlite", clock)
        logs.append(log)
        chance = FixedDraws(*draws or (THRESHOLD,))
        options = {"ranker": ranker, **engine}
        made = SuggestionEngine(bundle, source or catalog, log, clock, chance, **options)  # type: ignore[arg-type]
        session = TypingSession(made, log, words, clock, kind, search_address="https://search.example/?q={query}")
        session.open_conversation("c1")
        desk = Desk(session, made, log, clock, chance, folder)
        desk.threshold(ALWAYS)
        return desk

    yield make
    for log in logs:
        log.close()
