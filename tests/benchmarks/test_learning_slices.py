"""Slices are read at one threshold, and together they are the whole."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.learning.judging import Judged
from benchmarks.learning.slices import judge_slices, mean_slices

PROBABILITY = np.array([0.6, 0.5, 0.1, 0.0, 0.3, 0.0])
SCORES = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
FIRST = np.array([True, True, False, False, False, False])


def test_every_slice_is_read_at_the_threshold_of_all_lines() -> None:
    found = judge_slices({"kind": {"first": FIRST, "rest": ~FIRST}}, SCORES, PROBABILITY)["kind"]
    whole = Judged(PROBABILITY, np.zeros(6, bool), 0, 6).judge(SCORES)
    offers = {"first": 2, "rest": 3}
    clicks = sum(float(found[name]["ctr_at_90"] or 0) * number for name, number in offers.items())
    assert clicks / sum(offers.values()) == pytest.approx(whole["ctr_at_90"])
    assert found["first"]["clicks_retained"] == 1.0
    assert found["rest"]["impressions_retained"] == 0.75


def test_what_a_slice_has_not_is_missing_and_not_nought() -> None:
    nothing = np.zeros(6, bool)
    found = judge_slices({"kind": {"none": nothing}}, SCORES, PROBABILITY)["kind"]["none"]
    assert found["lines"] == 0
    assert found["auc"] is found["ctr_at_90"] is found["clicks_retained"] is None


def test_means_are_over_slices_that_every_seed_has() -> None:
    one = {"category": {"food": {"auc": 0.5, "ctr_at_90": 0.2}, "taxi": {"auc": 1.0, "ctr_at_90": None}}}
    other = {"category": {"food": {"auc": 0.7, "ctr_at_90": None}}}
    assert mean_slices([one, other]) == {"category": {"food": {"auc": pytest.approx(0.6), "ctr_at_90": None}}}
