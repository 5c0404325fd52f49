"""The whole ranker of the benchmark is the shipped one until it is trained."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks._whole_ranker import WholeRanker, whole_size
from suggestion_model.bundle import Bundle
from suggestion_model.catalog import shipped_catalog
from suggestion_model.features import Featurizer, Habits
from suggestion_model.runtime import Ranker
from suggestion_model.types import Context


def test_before_training_it_scores_as_the_shipped_ranker_and_a_head_moves_both_alike() -> None:
    bundle = Bundle.shipped()
    context = Context("any good thai places in oakland?", ("are you hungry?",))
    inputs = Featurizer(bundle).inputs(
        context, shipped_catalog().candidates(context), Habits(), datetime(2026, 3, 4, 5, tzinfo=UTC)
    )
    assert len(inputs.dense) > 1
    whole, shipped = WholeRanker(bundle, (64, 32), bytes(32)), Ranker(bundle)
    assert whole.whole == whole_size(bundle)
    assert whole.scores(whole.start, inputs) == pytest.approx(shipped.scores(inputs), abs=1e-4)

    change = np.random.default_rng(0).normal(0, 0.1, bundle.dimension).astype(np.float32)
    shipped.set_weights(bundle.weights0 + change)
    moved = whole.start.copy()
    _, signs = whole.subspace.columns()
    moved[-bundle.dimension :] = change * signs[-bundle.dimension :]
    assert whole.scores(moved, inputs) == pytest.approx(shipped.scores(inputs), abs=1e-3)
