"""Intervals from six sums, against simulated people, the bootstrap and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.experiments import statistics
from coordinator.experiments.comparison import Verdict, compare, compare_over_rounds
from coordinator.experiments.statistics import ArmSums, click_through, difference, sample_ratio, sequence_factor
from data_logging.records import UsageCount
from keyboard_app.device.local_work import moment_growth

CTR = 0.041
SPREAD = 5.6
"""a + b of the Beta law of a person's own rate: a naive z-test of two such groups is wrong two times in five."""
Z95 = 1.959964


def people(rng, count, rate=CTR, offers=30.0):
    """Clicks and offers of ``count`` people, each with a rate and an eagerness of their own."""
    m = rng.poisson(offers * rng.gamma(4.0, 0.25, count)) + 1
    c = rng.binomial(m, rng.beta(rate * SPREAD, (1 - rate) * SPREAD, count))
    return c.astype(np.int64), m.astype(np.int64)


def sums_of(c, m):
    return ArmSums(len(c), *(int(x) for x in (c.sum(), m.sum(), (c * c).sum(), (m * m).sum(), (c * m).sum())))


def naive_z(a, b):
    pooled = (a.c + b.c) / (a.m + b.m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / a.m + 1 / b.m))
    return abs(a.c / a.m - b.c / b.m) / error if error else 0.0


def test_six_sums_give_the_standard_error_of_a_bootstrap_over_people():
    rng = np.random.default_rng(1)
    c, m = people(rng, 2000)
    estimate = click_through(sums_of(c, m))
    draws = rng.integers(0, len(c), (2000, len(c)))
    bootstrapped = c[draws].sum(1) / m[draws].sum(1)
    assert estimate.value == pytest.approx(c.sum() / m.sum())
    assert estimate.standard_error == pytest.approx(bootstrapped.std(), rel=0.06)


def test_the_variance_is_that_of_the_formula_over_rows():
    c, m = people(np.random.default_rng(2), 500)
    rate = c.sum() / m.sum()
    cov = np.cov(np.stack([c, m]))
    expected = (cov[0, 0] - 2 * rate * cov[0, 1] + rate**2 * cov[1, 1]) / (len(c) * m.mean() ** 2)
    assert click_through(sums_of(c, m)).standard_error ** 2 == pytest.approx(expected, rel=1e-9)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = naive = 0
    runs = 1500
    for _ in range(runs):
        c, m = people(rng, 600)
        sums = sums_of(c, m)
        low, high = click_through(sums).interval()
        covered += low <= CTR <= high
        rate = sums.c / sums.m
        naive += abs(rate - CTR) <= Z95 * math.sqrt(rate * (1 - rate) / sums.m)
    assert 0.93 <= covered / runs <= 0.96
    assert naive / runs < 0.80


def test_looking_twenty_times_alarms_falsely_with_a_z_test_but_hardly_ever_with_a_confidence_sequence():
    rng = np.random.default_rng(4)
    runs, looks, a_look = 400, 20, 100
    naive_once = naive_ever = delta_once = delta_ever = sequence_ever = 0
    for _ in range(runs):
        arms = [people(rng, looks * a_look) for _ in range(2)]
        found = []
        for look in range(1, looks + 1):
            a, b = (sums_of(c[: look * a_look], m[: look * a_look]) for c, m in arms)
            gap = difference(click_through(a), click_through(b))
            low, high = gap.interval()
            always = gap.sequence()
            found.append((naive_z(a, b) > Z95, not low <= 0 <= high, not always[0] <= 0 <= always[1]))
        naive_once += found[-1][0]
        delta_once += found[-1][1]
        naive_ever += any(f[0] for f in found)
        delta_ever += any(f[1] for f in found)
        sequence_ever += any(f[2] for f in found)
    assert naive_once / runs == pytest.approx(0.398, abs=0.08)
    assert naive_ever / runs > 0.8
    assert delta_once / runs == pytest.approx(0.05, abs=0.03)
    assert delta_ever / runs > 0.15
    assert sequence_ever / runs <= 0.03


def test_a_sequence_is_wider_than_one_look_but_not_by_much_and_only_ever_shrinks():
    factors = [sequence_factor(n, 0.05) for n in (100, 1000, 2000, 100_000)]
    assert all(2.5 < factor < 6 for factor in factors)
    halves = [sequence_factor(n, 0.05) / math.sqrt(n) for n in range(10, 20_000, 50)]
    assert halves == sorted(halves, reverse=True)


def test_a_tenth_more_clicks_is_detected_with_the_published_number_of_people():
    rng = np.random.default_rng(5)
    runs = 300
    hits = 0
    for _ in range(runs):
        a, b = (sums_of(*people(rng, 6608, rate)) for rate in (CTR * 1.1, CTR))
        hits += difference(click_through(a), click_through(b)).interval()[0] > 0
    assert 0.45 < hits / runs < 1.0


# -- what devices report -----------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6), max_size=5))
def test_growth_reported_round_by_round_adds_up_to_the_sums_over_people(histories):
    """However a device's usage is cut into reports, its six terms add up to those of its (clipped) totals."""
    totals = ArmSums()
    expected = ArmSums()
    clip = 50
    for reports in histories:
        before, offers, clicks = None, 0, 0
        for m, share in reports:
            c = min(share, m)
            growth = moment_growth(UsageCount("treatment", 1, m, m, c), before, clip)
            assert min(growth) >= 0
            totals += ArmSums(*growth)
            offers, clicks = offers + m, clicks + c
            before = UsageCount("treatment", 1, 0, offers, clicks)
            if offers > clip:
                break
        if offers <= clip and reports:
            expected += ArmSums(1, clicks, offers, clicks**2, offers**2, clicks * offers)
        elif reports:
            expected = None
            break
    if expected is not None:
        assert totals == expected


def test_beyond_the_clip_a_person_adds_nothing_and_keeps_their_rate():
    first = moment_growth(UsageCount("treatment", 1, 0, 200, 50), None, 64)
    assert first == [1, 16, 64, 256, 4096, 1024]
    again = moment_growth(UsageCount("treatment", 1, 0, 10, 9), UsageCount("treatment", 1, 0, 200, 50), 64)
    assert again == [0] * 6


# -- verdicts ----------------------------------------------------------------------------------------------------


def arms(seed, ours, devices=4000, offers=30.0):
    rng = np.random.default_rng(seed)
    return sums_of(*people(rng, devices, ours, offers)), sums_of(*people(rng, devices, CTR))


def test_a_version_that_is_clicked_less_is_called_harmful():
    assert compare(1, *arms(1, CTR * 0.5)).verdict is Verdict.CTR_DROPPED


def rounds_of(rng, k=40, *, treatment_lines=40, holdback_lines=40, offers=0.3, ctr=CTR, devices=60):
    """Counters of k rounds: so many lines a device in each arm; the holdback offers on 0.3 of lines at CTR."""
    found = []
    for _ in range(k):
        sums = {}
        for slot, lines, share, rate in (
            ("treatment/1", treatment_lines, offers, ctr), ("holdback/0", holdback_lines, 0.3, CTR)
        ):  # fmt: skip
            taste = rng.beta(8, 8, devices) * 2
            m = rng.binomial(lines, share, devices)
            c = rng.binomial(m, np.minimum(taste * rate, 1))
            six = (devices, c.sum(), m.sum(), (c * c).sum(), (m * m).sum(), (c * m).sum())
            sums |= {f"{slot}/{name}": int(v) for name, v in zip(("n", "c", "m", "cc", "mm", "cm"), six, strict=True)}
            sums |= {f"{slot}/lines": lines * devices, f"{slot}/offers": int(m.sum()), f"{slot}/clicks": int(c.sum())}
        found.append(sums | {"devices/treatment": devices, "devices/holdback": devices})
    return found


def test_offering_next_to_nothing_is_harmful_however_high_the_rate():
    found = compare_over_rounds(1, rounds_of(np.random.default_rng(2), offers=0.04, ctr=CTR * 1.5), 0.5)
    assert found.ctr_difference.value > 0
    assert found.clicks_retained.value < 0.5
    assert found.offers_retained.value < 0.3
    assert found.verdict is Verdict.CLICKS_DROPPED
    assert found.verdict.harmful


def test_a_version_used_for_hours_has_lost_no_clicks_to_a_holdback_used_for_days():
    found = compare_over_rounds(1, rounds_of(np.random.default_rng(3), treatment_lines=8, holdback_lines=80), 0.5)
    assert found.clicks_retained.value == pytest.approx(1.0, abs=0.15)
    assert not found.verdict.harmful


def test_few_rounds_say_nothing_about_clicks_a_line():
    assert compare_over_rounds(1, rounds_of(np.random.default_rng(4), k=5), 0.5).clicks_retained is None


def test_clicks_a_line_are_covered_by_their_interval_although_rounds_are_few():
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(400):
        rows = rounds_of(rng, k=10)
        found = statistics.clustered_rate(
            [row["treatment/1/clicks"] for row in rows], [row["treatment/1/lines"] for row in rows], 600
        )
        low, high = found.interval(0.95)
        covered += low <= 0.3 * CTR <= high
    assert 0.92 < covered / 400 < 0.99


def test_a_better_version_is_called_better_and_an_equal_one_undecided():
    assert compare(1, *arms(3, CTR * 1.8)).verdict is Verdict.BETTER
    assert compare(1, *arms(4, CTR)).verdict is Verdict.UNDECIDED


def test_a_handful_of_devices_decides_nothing():
    assert compare(1, *arms(5, 0.001, devices=20)).verdict is Verdict.TOO_EARLY
    assert compare(1, ArmSums(), ArmSums()).verdict is Verdict.TOO_EARLY


def test_arms_that_lose_devices_are_never_compared():
    treatment, holdback = arms(6, CTR * 2)
    sums = {f"treatment/1/{name}": getattr(treatment, name) for name in ("n", "c", "m", "cc", "mm", "cm")}
    sums |= {f"holdback/0/{name}": getattr(holdback, name) for name in ("n", "c", "m", "cc", "mm", "cm")}
    fine = compare_over_rounds(1, [sums | {"devices/treatment": 950, "devices/holdback": 50}], 0.05)
    lost = compare_over_rounds(1, [sums | {"devices/treatment": 950, "devices/holdback": 5}], 0.05)
    assert fine.verdict is Verdict.BETTER
    assert lost.verdict is Verdict.SAMPLE_RATIO


@pytest.mark.parametrize("total", [60, 1500, 50_000])
def test_the_sample_ratio_alarm_is_rare_when_nothing_is_wrong(total):
    rng = np.random.default_rng(7)
    draws = rng.binomial(total, 0.05, 3000)
    counts, times = np.unique(draws, return_counts=True)
    alarms = [sample_ratio(int(total - k), int(k), 0.05) < statistics.SAMPLE_RATIO_ALARM for k in counts]
    assert np.dot(alarms, times) / len(draws) < 0.004


def test_sample_ratio_of_nobody_is_no_alarm_and_shares_are_checked():
    assert sample_ratio(0, 0, 0.5) == 1.0
    with pytest.raises(ValueError, match="control_share"):
        sample_ratio(1, 1, 1.0)


def test_rates_without_offers_or_people_are_unknown():
    assert click_through(ArmSums()) is None
    assert click_through(ArmSums(5, 0, 0, 0, 0, 0)) is None
