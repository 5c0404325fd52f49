"""FSVRG with the coordinator's codec and cohorts is the laboratory's, within what the codec and chance make of it."""

from __future__ import annotations

import numpy as np

from benchmarks._sparse_clicks import sparse_clicks
from benchmarks.learning.descents import FSVRG_ROUNDS
from benchmarks.learning.fsvrg_rounds import in_rounds
from coordinator.settings import FsvrgSettings

D = 251


def test_the_codec_costs_little_and_cohorts_that_change_still_descend() -> None:
    devices = sparse_clicks(nodes=40, examples=2_700, features=D)
    found = in_rounds(devices, np.zeros(D), FsvrgSettings(step=8.0), cohort=25)
    gaps = {name: found[name]["gaps"] for name in ("everybody_in_the_clear", "everybody", "cohorts")}
    assert all(len(by_version) == FSVRG_ROUNDS for by_version in gaps.values())
    clear, coded, cohorts = (by_version[-1] for by_version in gaps.values())
    assert 0 < clear < 0.3
    assert abs(coded - clear) < 0.1 * clear
    assert coded < cohorts < 0.6
    assert found["everybody"]["bytes"]["gradient"] >= found["cohorts"]["bytes"]["gradient"] > D
