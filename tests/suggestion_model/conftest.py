"""Bundles, inputs and examples that the claims about the suggestion model share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_logging.records import Impression, LoggedImpression, Outcome
from suggestion_model.bundle import CATALOG, Bundle
from suggestion_model.catalog import MATCH_FEATURES
from suggestion_model.features import BASELINE_INDEX, CANDIDATE_TOKENS, CONTEXT_TOKENS, DENSE_FEATURES, Featurizer
from suggestion_model.hashed_features import BIAS_ID, HASHED_FEATURES, SCORE_ID
from suggestion_model.runtime import Ranker
from suggestion_model.types import Candidate, Example, RankerInputs


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The bundle in the package."""
    return Bundle.shipped()


@pytest.fixture(scope="session")
def featurizer(shipped: Bundle) -> Featurizer:
    """Of the shipped bundle."""
    return Featurizer(shipped)


@pytest.fixture
def ranker(shipped: Bundle) -> Ranker:
    """A ranker of its own for each test, at version 0."""
    return Ranker(shipped)


@pytest.fixture
def candidates() -> list[Candidate]:
    """Three restaurant queries, best first."""
    rng = np.random.default_rng(5)
    return [
        Candidate(query, "restaurants", score, features=tuple(float(f) for f in rng.random(len(MATCH_FEATURES))))
        for query, score in (
            ("thai restaurants in oakland", 0.8),
            ("thai restaurants in berkeley", 0.5),
            ("restaurants in oakland", 0.3),
        )
    ]


def labelled(rows: RankerInputs, row: int, label: float, weight: float = 1.0) -> Example:
    """One row with a label, and hashed features of its own."""
    rng = np.random.default_rng([row, 77])
    ids = rng.integers(2, 4096, HASHED_FEATURES).astype(np.int32)
    values = rng.random(HASHED_FEATURES).astype(np.float32)
    ids[:2] = BIAS_ID, SCORE_ID
    values[:2] = 1.0, rows.dense[row, BASELINE_INDEX]
    return Example(rows.context_ids[row], rows.candidate_ids[row], rows.dense[row], ids, values, label, weight)


@pytest.fixture
def as_example() -> Callable[..., Example]:
    """Makes an example of a row of inputs: (rows, row, label, weight)."""
    return labelled


@pytest.fixture
def random_inputs() -> Callable[[int, int], RankerInputs]:
    """Makes n random rows from a seed."""

    def make(n: int, seed: int = 0) -> RankerInputs:
        rng = np.random.default_rng(seed)
        context = rng.integers(2, 8000, (n, CONTEXT_TOKENS)).astype(np.int32)
        context[rng.random(context.shape) < 0.5] = 0
        candidate = rng.integers(2, 8000, (n, CANDIDATE_TOKENS)).astype(np.int32)
        return RankerInputs(context, candidate, rng.random((n, DENSE_FEATURES)).astype(np.float32))

    return make


@pytest.fixture
def examples(random_inputs: Callable[[int, int], RankerInputs]) -> list[Example]:
    """Forty examples whose label depends on one dense feature."""
    rows = random_inputs(40, 3)
    return [labelled(rows, i, float(rows.dense[i, 4] > 0.7)) for i in range(40)]


@pytest.fixture
def impression() -> Impression:
    """One offer as the log holds it."""
    return Impression(
        created_at=1_780_000_000.0,
        conversation="c",
        context="what do you feel like?\nlooking for a thai restaurant in oakland",
        candidate="thai restaurants in oakland",
        category="restaurants",
        baseline_score=0.8,
        features=tuple(float(i) / DENSE_FEATURES for i in range(DENSE_FEATURES)),
        score=-1.0,
        slot=0,
        shown=True,
        explored=False,
        propensity=0.95,
        model_version=0,
        arm="treatment",
    )


@pytest.fixture
def logged(impression: Impression) -> Callable[..., LoggedImpression]:
    """Makes log entries; keyword arguments change the impression."""

    def make(outcome: Outcome = Outcome.TAPPED, **changes: object) -> LoggedImpression:
        return LoggedImpression(1, replace(impression, **changes), outcome, None, None)  # type: ignore[arg-type]

    return make


@pytest.fixture
def bundle_copy(shipped: Bundle, tmp_path: Path) -> Path:
    """A copy of the shipped bundle that a test may damage."""
    copy = tmp_path / "v0"
    copy.mkdir()
    for file in shipped.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert (copy / CATALOG).is_file()
    return copy
