"""A masked input looks uniform, by a test that an unmasked vector fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federated_protocol.errors import CodecError
from federated_protocol.secure_aggregation import uniformity
from federated_protocol.update_codec import encode, layout, pack, solve_codec


@pytest.mark.parametrize("d", [100, 2000, 7300])
@pytest.mark.parametrize("norm", [0.0, 0.05, 1.0])
def test_every_masked_input_looks_uniform_and_no_unmasked_one_does(kit: Any, d: int, norm: float) -> None:
    n = 8
    setting = solve_codec(d, 1.0, 1 / 512, b"r" * 32, 1000, largest_cohort=78)
    shape = layout(setting, 40)
    rng = np.random.default_rng(d)
    vectors = {}
    for i in range(1, n + 1):
        update = rng.normal(size=d)
        vectors[i] = encode(update / np.linalg.norm(update) * norm, 1.0, rng.integers(0, 50, 40), setting, rng.bytes)
    cohort = kit.Cohort(vectors, shape, {1: kit.Leaves.AFTER_SHARE}, seed=d)
    cohort.share()
    cohort.mask()
    for i, message in cohort.inputs.items():
        assert uniformity(message.packed, shape).plausible()
        assert not uniformity(pack(cohort.vectors[i], shape), shape).plausible()


def test_the_masked_sum_still_looks_uniform(kit: Any) -> None:
    shape = kit.layout([(2000, 16)])
    cohort = kit.Cohort({i: np.zeros(2000, np.uint32) for i in range(1, 6)}, shape)
    cohort.share()
    cohort.mask()
    assert uniformity(pack(cohort.masked_sum().without(np.zeros(shape.length, np.uint32)), shape), shape).plausible()


def test_on_uniform_vectors_p_values_are_honest(kit: Any) -> None:
    shape = kit.layout([(3000, 17), (50, 24)])
    p_values = [uniformity(pack(v, shape), shape).p_value for v in kit.vectors(500, shape, seed=3).values()]
    for q in (0.5, 0.1, 0.01):
        assert np.mean(np.array(p_values) < q) <= q + 3 * np.sqrt(q * (1 - q) / 500)
    assert np.mean(np.array(p_values) < 0.2) > 0.1


@pytest.mark.parametrize("bias", ["one bit stuck", "slightly more zeros", "only half the range"])
def test_smaller_faults_of_a_mask_are_noticed_too(kit: Any, bias: str) -> None:
    shape = kit.layout([(7300, 17)])
    vector = kit.vectors(1, shape)[1]
    match bias:
        case "one bit stuck":
            vector |= np.uint32(1)
        case "slightly more zeros":
            vector[::10] = 0
        case "only half the range":
            vector >>= np.uint32(1)
    assert not uniformity(pack(vector, shape), shape).plausible()


def test_too_few_elements_are_said_to_be_too_few(kit: Any) -> None:
    shape = kit.layout([(5, 17)])
    with pytest.raises(CodecError, match="too few"):
        uniformity(pack(np.zeros(5, np.uint32), shape), shape)
