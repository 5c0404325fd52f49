"""Packing loses nothing at any width, and wastes less than a byte a field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated_protocol.errors import CodecError, MalformedMessage
from federated_protocol.vector_layout import VectorField, VectorLayout, pack, unpack

fields = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 32)), min_size=1, max_size=4)


def layout_of(shapes: list[tuple[int, int]]) -> VectorLayout:
    return VectorLayout(tuple(VectorField(str(k), *shape) for k, shape in enumerate(shapes)))


def values_for(layout: VectorLayout, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, field.modulus, field.length, dtype=np.uint64) for field in layout.fields]
    return np.concatenate([np.empty(0, np.uint64), *parts]).astype(np.uint32)


@pytest.mark.parametrize("bits", range(1, 33))
@pytest.mark.parametrize("length", [0, 1, 7, 31, 32, 33, 1000])
def test_every_width_survives_the_round_trip(bits: int, length: int) -> None:
    layout = layout_of([(length, bits)])
    for vector in (values_for(layout), np.full(length, 2**bits - 1, np.uint32), np.zeros(length, np.uint32)):
        packed = pack(vector, layout)
        assert len(packed) == layout.packed_bytes == (length * bits + 7) // 8
        assert np.array_equal(unpack(packed, layout), vector)


@given(fields, st.integers(0, 2**32 - 1))
def test_fields_of_mixed_widths_survive_the_round_trip(shapes: list[tuple[int, int]], seed: int) -> None:
    layout = layout_of(shapes)
    vector = values_for(layout, seed)
    assert np.array_equal(unpack(pack(vector, layout), layout), vector)


def test_the_packed_form_is_little_endian_bit_by_bit() -> None:
    layout = layout_of([(3, 5)])
    packed = pack(np.array([0b00001, 0b00011, 0b10000], np.uint32), layout)
    assert int.from_bytes(packed, "little") == 0b10000_00011_00001


@given(fields, st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_wrapping_sums_reduced_once_equal_sums_reduced_always(shapes: list[tuple[int, int]], n: int, seed: int) -> None:
    layout = layout_of(shapes)
    vectors = [values_for(layout, seed + k) for k in range(n)]
    once = np.zeros(layout.length, np.uint32)
    always = np.zeros(layout.length, np.uint32)
    for vector in vectors:
        once += vector
        always += vector
        layout.reduce(always)
    layout.reduce(once)
    assert np.array_equal(once, always)


@pytest.mark.parametrize("change", [b"", b"\0"])
def test_packed_bytes_of_another_size_are_malformed(change: bytes) -> None:
    layout = layout_of([(10, 7)])
    data = pack(values_for(layout), layout) + change if change else b""
    with pytest.raises(MalformedMessage):
        unpack(data, layout)


def test_bits_in_the_padding_are_malformed() -> None:
    layout = layout_of([(1, 3)])
    with pytest.raises(MalformedMessage, match="padding"):
        unpack(b"\x0f", layout)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(9, np.uint32),
        np.zeros((2, 5), np.uint32),
        np.zeros(10, np.int64),
        np.zeros(10, np.float32),
        np.full(10, 128, np.uint64),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(CodecError):
        layout_of([(10, 7)]).check(vector)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_there_are_no_fields_wider_than_a_word(bits: int) -> None:
    with pytest.raises(CodecError):
        VectorField("x", 1, bits)
