"""Words, stems and names: the ground the matchers stand on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suggestion_model.catalog import CatalogError
from suggestion_model.catalog.language import language
from suggestion_model.catalog.reading import Reader
from suggestion_model.catalog.recognition import Recognizer
from suggestion_model.catalog.text import words


def test_words_are_folded_and_abbreviations_joined() -> None:
    assert words("Joe’s CAFÉ, Washington D.C.!") == ["joes", "cafe", "washington", "dc"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("movie", "movies"),
        ("city", "cities"),
        ("play", "playing"),
        ("drive", "driving"),
        ("shop", "shopping"),
        ("dish", "dishes"),
        ("restaurant", "restaurants"),
        ("comedy", "comedies"),
    ],
)
def test_inflections_share_a_stem(one: str, other: str) -> None:
    assert language().stem(one) == language().stem(other)


@pytest.mark.parametrize("name", ["paris", "dallas", "boss", "us", "thing"])
def test_stems_do_not_swallow_names(name: str) -> None:
    assert len(language().stem(name)) >= len(name) - 1


def test_a_language_without_tables_is_named() -> None:
    with pytest.raises(CatalogError, match=r"languages/xx\.json"):
        language("xx")


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("Where are you leaving from?", -1.0),
        ("What is your destination?", 1.0),
        ("Where are you going to and from where are you leaving?", 0.0),
        ("Leaving from Boston", 0.0),
    ],
)
def test_a_question_asks_for_a_role(line: str, role: float) -> None:
    assert Reader(language()).read(line).asks_role == role


def test_a_number_belongs_to_what_it_counts() -> None:
    reading = Reader(language()).read("two bedrooms, and 3")
    assert reading.terms["2 bedroom"] == 1.0
    assert reading.numbers == {"3"}


names = st.lists(st.sampled_from(["a", "ab", "b", "ba", "new", "york"]), min_size=1, max_size=3).map(" ".join)


@given(
    st.sets(names, min_size=1, max_size=8), st.lists(st.sampled_from(["a", "ab", "b", "ba", "new", "york"]), max_size=9)
)
def test_recognised_names_are_those_a_plain_search_finds(known: set[str], line: list[str]) -> None:
    listed = sorted(known)
    recognizer = Recognizer([(name, number) for number, name in enumerate(listed)])
    spans = {
        (start, end)
        for start in range(len(line))
        for end in range(start + 1, len(line) + 1)
        if " ".join(line[start:end]) in known
    }
    outermost = {
        (start, end)
        for start, end in spans
        if not any(s <= start and end <= e and (s, e) != (start, end) for s, e in spans)
    }
    found = recognizer.find(tuple(line))
    assert {(mention.start, mention.end) for mention in found} == outermost
    assert all(listed[mention.values[0]] == " ".join(line[mention.start : mention.end]) for mention in found)
