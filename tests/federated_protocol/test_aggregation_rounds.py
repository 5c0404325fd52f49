"""Whoever drops out, and whenever: the sum of the rest is opened exactly, or nothing is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.messages import Unmasking
from federated_protocol.secure_aggregation import MaskedSum, choose, complete_threshold
from federated_protocol.update_codec import decode_sum, encode, layout, solve_codec

BELOW = {ProtocolErrorReason.BELOW_THRESHOLD, ProtocolErrorReason.BELOW_FLOOR}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), n=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_any_dropout_pattern_gives_the_exact_sum_or_a_named_error(
    kit: Any, data: st.DataObject, n: int, seed: int
) -> None:
    shape = kit.layout(data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 32)), max_size=4)))
    usually_stays = st.sampled_from([kit.Leaves.NEVER] * 6 + list(kit.Leaves))
    leaves = {i: data.draw(usually_stays) for i in range(1, n + 1)}
    cohort = kit.Cohort(kit.vectors(n, shape, seed), shape, leaves, seed=seed)

    n1, *rest = (sum(last >= phase for last in leaves.values()) for phase in list(kit.Leaves)[1:])
    enough = n1 >= 2 and min(rest) >= complete_threshold(n1, kit.threat)
    if enough:
        assert np.array_equal(cohort.run(), cohort.plain_sum())
    else:
        with pytest.raises(ProtocolError) as caught:
            cohort.run()
        assert caught.value.reason in BELOW


@pytest.mark.parametrize("n", [10, 30, 60])
@pytest.mark.parametrize("phase", [0, 1, 2, 3, 4])
def test_losing_thirty_percent_in_any_one_phase_still_gives_the_exact_sum(kit: Any, n: int, phase: int) -> None:
    shape = kit.layout([(100, 17), (1, 24), (20, 24), (5, 32)])
    leaves = {i: kit.Leaves(phase) for i in range(1, 3 * n // 10 + 1)}
    cohort = kit.Cohort(kit.vectors(n, shape), shape, leaves)
    assert np.array_equal(cohort.run(), cohort.plain_sum())
    expected_inputs = n if phase >= kit.Leaves.AFTER_MASKED_INPUT else n - 3 * n // 10
    assert len(cohort.inputs) == expected_inputs


@pytest.mark.parametrize("n", [2, 3, 7, 10])
@pytest.mark.parametrize("phase", [1, 2, 3, 4])
def test_one_fewer_than_the_threshold_opens_nothing(kit: Any, n: int, phase: int) -> None:
    shape = kit.layout([(10, 16)])
    t = choose(n, kit.threat).threshold
    for left, opens in ((t, True), (t - 1, False)):
        cohort = kit.Cohort(kit.vectors(n, shape), shape, {i: kit.Leaves(phase) for i in range(1, n - left + 1)})
        if opens:
            assert np.array_equal(cohort.run(), cohort.plain_sum())
        else:
            with pytest.raises(ProtocolError) as caught:
                cohort.run()
            assert caught.value.reason in BELOW


def test_updates_and_counters_come_through_masks_and_dropouts(kit: Any) -> None:
    n, d = 20, 300
    setting = solve_codec(d, 1.0, 1e-4, b"r" * 32, 100, n)
    shape = layout(setting, 3)
    rng = np.random.default_rng(0)
    updates = rng.normal(size=(n + 1, d)) / 40
    vectors = {i: encode(updates[i], 0.5, [i, 1, 0], setting) for i in range(1, n + 1)}
    cohort = kit.Cohort(vectors, shape, {1: kit.Leaves.AFTER_SHARE, 2: kit.Leaves.AFTER_ADVERTISE})
    decoded = decode_sum(cohort.run(), setting, len(cohort.inputs))
    assert decoded.counters.tolist() == [sum(range(3, n + 1)), n - 2, 0]
    assert decoded.weight_sum == (n - 2) / 2
    assert decoded.mean_update() == pytest.approx(updates[3:].mean(axis=0), abs=1e-3)


class Losing(Executor):
    """Loses every third job with its worker."""

    def __init__(self) -> None:
        self.taken = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.taken += 1
        future: Future[Any] = Future()
        if self.taken % 3:
            future.set_result(fn(*args, **kwargs))
        else:
            future.set_exception(BrokenExecutor())
        return future


def test_an_executor_opens_the_same_sum_even_when_it_loses_workers(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federated_protocol.secure_aggregation.unmasking._JOB_US", 1.0)
    monkeypatch.setattr("federated_protocol.secure_aggregation.unmasking._FEWEST_JOBS", 1)
    shape = kit.layout([(500, 20)])
    cohort = kit.Cohort(kit.vectors(80, shape), shape, dict.fromkeys(range(1, 25), kit.Leaves.AFTER_SHARE))
    alone = cohort.run()
    losing = Losing()
    assert np.array_equal(cohort.open(executor=losing), alone)
    assert losing.taken > 32  # more than are in flight at once
    with ThreadPoolExecutor(2) as executor:
        assert np.array_equal(cohort.open(executor=executor), alone)


def test_a_lie_among_the_shares_is_found_on_any_executor(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federated_protocol.secure_aggregation.unmasking._JOB_US", 1.0)
    monkeypatch.setattr("federated_protocol.secure_aggregation.unmasking._FEWEST_JOBS", 1)
    shape = kit.layout([(10, 20)])
    cohort = kit.Cohort(kit.vectors(8, shape), shape)
    cohort.run()
    liar = cohort.unmaskings[3]
    lies = {i: Unmasking(liar.missing, bytes(len(liar.shares))) for i in cohort.unmaskings}
    with ThreadPoolExecutor(2) as executor, pytest.raises(ProtocolError) as caught:
        cohort.open(unmaskings=lies, executor=executor)
    assert caught.value.reason is ProtocolErrorReason.BAD_SHARE


def test_the_sum_does_not_depend_on_order_or_on_where_parts_were_added(kit: Any) -> None:
    shape = kit.layout([(50, 13)])
    cohort = kit.Cohort(kit.vectors(9, shape), shape)
    expected = cohort.run()
    parts = [MaskedSum(shape), MaskedSum(shape)]
    for i, message in reversed(cohort.inputs.items()):
        parts[i % 2].add(i, message)
    parts[0].merge(parts[1])
    assert np.array_equal(cohort.open(masked_sum=parts[0]), expected)


def test_the_same_unmasking_can_be_opened_again_after_a_restart(kit: Any) -> None:
    shape = kit.layout([(50, 13)])
    cohort = kit.Cohort(kit.vectors(5, shape), shape)
    assert np.array_equal(cohort.run(), cohort.open())


def test_exactly_the_threshold_of_unmaskings_suffices(kit: Any) -> None:
    shape = kit.layout([(50, 13)])
    cohort = kit.Cohort(kit.vectors(9, shape), shape)
    expected = cohort.run()
    for drop in range(1, 4):
        del cohort.unmaskings[drop]
    assert np.array_equal(cohort.open(), expected)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), n=st.integers(12, 30), seed=st.integers(0, 10**6))
def test_on_a_sparse_graph_too_any_dropout_gives_the_exact_sum_or_a_named_error(
    kit: Any, data: st.DataObject, n: int, seed: int
) -> None:
    shape = kit.layout([(30, 11), (3, 24)])
    usually_stays = st.sampled_from([kit.Leaves.NEVER] * 20 + list(kit.Leaves))
    leaves = {i: data.draw(usually_stays) for i in range(1, n + 1)}
    cohort = kit.Cohort(kit.vectors(n, shape, seed), shape, leaves, seed=seed, threat=kit.sparse, sparse=True)
    try:
        opened = cohort.run()
    except ProtocolError as error:
        if error.reason not in BELOW | {ProtocolErrorReason.TOO_MANY_DROPPED} or set(leaves.values()) == {
            kit.Leaves.NEVER
        }:
            raise
    else:
        assert np.array_equal(opened, cohort.plain_sum())


@pytest.mark.parametrize("phase", [0, 1, 2, 3, 4])
def test_a_sparse_cohort_of_a_hundred_survives_the_dropout_it_was_solved_for(kit: Any, phase: int) -> None:
    from federated_protocol.plan import ThreatModel

    shape = kit.layout([(50, 17)])
    leaves = {i: kit.Leaves(phase) for i in range(1, 11)}
    cohort = kit.Cohort(kit.vectors(100, shape), shape, leaves, threat=ThreatModel(dropout=0.1))
    assert np.array_equal(cohort.run(), cohort.plain_sum())
    assert not cohort.context.parameters.complete
