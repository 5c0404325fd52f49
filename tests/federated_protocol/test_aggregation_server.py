"""The coordinator's side opens nothing that does not add up. What hostile devices try is in ``tests/adversary``."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from federated_protocol.errors import ProtocolError, ProtocolErrorReason
from federated_protocol.secure_aggregation import MaskedSum, indices_of
from federated_protocol.secure_aggregation.bitmap import unpack_set

Reason = ProtocolErrorReason
N = 6


@pytest.fixture
def cohort(kit: Any) -> Any:
    """Six devices; 5 shared but sent no input, 6 only advertised; the rest went all the way."""
    shape = kit.layout([(20, 16), (3, 24)])
    made = kit.Cohort(kit.vectors(N, shape), shape, {5: kit.Leaves.AFTER_SHARE, 6: kit.Leaves.AFTER_ADVERTISE})
    made.run()
    return made


def refused(reason: ProtocolErrorReason) -> Any:
    return pytest.raises(ProtocolError, match=f"^{reason.value}: ")


def test_indices_follow_the_order_of_fingerprints() -> None:
    assert indices_of([b"c", b"a", b"b"]) == {b"a": 1, b"b": 2, b"c": 3}


def test_mail_reaches_only_those_who_shared(cohort: Any) -> None:
    assert sorted(cohort.mailboxes) == [1, 2, 3, 4, 5]
    for me, box in cohort.mailboxes.items():
        around = cohort.context.graph.neighbours(me)
        assert [around[slot] for slot in unpack_set(box.senders, N - 1)] == [i for i in range(1, 6) if i != me]


def test_too_few_unmaskings_open_nothing(cohort: Any) -> None:
    del cohort.unmaskings[1]
    with refused(Reason.BELOW_THRESHOLD):
        cohort.open()


def test_sets_that_do_not_nest_open_nothing(cohort: Any) -> None:
    for change in ({"u2": [1, 2, 3]}, {"u2": [1, 2, 3, 4, 5, 9]}, {"u3": [1, 2, 3]}):
        with refused(Reason.UNKNOWN_PARTICIPANT):
            cohort.open(**change)


def test_a_sum_over_others_than_the_survivors_opens_nothing(cohort: Any) -> None:
    total = MaskedSum(cohort.layout)
    total.add(1, cohort.inputs[1])
    with refused(Reason.BAD_VECTOR):
        cohort.open(masked_sum=total)


def test_another_run_opens_nothing(cohort: Any) -> None:
    for change in ({"session": "another"}, {"round": 99}, {"model_digest": bytes(32)}):
        other = dataclasses.replace(cohort.context, binding=dataclasses.replace(cohort.binding, **change))
        with refused(Reason.BAD_SHARE):  # the seeds do not fit their commitments there
            cohort.open(context=other)
    assert np.array_equal(cohort.open(), cohort.plain_sum())


def test_unmaskings_are_read_one_at_a_time_and_few_are_kept(kit: Any) -> None:
    shape = kit.layout([(5, 16)])
    cohort = kit.Cohort(kit.vectors(60, shape), shape, threat=kit.sparse, sparse=True)
    expected = cohort.run()
    read: list[int] = []

    class Stored(dict):  # type: ignore[type-arg]
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return super().__getitem__(index)

    assert np.array_equal(cohort.open(unmaskings=Stored(cohort.unmaskings)), expected)
    k = cohort.context.parameters.neighbours
    assert k < 15
    assert len(read) <= 60 + 2 * k
