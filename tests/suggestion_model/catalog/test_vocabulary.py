"""Sorted words: membership, beginnings and near misses agree with a plain search."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suggestion_model.catalog.language import language
from suggestion_model.catalog.make_words import encode_words
from suggestion_model.catalog.vocabulary import Vocabulary, mistakes, sorted_words

some = st.text("abcdé", min_size=1, max_size=7)


@given(st.sets(some, min_size=1, max_size=12), some)
def test_words_and_beginnings_are_those_a_plain_search_finds(known: set[str], asked: str) -> None:
    vocabulary = Vocabulary(sorted_words(known))
    assert (asked in vocabulary) == (asked in known)
    assert {vocabulary.word(n) for n in vocabulary.beginning_with(asked)} == {w for w in known if w.startswith(asked)}


@given(st.sets(some, min_size=1, max_size=12), some)
def test_no_near_word_is_overlooked(known: set[str], asked: str) -> None:
    vocabulary = Vocabulary(sorted_words(known))
    found = {vocabulary.word(number): count for count, number in vocabulary.nearest(asked)}
    expected = {w: mistakes(asked, w, 1) for w in known if w[0] == asked[0] and mistakes(asked, w, 1) <= 1}
    assert found == (expected if len(asked) >= 5 else {})


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("oakland", "oakland", 0),
        ("okaland", "oakland", 1),
        ("oaklan", "oakland", 1),
        ("oakkland", "oakland", 1),
        ("oaklend", "oakland", 1),
        ("restarant", "restaurants", 2),
        ("boston", "austin", 3),
    ],
)
def test_mistakes_are_counted_as_typed(one: str, other: str, count: int) -> None:
    assert mistakes(one, other, 2) == count


def test_everyday_words_are_folded_sorted_and_the_same_bytes_each_time() -> None:
    data = encode_words(["Über", "the", "don't", "3rd", "the"])
    assert gzip.decompress(data).decode().split() == ["dont", "the", "uber"]
    assert data == encode_words(["the", "don't", "Über", "3rd"])


@pytest.mark.parametrize(("code", "word"), [("en", "mouse"), ("es", "llover")])
def test_a_language_knows_its_everyday_words(code: str, word: str) -> None:
    assert word in language(code).common
