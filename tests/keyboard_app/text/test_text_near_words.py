"""What counts as near, against the textbook's table filled in cell by cell."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyboard_app.text.near_words import ACCENT, DOUBLE, FIRST, NEIGHBOUR, SLIP, SWAP, NearWords
from keyboard_app.text.word_list import WordList

NEIGHBOURS = {"a": "sq", "s": "ad", "e": "wr", "n": "bm"}
PLAIN = {"ä": "a", "ñ": "n", "é": "e"}
letters = st.text("abenäñé's", min_size=1, max_size=8)


def cost(typed: str, meant: str, neighbours: Mapping[str, str]) -> float:
    """Optimal string alignment with the same weights, plainly."""

    def plain(letter: str) -> str:
        return PLAIN.get(letter, letter)

    def replaced(letter: str, by: str) -> float:
        if letter == by:
            return 0.0
        if plain(letter) == plain(by):
            return ACCENT
        return NEIGHBOUR if by in neighbours.get(letter, "") else SLIP

    rows = [[float("inf")] * (len(meant) + 1) for _ in range(len(typed) + 1)]
    for i in range(len(typed) + 1):
        for j in range(len(meant) + 1):
            best = 0.0 if not (i or j) else float("inf")
            if i and j:
                best = min(best, rows[i - 1][j - 1] + replaced(meant[j - 1], typed[i - 1]))
            if i:
                best = min(best, rows[i - 1][j] + (DOUBLE if typed[i - 2 : i] == typed[i - 1] * 2 else SLIP))
            if j:
                again = meant[j - 2 : j] == meant[j - 1] * 2
                best = min(best, rows[i][j - 1] + (DOUBLE if again else ACCENT if meant[j - 1] == "'" else SLIP))
            if i > 1 and j > 1 and typed[i - 1] == meant[j - 2] and typed[i - 2] == meant[j - 1]:
                best = min(best, rows[i - 2][j - 2] + SWAP)
            rows[i][j] = best
    return rows[-1][-1]


@settings(max_examples=200, deadline=None)
@given(st.lists(letters, min_size=1, max_size=12, unique=True), letters, st.sampled_from([1, 2]))
def test_costs_are_those_of_the_cheapest_alignment(words: list[str], typed: str, edits: int) -> None:
    near = NearWords(WordList(tuple(words), array("L", range(len(words), 0, -1)), frozenset()))
    ranks, costs = near.near(typed, edits, NEIGHBOURS)
    found = {words[rank]: float(price) for rank, price in zip(ranks, costs, strict=True)}
    for word, price in found.items():
        wrong = PLAIN.get(word[0], word[0]) != PLAIN.get(typed[0], typed[0])
        assert price == pytest.approx(cost(typed, word, NEIGHBOURS) + FIRST * wrong, abs=1e-4)
    # Whatever is so many ordinary slips away is found.
    assert {word for word in words if cost(typed, word, {}) == 0.0} <= found.keys()
    one_slip = {word for word in words if len(word) == len(typed) and sum(map(str.__ne__, word, typed)) <= edits}
    assert one_slip <= found.keys()


def test_words_that_are_never_suggested_are_not_near() -> None:
    near = NearWords(WordList(("damn", "dawn"), array("L", [2, 1]), frozenset({"damn"})))
    ranks, _ = near.near("damm", 2, {})
    assert ranks.tolist() == [1]
