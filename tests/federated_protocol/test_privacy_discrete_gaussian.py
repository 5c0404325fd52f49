"""The sampler has exactly the discrete Gaussian's distribution."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from federated_protocol.errors import CodecError
from federated_protocol.privacy import discrete_gaussian
from federated_protocol.privacy.discrete_gaussian import _ExactCoins


def exact_pmf(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    reach = math.ceil(12 * sigma) + 3
    x = np.arange(-reach, reach + 1)
    mass = np.exp(-(x**2) / (2 * sigma**2))
    return x, mass / mass.sum()


def chi_square(samples: np.ndarray, values: np.ndarray, pmf: np.ndarray) -> tuple[float, int]:
    """Statistic and degrees of freedom; cells that expect fewer than ten samples are pooled."""
    counts = np.bincount(samples - values[0], minlength=len(values))
    expected = pmf * len(samples)
    large = expected >= 10
    statistic = float(((counts - expected)[large] ** 2 / expected[large]).sum())
    rest = float(expected[~large].sum())
    if rest > 0:
        statistic += (counts[~large].sum() - rest) ** 2 / rest
    return statistic, int(large.sum())


@pytest.mark.parametrize("sixteenths", [8, 16, 23, 40, 160, 1600])
def test_samples_follow_the_exact_distribution(sixteenths: int) -> None:
    values, pmf = exact_pmf(sixteenths / 16)
    samples = discrete_gaussian(200_000, sixteenths, random.Random(sixteenths).randbytes)
    statistic, freedom = chi_square(samples, values, pmf)
    assert abs(statistic - freedom) < 4.5 * math.sqrt(2 * freedom) + 3
    variance = float((pmf * values**2).sum())
    assert samples.mean() == pytest.approx(0, abs=5 * math.sqrt(variance / len(samples)))
    assert samples.var() == pytest.approx(variance, rel=0.02)


def test_a_coin_of_exp_minus_x_lands_as_often_as_it_should() -> None:
    coins = _ExactCoins(random.Random(1).randbytes)
    for numerator, denominator in [(0, 7), (1, 7), (7, 7), (30, 7), (2**40 + 1, 2**41)]:
        p = math.exp(-numerator / denominator)
        heads = coins.exp_minus(np.full(100_000, numerator), denominator).mean()
        assert heads == pytest.approx(p, abs=5 * math.sqrt(max(p * (1 - p), 1e-9) / 100_000))


def test_uniform_integers_show_no_bias_where_a_plain_remainder_would() -> None:
    bound = 3 << 61  # a remainder modulo this would take the lower third twice as often
    drawn = _ExactCoins(random.Random(2).randbytes).below(np.full(30_000, bound, np.uint64))
    assert int(drawn.max()) < bound
    assert (drawn < np.uint64(bound // 3)).mean() == pytest.approx(1 / 3, abs=0.015)


def test_by_default_two_draws_differ() -> None:
    assert (discrete_gaussian(100, 800) != discrete_gaussian(100, 800)).any()


@pytest.mark.parametrize("sixteenths", [0, -1, 4097])
def test_scales_outside_the_exact_range_are_refused(sixteenths: int) -> None:
    with pytest.raises(CodecError):
        discrete_gaussian(1, sixteenths)
