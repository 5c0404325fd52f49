"""(k, t) are those of the paper, and a device tells admissible ones from others."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.plan import Adversary, ThreatModel
from federated_protocol.secure_aggregation import (
    GraphParameters,
    check_admissible,
    choose,
    complete_threshold,
    smallest_survival,
    solve,
)
from federated_protocol.secure_aggregation import parameters as solver

Reason = ProtocolErrorReason
CURIOUS, LYING = Adversary.HONEST_BUT_CURIOUS, Adversary.SEMI_MALICIOUS

PAPER = [
    (0.05, 0.05, CURIOUS, [(12, 6), (30, 17), (34, 20)]),
    (0.05, 0.05, LYING, [(16, 11), (52, 37), (62, 44)]),
    (0.05, 0.33, CURIOUS, [(28, 6), (72, 24), (86, 29)]),
    (0.05, 0.33, LYING, [(72, 39), (398, 223), (746, 420)]),
    (0.33, 0.33, CURIOUS, [(68, 34), (286, 150), (422, 221)]),
    (0.33, 0.05, LYING, [(42, 37), (132, 109), (178, 146)]),
]


@pytest.mark.parametrize(("corrupt", "dropout", "adversary", "row"), PAPER)
def test_the_rows_of_the_paper(
    corrupt: float, dropout: float, adversary: Adversary, row: list[tuple[int, int]]
) -> None:
    threat = ThreatModel(corrupt, dropout, adversary, sigma=40, eta=20)
    for n, (k, t) in zip((100, 1000, 10_000), row, strict=True):
        assert solve(n, threat) == GraphParameters(n, k, t)


def test_figures_in_use() -> None:
    assert solve(100, ThreatModel(dropout=0.1, sigma=40)) == GraphParameters(100, 26, 16)
    assert solve(100, ThreatModel(dropout=0.1)) == GraphParameters(100, 26, 16)
    assert solve(1000, ThreatModel(dropout=0.1)).neighbours == 94  # sigma = 80, margin against grinding


def test_where_no_sparse_graph_will_do_the_complete_one_is_taken_and_says_so() -> None:
    found = solve(20, ThreatModel(corrupt=0.33, dropout=0.33))
    assert found.complete
    assert "complete" in str(found)
    assert not solve(100, ThreatModel()).complete
    with pytest.raises(ProtocolError, match="above_largest_cohort"):
        solve(5000, ThreatModel(corrupt=0.45, dropout=0.5))


@pytest.mark.parametrize("n", range(2, 65))
def test_small_cohorts_use_the_complete_graph_with_the_active_threshold_and_survive_thirty_percent(n: int) -> None:
    found = choose(n, ThreatModel())
    corrupt = max(1, n // 20)
    assert found.complete
    assert 2 * found.threshold > n + corrupt >= 2 * (found.threshold - 1)
    assert n // 2 + 1 <= found.threshold <= n // 2 + 1 + (corrupt + 1) // 2
    assert n - math.floor(0.3 * n) >= found.threshold
    assert smallest_survival(found, ThreatModel()) == found.threshold
    assert complete_threshold(n, ThreatModel(adversary=CURIOUS)) == n // 2 + 1


def hypergeometric(n: int, marked: int, k: int, j: int) -> Fraction:
    if not (0 <= j <= marked and 0 <= k - j <= n - marked):
        return Fraction(0)
    return Fraction(math.comb(marked, j) * math.comb(n - marked, k - j), math.comb(n, k))


@settings(deadline=None, max_examples=40)
@given(n=st.integers(30, 300), half=st.integers(2, 14), corrupt=st.floats(0, 0.4), dropout=st.floats(0, 0.5))
def test_tails_are_those_of_the_hypergeometric_distribution(n: int, half: int, corrupt: float, dropout: float) -> None:
    k, threat = 2 * half, ThreatModel(corrupt, dropout, CURIOUS, sigma=20, eta=10)
    corrupted, alive = max(1, math.floor(corrupt * n + 1e-9)), math.ceil((1 - dropout) * n - 1e-9)
    allowed = Fraction(1, n << 21)
    above = [sum(hypergeometric(n, corrupted, k, j) for j in range(t1 + 1, k + 1)) for t1 in range(k + 1)]
    assert solver._colluding(n, k, threat) == next(t1 for t1 in range(k + 1) if above[t1] <= allowed)
    below = [sum(hypergeometric(n, alive, k, j) for j in range(t2 + 1)) for t2 in range(k + 1)]
    assert solver._surviving(n, k, threat) == next(t2 for t2 in range(k + 1) if below[t2] >= Fraction(1, n << 10))


@pytest.mark.parametrize("n", [70, 100, 333])
@pytest.mark.parametrize("dropout", [0.1, 0.3])
def test_what_is_solved_is_admissible_and_weaker_is_not(n: int, dropout: float) -> None:
    threat = ThreatModel(dropout=dropout)
    found = solve(n, threat)
    check_admissible(found, threat)
    check_admissible(GraphParameters(n, found.neighbours + 2, found.threshold + 2), threat)
    for k, t, reason in (
        (found.neighbours, found.threshold - 1, Reason.BAD_THRESHOLD),
        (found.neighbours, found.neighbours + 1, Reason.BAD_THRESHOLD),
        (found.neighbours, 1, Reason.BAD_THRESHOLD),
        (found.neighbours - 1, found.threshold, Reason.BAD_NEIGHBOURS),
        (2, 2, Reason.BAD_NEIGHBOURS),
        (0, 1, Reason.BAD_NEIGHBOURS),
        (n, n // 2 + 2, Reason.BAD_NEIGHBOURS),
        (-2, 2, Reason.BAD_NEIGHBOURS),
    ):
        with pytest.raises(ProtocolError) as caught:
            check_admissible(GraphParameters(n, k, t), threat)
        assert caught.value.reason is reason


@pytest.mark.parametrize("n", [2, 10, 64])
def test_on_the_complete_graph_a_threshold_below_the_active_one_is_refused(n: int) -> None:
    threat = ThreatModel()
    lowest = complete_threshold(n, threat)
    for t in range(-1, n + 3):
        if lowest <= t <= n:
            check_admissible(GraphParameters(n, n - 1, t), threat)
        else:
            with pytest.raises(ProtocolError, match="bad_threshold"):
                check_admissible(GraphParameters(n, n - 1, t), threat)


@pytest.mark.parametrize(
    "changed",
    [{"corrupt": 0.5}, {"corrupt": -0.1}, {"corrupt": math.nan}, {"dropout": 0.6}, {"sigma": 0}, {"eta": 0}],
)
def test_threat_models_that_cannot_be_solved_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ProtocolError, match="bad_parameters"):
        solve(100, ThreatModel(**changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "reason"), [(1, Reason.BELOW_FLOOR), (10**6, Reason.ABOVE_LARGEST_COHORT)])
def test_nobody_aggregates_alone_or_in_crowds_nobody_can_check(n: int, reason: ProtocolErrorReason) -> None:
    for call in (solve, choose):
        with pytest.raises(ProtocolError) as caught:
            call(n, ThreatModel())
        assert caught.value.reason is reason
