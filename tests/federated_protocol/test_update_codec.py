"""The codec: unbiased, as exact as theory says, inverted on sums, and never wrapping for the largest cohort."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import CodecError
from federated_protocol.plan import CodecSetting
from federated_protocol.update_codec import (
    WRAP_PROBABILITY,
    check_setting,
    decode_sum,
    encode,
    layout,
    pack,
    solve_bits,
    solve_codec,
)
from federated_protocol.update_codec.modulus import largest_coordinate
from federated_protocol.update_codec.rotation import _signs, rotate, rotate_back, window

SEED = bytes(range(32))


def setting_of(d: int, n: int = 10, *, clip: float = 1.0, step: float = 1e-3, seed: bytes = SEED) -> CodecSetting:
    return solve_codec(d, clip, step, seed, weight_levels=1000, largest_cohort=n)


def unit(d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).lognormal(size=d)
    return x / np.linalg.norm(x)


def summed(vectors: list[np.ndarray], setting: CodecSetting) -> np.ndarray:
    total = np.sum(vectors, axis=0, dtype=np.uint64).astype(np.uint32)
    layout(setting, len(total) - setting.dimension - 1).reduce(total)
    return total


# -- rotation ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 600), st.binary(min_size=32, max_size=32))
def test_rotation_keeps_norm_and_is_inverted_in_any_dimension(d: int, seed: bytes) -> None:
    x = np.random.default_rng(d).normal(size=d)
    y = rotate(x, seed)
    assert len(y) == d
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(x))
    assert rotate_back(y, seed) == pytest.approx(x)


def test_on_a_power_of_two_rotation_is_the_signed_hadamard_transform() -> None:
    d = 1024
    h = np.array([[1 - 2 * ((i & j).bit_count() % 2) for j in range(d)] for i in range(d)]) / math.sqrt(d)
    x = np.random.default_rng(0).normal(size=d)
    assert rotate(x, SEED) == pytest.approx(h @ (x * _signs(SEED, d)[0]))


@pytest.mark.parametrize("d", [4096, 7300, 8191])
@pytest.mark.parametrize("where", [0, 3000, -1])
def test_rotation_spreads_even_a_single_spike(d: int, where: int) -> None:
    spike = np.zeros(d)
    spike[where] = 1.0
    bound = math.sqrt(2 * math.log(4 * d / WRAP_PROBABILITY) / window(d))
    assert np.abs(rotate(spike, SEED)).max() < bound


# -- modulus -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    d=st.integers(1, 300),
    n=st.integers(1, 20),
    step=st.sampled_from([1e-1, 1e-2, 1e-3]),
    shape=st.sampled_from(["spike", "flat", "random"]),
    rotated=st.booleans(),
)
def test_the_largest_cohort_of_identical_extreme_updates_does_not_wrap(
    d: int, n: int, step: float, shape: str, rotated: bool
) -> None:
    setting = setting_of(d, n, step=step, seed=SEED if rotated else b"")
    update = {"spike": np.eye(1, d, d // 2)[0], "flat": np.ones(d) / math.sqrt(d), "random": unit(d)}[shape] * 100
    total = summed([encode(update, 1.0, [], setting) for _ in range(n)], setting)
    decoded = decode_sum(total, setting, n)
    expected = n * update / np.linalg.norm(update)
    assert np.linalg.norm(decoded.update_sum - expected) <= n * step * math.sqrt(d) + 1e-9


def test_rotation_saves_bits_against_the_certain_bound() -> None:
    assert solve_bits(7300, 1.0, 1e-3, 78, rotated=True) <= solve_bits(7300, 1.0, 1e-3, 78, rotated=False) - 2


def test_width_is_the_smallest_that_holds_the_bound() -> None:
    for n in (1, 10, 1000):
        bound = largest_coordinate(7300, 1.0, 1e-3, n, rotated=True)
        bits = solve_bits(7300, 1.0, 1e-3, n)
        assert 2 ** (bits - 2) <= bound < 2 ** (bits - 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"clip": 0.0},
        {"clip": math.nan},
        {"step": -1.0},
        {"step": 1e-12},
        {"dimension": 0},
        {"largest_cohort": 0},
        {"rotation_seed": b"short"},
        {"weight_levels": 0},
        {"weight_levels": 2**24},
        {"count_bits": 40},
    ],
)
def test_settings_that_cannot_work_are_refused(arguments: dict[str, object]) -> None:
    good = {
        "dimension": 10,
        "clip": 1.0,
        "step": 1e-3,
        "rotation_seed": SEED,
        "weight_levels": 100,
        "largest_cohort": 100,
    }
    with pytest.raises(CodecError):
        solve_codec(**(good | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"bits": 8}, {"bits": 31}, {"count_cap": 2**24}, {"clip": 50.0}])
def test_a_device_recognises_a_setting_that_was_not_solved_for_its_cohort(change: dict[str, object]) -> None:
    setting = setting_of(1000, 50)
    check_setting(setting, 50)
    with pytest.raises(CodecError):
        check_setting(msgspec.structs.replace(setting, **change), 50)


# -- encode, decode ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    d=st.integers(1, 200),
    n=st.integers(1, 12),
    m=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_decoding_the_sum_inverts_encoding_up_to_the_rounding(d: int, n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    setting = setting_of(d, n, step=1e-4)
    updates = rng.normal(size=(n, d)) / math.sqrt(d) / 2
    updates /= np.maximum(1.0, np.linalg.norm(updates, axis=1, keepdims=True))
    levels = rng.integers(1, 1001, n)
    counts = rng.integers(0, 1000, (n, m))
    vectors = [
        encode(u.astype(np.float32), k / 1000, c, setting, rng.bytes)
        for u, k, c in zip(updates, levels, counts, strict=True)
    ]
    decoded = decode_sum(summed(vectors, setting), setting, n)
    assert decoded.weight_sum == pytest.approx(levels.sum() / 1000, abs=0)
    assert decoded.counters.tolist() == counts.sum(axis=0).tolist()
    expected = (levels[:, None] / 1000 * updates).sum(axis=0)
    assert np.linalg.norm(decoded.update_sum - expected) <= n * 1e-4 * math.sqrt(d) + 1e-5
    assert decoded.mean_update() == pytest.approx(decoded.update_sum / decoded.weight_sum)


def test_rounding_is_unbiased_and_its_error_is_what_theory_says() -> None:
    d, repeats, step = 700, 400, 0.02
    setting = setting_of(d, step=step)
    update = unit(d)
    fraction = np.mod(rotate(update, SEED) / step, 1.0)
    variance = step**2 * float((fraction * (1 - fraction)).sum())
    source = random.Random(1).randbytes
    decoded = np.array(
        [decode_sum(encode(update, 1.0, [], setting, source), setting, 1).update_sum for _ in range(repeats)]
    )
    errors = decoded - update
    assert (errors**2).sum(axis=1).mean() == pytest.approx(variance, rel=0.05)
    assert (errors.mean(axis=0) ** 2).sum() == pytest.approx(variance / repeats, rel=0.25)


@settings(deadline=None, max_examples=25)
@given(d=st.integers(1, 60), steps=st.floats(0.6, 40), seed=st.integers(0, 2**32 - 1))
def test_for_any_update_and_step_the_decoded_update_is_unbiased_with_the_error_of_theory(
    d: int, steps: float, seed: int
) -> None:
    repeats, setting = 300, setting_of(d, step=1 / steps)
    update = np.random.default_rng(seed).normal(size=d)
    update /= np.linalg.norm(update)
    fraction = np.mod(rotate(update, SEED) * steps, 1.0)
    variance = fraction * (1 - fraction)  # of a coordinate's rounding, in steps
    source = random.Random(seed).randbytes
    errors = steps * np.array(
        [decode_sum(encode(update, 1.0, [], setting, source), setting, 1).update_sum - update for _ in range(repeats)]
    )
    slack = 1e-6 + 2**-9 * variance.sum()  # conditional rounding may reject one draw in 2^10
    # Bernstein's inequality: rounding up can be rare, so a multiple of the variance alone bounds nothing.
    unlikely = 20.0 / repeats  # exp(-20) a coordinate
    far = np.sqrt(2 * unlikely * variance) + unlikely / 3
    assert (errors.mean(axis=0) ** 2).sum() <= (far**2).sum() + slack
    spread = float((variance * (1 - 2 * fraction) ** 2).sum())
    most = variance.sum() + np.sqrt(2 * unlikely * spread) + len(fraction) * unlikely / 3
    assert (errors**2).sum(axis=1).mean() <= most + slack


def test_the_error_of_a_mean_falls_with_the_number_of_devices() -> None:
    d, step = 2048, 0.01
    for n in (1, 10, 100):
        setting = setting_of(d, n, step=step)
        updates = [unit(d, k) for k in range(n)]
        decoded = decode_sum(
            summed([encode(u, 1.0, [], setting, random.Random(k).randbytes) for k, u in enumerate(updates)], setting),
            setting,
            n,
        )
        error = float(((decoded.mean_update() - np.mean(updates, axis=0)) ** 2).sum())
        assert error == pytest.approx(d * step**2 / 6 / n, rel=0.15)  # E f(1-f) = 1/6 for uniform f


@pytest.mark.parametrize(("bits", "nmse"), [(2, 0.107), (4, 0.0043)])
def test_ten_lognormal_clients_of_8192_weights_lose_about_what_the_literature_reports(bits: int, nmse: float) -> None:
    # Hadamard + stochastic rounding in the comparison of arXiv 2108.08842, 2^bits levels over each client's own range.
    # Under masks the step is shared and has to cover the largest of the ten ranges, which costs up to half again.
    d, n = 8192, 10
    updates = [unit(d, k) for k in range(n)]
    largest = max(float(np.abs(rotate(u, SEED)).max()) for u in updates)
    setting = setting_of(d, n, step=2 * largest / (2**bits - 1))
    vectors = [encode(u, 1.0, [], setting, random.Random(k).randbytes) for k, u in enumerate(updates)]
    mean = decode_sum(summed(vectors, setting), setting, n).mean_update()
    assert ((mean - np.mean(updates, axis=0)) ** 2).sum() == pytest.approx(1.2 * nmse, rel=0.25)


def test_a_long_update_is_clipped_and_a_short_one_is_left_alone() -> None:
    setting = setting_of(500, clip=0.5, step=1e-5)
    for norm, expected in ((0.3, 0.3), (0.5, 0.5), (80.0, 0.5)):
        decoded = decode_sum(encode(unit(500) * norm, 1.0, [], setting), setting, 1)
        assert decoded.update_sum == pytest.approx(unit(500) * expected, abs=1e-4)


def test_the_weight_that_is_summed_is_the_weight_that_multiplies() -> None:
    setting = solve_codec(100, 1.0, 1e-6, SEED, weight_levels=3, largest_cohort=1)
    for weight in (0.01, 0.4, 0.5, 1.0):
        decoded = decode_sum(encode(unit(100), weight, [], setting), setting, 1)
        assert decoded.weight_sum > 0
        assert decoded.mean_update() == pytest.approx(unit(100), abs=1e-4)


def test_no_examples_weigh_nothing_and_there_is_no_mean_of_nothing() -> None:
    setting = setting_of(100)
    decoded = decode_sum(encode(unit(100), 0.0, [7], setting), setting, 1)
    assert decoded.weight_sum == 0
    assert not decoded.update_sum.any()
    assert decoded.counters.tolist() == [7]
    with pytest.raises(CodecError, match="keep the current model"):
        decoded.mean_update()


def test_a_counter_is_capped_so_that_the_cohort_cannot_wrap_it() -> None:
    setting = setting_of(10, n=100)
    vectors = [encode(np.zeros(10), 1.0, [2**60, 3], setting) for _ in range(100)]
    assert decode_sum(summed(vectors, setting), setting, 100).counters.tolist() == [100 * setting.count_cap, 300]


def test_a_sum_that_honest_devices_cannot_make_is_refused() -> None:
    setting = setting_of(10, n=100)
    total = encode(np.zeros(10), 1.0, [1], setting)
    for at in (10, 11):
        broken = total.copy()
        broken[at] = 2**24 - 1
        with pytest.raises(CodecError, match="abandon the round"):
            decode_sum(broken, setting, 2)


@pytest.mark.parametrize(
    ("update", "weight", "counters"),
    [
        (np.zeros(11), 1.0, []),
        (np.zeros((2, 5)), 1.0, []),
        (np.full(10, np.nan), 1.0, []),
        (np.full(10, np.inf), 1.0, []),
        (np.zeros(10), -0.1, []),
        (np.zeros(10), 1.1, []),
        (np.zeros(10), math.nan, []),
        (np.zeros(10), 1.0, [-1]),
        (np.zeros(10), 1.0, [0.5]),
        (np.zeros(10), 1.0, [[1]]),
    ],
)
def test_values_that_do_not_fit_are_refused(update: np.ndarray, weight: float, counters: list[object]) -> None:
    with pytest.raises(CodecError):
        encode(update, weight, counters, setting_of(10))


def test_encoding_fits_the_layout_and_takes_no_padding() -> None:
    setting = setting_of(7300, 78)
    shape = layout(setting, 60)
    vector = encode(unit(7300), 0.5, np.arange(60, dtype=np.uint64), setting)
    assert np.array_equal(shape.check(vector), vector)
    assert len(pack(vector, shape)) <= (7300 * setting.bits + 61 * 24) / 8 + 3
