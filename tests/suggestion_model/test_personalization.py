"""A person's taste is believed as far as their own taps speak for it, and no further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suggestion_model.personalization import TasteSetting, adjust, infer_taste, relative_tastes
from suggestion_model.runtime import Ranker
from suggestion_model.types import Example

FLOOR = TasteSetting().floor
CATEGORIES = ("restaurants", "flights", "movies")


def offers(
    tastes: dict[str, float], count: int, seed: int, rate: float = 0.3
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Offers to a person whom the shared model foresees ``rate`` for, and who taps by their tastes (mean 0.5)."""
    rng = np.random.default_rng(seed)
    categories = [CATEGORIES[i] for i in rng.integers(3, size=count)]
    taste = np.array([tastes[category] for category in categories])
    logits = np.full(count, np.log(rate / (1 - rate)))
    return logits, rng.random(count) < np.minimum(rate * taste / 0.5, 1.0), categories


def test_a_strong_taste_is_found_and_used() -> None:
    found = infer_taste(*offers({"restaurants": 1.0, "flights": 0.0, "movies": 0.5}, 120, 0))
    assert found.kept
    assert found.loss_personal < found.loss_shared
    assert found.multipliers["restaurants"] > 1.4
    assert found.multipliers["flights"] < 0.4
    assert 0.6 < found.multipliers["movies"] < 1.4


def test_few_offers_leave_the_shared_model_in_use() -> None:
    found = infer_taste(*offers({"restaurants": 1.0, "flights": 0.0, "movies": 0.5}, 7, 0))
    assert not found.kept
    assert found.multipliers == {}
    assert infer_taste(np.zeros(0), np.zeros(0, bool), []).loss_shared == 0.0


def test_without_tastes_hardly_anybody_is_moved_and_the_less_the_longer_the_log() -> None:
    even = dict.fromkeys(CATEGORIES, 0.5)

    def moved(count: int) -> tuple[float, float]:
        found = [infer_taste(*offers(even, count, seed)) for seed in range(100)]
        away = [abs(m - 1.0) if taste.kept else 0.0 for taste in found for m in taste.multipliers.values()]
        return float(np.mean([taste.weight for taste in found])), float(np.mean(away))

    (some_weight, some), (less_weight, less) = moved(60), moved(400)
    assert less_weight < some_weight < sum(TasteSetting().prior)
    assert less < some < 0.1


def test_a_taste_that_later_offers_speak_against_is_dropped() -> None:
    """Somebody who taps as everybody does, over a long log, is left with the shared model alone."""
    even = dict.fromkeys(CATEGORIES, 0.5)
    found = [infer_taste(*offers(even, 400, seed)) for seed in range(100)]
    assert np.mean([taste.kept for taste in found]) < 0.4


@given(st.lists(st.tuples(st.floats(-8, 4), st.booleans(), st.sampled_from(CATEGORIES)), min_size=8, max_size=60))
def test_the_average_never_falls_behind_the_shared_model_by_more_than_its_prior(
    rows: list[tuple[float, bool, str]],
) -> None:
    logits, tapped, categories = (list(column) for column in zip(*rows, strict=True))
    found = infer_taste(np.array(logits), np.array(tapped), categories)
    telling = int((np.array(logits) > np.log(FLOOR / (1 - FLOOR))).sum())
    behind = (found.loss_personal - found.loss_shared) * telling
    assert behind <= -np.log(1 - sum(TasteSetting().prior)) + 1e-6


def test_the_loss_is_that_of_foreseeing_each_offer_from_those_before() -> None:
    logits, tapped, categories = offers({"restaurants": 1.0, "flights": 0.1, "movies": 0.5}, 30, 4)
    before = 0.0
    for number in range(8, 31):
        now = infer_taste(logits[:number], tapped[:number], categories[:number])
        if number > 8:
            step = now.loss_personal * number - before
            foreseen = infer_taste(logits[: number - 1], tapped[: number - 1], categories[: number - 1])
            p = 0.3 * foreseen.multipliers[categories[number - 1]]
            assert step == pytest.approx(-np.log(p if tapped[number - 1] else 1 - p), abs=0.02)
        before = now.loss_personal * number


@given(
    st.lists(st.tuples(st.floats(-8, 4), st.booleans(), st.sampled_from(CATEGORIES)), min_size=8, max_size=60),
)
def test_a_taste_never_leaves_what_is_possible(rows: list[tuple[float, bool, str]]) -> None:
    logits, tapped, categories = (list(column) for column in zip(*rows, strict=True))
    found = infer_taste(np.array(logits), np.array(tapped), categories)
    assert all(0.0 <= m <= 2.0 for m in found.multipliers.values())
    moved = adjust(np.array(logits, np.float32), categories, found.multipliers)
    assert np.isfinite(moved).all()
    low = np.array(logits) < np.log(0.99 * FLOOR / (1 - 0.99 * FLOOR))
    np.testing.assert_array_equal(moved[low], np.array(logits, np.float32)[low])
    assert np.isfinite([found.evidence, found.loss_shared, found.loss_personal]).all()


def test_the_order_of_the_offers_does_not_matter() -> None:
    logits, tapped, categories = offers({"restaurants": 1.0, "flights": 0.0, "movies": 0.5}, 40, 2)
    order = np.random.default_rng(0).permutation(40)
    there, back = (
        infer_taste(logits, tapped, categories),
        infer_taste(logits[order], tapped[order], [categories[i] for i in order]),
    )
    assert there.evidence == pytest.approx(back.evidence)
    assert there.multipliers == pytest.approx(back.multipliers)


def test_a_taste_moves_the_shared_models_scores_by_category(ranker: Ranker, examples: list[Example]) -> None:
    rows, weights = ranker.head_rows(examples), np.zeros_like(ranker.weights())
    categories = [CATEGORIES[int(row.label)] for row in examples]
    shared = ranker.head.logits(weights, rows)
    taste = infer_taste(shared, rows.label > 0.5, categories)
    own = adjust(shared, categories, taste.multipliers)
    assert taste.kept
    ignored = rows.label < 0.5
    assert (own[ignored] < shared[ignored]).all()


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (0.5, 0.5)])
def test_cells_stand_for_their_distribution(alpha: float, beta: float) -> None:
    cells = relative_tastes(alpha, beta)
    mean = alpha / (alpha + beta)
    variance = alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1))
    assert cells.mean() == pytest.approx(1.0)
    assert cells.var() == pytest.approx(variance / mean**2, rel=0.05)
