"""Sending a part of the coordinates, rounding within a norm, noise of the right size, and seeded subspaces."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated_protocol.errors import CodecError
from federated_protocol.plan import CodecSetting, SubsetBlock
from federated_protocol.privacy import rounded_norm_bound
from federated_protocol.update_codec import (
    Subspace,
    decode_sum,
    encode,
    largest_mean_norm,
    layout,
    pack,
    solve_codec,
    unpack,
)
from federated_protocol.update_codec.modulus import largest_coordinate
from federated_protocol.update_codec.rounding import round_conditionally, round_stochastically
from federated_protocol.update_codec.subset import chosen_coordinates

SEED = bytes(range(32))
OTHER = bytes(range(1, 33))


def seed_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def setting_of(
    d: int, n: int, *blocks: tuple[int, int], step: float = 1e-3, noise: int = 0, seed: int = 1
) -> CodecSetting:
    subset = tuple(SubsetBlock(length=length, chosen=chosen) for length, chosen in blocks)
    return solve_codec(
        d,
        1.0,
        step,
        SEED,
        weight_levels=100,
        largest_cohort=n,
        subset=subset,
        subset_seed=seed_of(seed) if subset else b"",
        noise_sixteenths=noise,
    )


def unit(d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).lognormal(size=d)
    return x / np.linalg.norm(x)


def total(vectors: list[np.ndarray], setting: CodecSetting, counters: int = 0) -> np.ndarray:
    shape = layout(setting, counters)
    summed = np.sum(vectors, axis=0, dtype=np.uint64).astype(np.uint32)
    shape.reduce(summed)
    return unpack(pack(summed, shape), shape)


# -- subset ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    blocks=st.lists(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), min_size=1),
    seed=st.binary(min_size=32, max_size=32),
)
def test_each_block_sends_as_many_coordinates_as_it_says(blocks: list[tuple[int, int]], seed: bytes) -> None:
    blocks = blocks[:64]
    where, factor = chosen_coordinates(tuple(SubsetBlock(length=n, chosen=k) for n, k in blocks), seed)
    assert (np.diff(where) > 0).all()
    start = position = 0
    for length, chosen in blocks:
        here = where[position : position + chosen]
        assert ((start <= here) & (here < start + length)).all()
        assert factor[position : position + chosen] == pytest.approx(length / chosen)
        start, position = start + length, position + chosen
    assert position == len(where)


def test_every_coordinate_of_a_block_is_as_likely_as_the_others() -> None:
    blocks = (SubsetBlock(length=20, chosen=5),)
    counts = np.zeros(20)
    for i in range(4000):
        counts[chosen_coordinates(blocks, seed_of(i))[0]] += 1
    assert counts / 4000 == pytest.approx(0.25, abs=0.035)


@settings(deadline=None, max_examples=30)
@given(d=st.integers(4, 200), n=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_decoding_inverts_encoding_on_the_coordinates_that_travel(d: int, n: int, seed: int) -> None:
    kept = d // 4
    setting = setting_of(d, n, (kept, kept), (d - kept, max(1, d // 3)), step=1e-5, seed=seed)
    updates = [unit(d, seed % 1000 + i) for i in range(n)]
    decoded = decode_sum(total([encode(u, 1.0, [], setting) for u in updates], setting), setting, n)
    where, factor = chosen_coordinates(setting.subset, setting.subset_seed)
    expected = np.zeros(d)
    expected[where] = (np.sum(updates, axis=0))[where] * factor
    largest = float(factor.max())
    assert decoded.update_sum == pytest.approx(expected, abs=largest * n * 1e-5 * math.sqrt(setting.sent))


def test_over_rounds_the_subset_is_unbiased_and_its_error_is_the_mask_s_theory() -> None:
    d, rounds, chosen = 64, 1500, 16
    update = unit(d)
    errors = []
    for i in range(rounds):
        setting = setting_of(d, 1, (d, chosen), step=1e-4, seed=i)
        errors.append(decode_sum(encode(update, 1.0, [], setting), setting, 1).update_sum - update)
    found = np.array(errors)
    assert (found**2).sum(axis=1).mean() == pytest.approx(d / chosen - 1, rel=0.1)  # |update| = 1
    assert (found.mean(axis=0) ** 2).sum() < 3 * (d / chosen - 1) / rounds


@pytest.mark.parametrize(
    ("blocks", "seed"),
    [([(10, 0)], SEED), ([(10, 11)], SEED), ([(9, 5)], SEED), ([(10, 5)], b""), ([(10, 5)], b"short"), ([], SEED)],
)
def test_blocks_that_do_not_fit_are_refused(blocks: list[tuple[int, int]], seed: bytes) -> None:
    subset = tuple(SubsetBlock(length=length, chosen=chosen) for length, chosen in blocks)
    with pytest.raises(CodecError):
        solve_codec(10, 1.0, 1e-3, SEED, 100, 10, subset=subset, subset_seed=seed)


# -- rounding ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(m=st.integers(1, 400), clip=st.floats(0.01, 50), seed=st.integers(0, 1000))
def test_rounding_never_exceeds_its_norm_bound(m: int, clip: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=m)
    x *= clip / np.linalg.norm(x)
    rounded = round_conditionally(x, clip, random.Random(seed).randbytes)
    assert np.linalg.norm(rounded) <= rounded_norm_bound(clip, m) * (1 + 1e-9)
    assert (np.abs(rounded - x) < 1).all()


def test_a_rounding_that_is_too_long_is_drawn_again() -> None:
    m, clip = 1000, 5.0
    x = unit(m) * clip
    draws = []

    def source(size: int) -> bytes:
        draws.append(size)
        return bytes(size) if len(draws) == 1 else random.Random(1).randbytes(size)  # first: everything rounds up

    rounded = round_conditionally(x, clip, source)
    assert len(draws) == 2
    assert np.linalg.norm(rounded) <= rounded_norm_bound(clip, m) < math.sqrt(m)


def test_a_source_that_always_rounds_up_is_found_out() -> None:
    with pytest.raises(CodecError, match="random source is broken"):
        round_conditionally(unit(1000) * 5.0, 5.0, bytes)


def test_rejections_are_as_rare_as_promised() -> None:
    m, clip = 500, 10.0
    x = np.full(m, clip / math.sqrt(m))
    source = random.Random(3).randbytes
    limit = rounded_norm_bound(clip, m)
    rejected = sum(np.linalg.norm(round_stochastically(x, source)) > limit for _ in range(4000))
    assert rejected <= 4000 * 2**-10 + 8


# -- noise -------------------------------------------------------------------------------------------------------


def test_with_noise_nothing_but_the_noised_vector_travels() -> None:
    setting = setting_of(100, 20, noise=40)
    shape = layout(setting, 0)
    assert [(field.name, field.length) for field in shape.fields] == [("update", 100)]
    assert len(encode(unit(100), 0.3, [], setting)) == 100
    for refused in (lambda: layout(setting, 1), lambda: encode(unit(100), 1.0, [1], setting)):
        with pytest.raises(CodecError, match="no exact counters"):
            refused()


def test_noise_on_the_sum_has_the_variance_that_is_charged() -> None:
    d, n, noise, step = 512, 30, 48, 0.01
    setting = setting_of(d, n, step=step, noise=noise)
    sums = [
        decode_sum(total([encode(np.zeros(d), 1.0, [], setting) for _ in range(n)], setting), setting, n).update_sum
        for _ in range(5)
    ]
    assert np.var(sums) == pytest.approx(n * (noise / 16 * step) ** 2, rel=0.06)
    assert abs(np.mean(sums)) < 5 * math.sqrt(n / (5 * d)) * noise / 16 * step


def test_with_noise_devices_count_the_same_and_the_mean_is_over_devices() -> None:
    d, n = 64, 10
    setting = setting_of(d, n, step=1e-4, noise=8)
    vectors = [encode(unit(d), weight, [], setting) for weight in [0.01, 0.5, *[1.0] * (n - 3), 0.0]]
    decoded = decode_sum(total(vectors, setting), setting, n)
    assert decoded.weight_sum == n
    assert decoded.mean_update() == pytest.approx(unit(d) * (n - 1) / n, abs=1e-3)


def test_the_modulus_follows_the_paper_s_formula() -> None:
    m, clip, step, n, sigma = 1024, 1.0, 0.05, 100, 2.5
    k = math.sqrt(2 * math.log(2 * m * 2**20))
    half = k * math.sqrt((clip * n) ** 2 / m + n * (step**2 / 4 + (sigma * step) ** 2)) / step
    assert largest_coordinate(m, clip, step, n, rotated=True, sigma=sigma) == math.ceil(half)


def test_noise_does_not_wrap() -> None:
    d, n = 256, 40
    for seed in range(5):
        setting = setting_of(d, n, step=0.05, noise=64, seed=seed)
        decoded = decode_sum(total([encode(unit(d), 1.0, [], setting) for _ in range(n)], setting), setting, n)
        assert np.linalg.norm(decoded.mean_update() - unit(d)) < largest_mean_norm(setting, n, n) / 2


def test_noise_without_rotation_is_refused() -> None:
    with pytest.raises(CodecError, match="needs the rotation"):
        solve_codec(10, 1.0, 1e-3, b"", 100, 10, noise_sixteenths=16)


# -- subspaces ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    blocks=st.lists(st.integers(1, 80).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), min_size=1),
    seed=st.binary(min_size=32, max_size=32),
)
def test_a_subspace_s_columns_are_orthonormal(blocks: list[tuple[int, int]], seed: bytes) -> None:
    space = Subspace(seed, [SubsetBlock(length=n, chosen=k) for n, k in blocks[:64]])
    columns = np.stack([space.expand(row) for row in np.eye(space.size)], axis=1)
    assert columns.shape == (space.dimension, space.size)
    assert columns.T @ columns == pytest.approx(np.eye(space.size))
    x = np.random.default_rng(0).normal(size=space.dimension)
    assert space.project(x) == pytest.approx(columns.T @ x)


def test_seeds_give_unrelated_subspaces_and_together_see_every_direction() -> None:
    block, x = [SubsetBlock(length=400, chosen=40)], unit(400)
    seen = np.mean([s.expand(s.project(x)) for s in (Subspace(seed_of(i), block) for i in range(800))], axis=0)
    assert seen * 10 == pytest.approx(x, abs=0.1)  # E[A A'] = (m / d) I
    assert (Subspace(SEED, block).expand(np.ones(40)) != Subspace(OTHER, block).expand(np.ones(40))).any()


def test_a_block_that_travels_whole_loses_nothing() -> None:
    space = Subspace(SEED, [SubsetBlock(length=5, chosen=5), SubsetBlock(length=50, chosen=2)])
    x = np.concatenate([unit(5), np.zeros(50)])
    assert space.expand(space.project(x)) == pytest.approx(x)
