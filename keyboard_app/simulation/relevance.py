"""How close an offered query is to a wanted one: content-word F1, and 0 where the two name different things.

"hotels in paris" shares most of its words with "hotels in london" and is of no use to whoever wants the other; so is
"flights from a to b" for the way back. :func:`named` reads off what a query names (places, people, titles) and in which
part, by the wording that queries have, and :func:`relevance` compares part by part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['’.&-][^\W_]+)*", re.UNICODE)


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _listed(
    """
    a an and any are around at be by can do does for from get go has have how i in into is it its me my near of off on
    or our out some that the their there these this to up us was we what when where which who will with you your
    """
)
"""Words that carry no content of their own; they do not count in the F1."""

_VERBS_AFTER_TO = _listed("do eat see visit make get go watch buy read learn cook play stay wear be use have give")
_HEADS_BEFORE_TO = _listed("how when what where things time long often ways")
# Before one of these verbs or after one of these words "to" begins no destination ("things to do", "how to grow").

_PLACE_STARTS = _listed("in near at around")
_ENDS = _PLACE_STARTS | _listed("from to by starring directed featuring with for under on tonight today tomorrow")
_WORK_HEADS = _listed("songs song music album albums lyrics tracks books book novels poems")
_TITLE_TAILS = _listed(
    """
    showtimes showtime dates tickets tour lyrics trailer cast review reviews soundtrack discography screenings episodes
    schedule score sheet recipe menu
    """
)
_PLACE_HEADS = re.compile(
    r"^(?:.*\s)?(?:rentals?|hire|weather|forecast|taxis?|news|parking|map|maps|time)\s+(?P<place>.+)$"
)


def words(text: str) -> list[str]:
    """Casefolded words of a query; dots inside are dropped ("d.c" and "dc" are one)."""
    return [word.replace(".", "") for word in _WORD.findall(text.casefold())]


@lru_cache(maxsize=65_536)
def content_words(text: str) -> tuple[str, ...]:
    """The words that carry content, or all of them where none does."""
    every = words(text)
    return tuple(word for word in every if word not in FUNCTION_WORDS) or tuple(every)


@lru_cache(maxsize=65_536)
def named(query: str) -> Mapping[str, tuple[str, ...]]:
    """What a query names, by part: ``origin``, ``destination``, ``place``, ``person``, ``director``, ``title``.

    Read from the wording alone, without a list of names, so it serves any catalog; a query that uses none of the known
    wordings names nothing.
    """
    tokens = words(query)
    found: dict[str, tuple[str, ...]] = {}
    if tails := [at for at, token in enumerate(tokens) if at and token in _TITLE_TAILS]:
        return _title_and_place(tokens[: tails[-1]], tokens[tails[-1] + 1 :])
    work = bool(_WORK_HEADS & set(tokens))
    at = 0
    while at < len(tokens):
        part = _part_started_by(tokens, at, work, "origin" in found)
        if part is None:
            at += 1
            continue
        end = at + 1
        # The title of a song or an album may hold any word, so it runs to the end.
        while end < len(tokens) and (part == "title" or tokens[end] not in _ENDS or end == at + 1):
            end += 1
        if end > at + 1:
            found.setdefault(part, tuple(tokens[at + 1 : end]))
        at = end
    if not found and (match := _PLACE_HEADS.match(" ".join(tokens))):
        found["place"] = tuple(match["place"].split())
    return found


def _part_started_by(tokens: list[str], at: int, work: bool, after_origin: bool) -> str | None:
    """Which part, if any, the word at ``at`` begins."""
    word, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
    if not following:
        return None
    if word == "from":
        return "title" if work else "origin"
    if word == "to":
        infinitive = following in _VERBS_AFTER_TO or (at and tokens[at - 1] in _HEADS_BEFORE_TO)
        return None if infinitive and not after_origin else "destination"
    if word == "by":
        return "director" if at and tokens[at - 1] == "directed" else "person"
    if word in ("starring", "featuring"):
        return "person"
    return "place" if word in _PLACE_STARTS and following not in ("the", "a", "my") else None


def _title_and_place(before: list[str], after: list[str]) -> dict[str, tuple[str, ...]]:
    """Split "<title> showtimes [in] <place>"."""
    found: dict[str, tuple[str, ...]] = {"title": tuple(before)}
    if after and after[0] in _PLACE_STARTS | {"for", "by"}:
        after = after[1:]
    if after:
        found["place"] = tuple(after)
    return found


def contradict(offered: str, wanted: str) -> bool:
    """Whether two queries name different places, people or titles, or swap from and to."""
    one, other = named(offered), named(wanted)
    if any(not _same(one[part], other[part]) for part in one.keys() & other.keys()):
        return True
    # A place that stands as origin or destination in one and simply as a place in the other is compared, too.
    for left, right in ((one, other), (other, one)):
        ends = [right[end] for end in ("origin", "destination") if end in right]
        if "place" in left and "place" not in right and ends:
            return not any(_same(left["place"], end) for end in ends)
    return False


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Two ways to write one name: equal, or one continues the other ("washington", "washington dc")."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


@lru_cache(maxsize=262_144)
def relevance(offered: str, wanted: str) -> float:
    """Content-word F1 of two queries, in [0, 1]; 0 where they contradict each other."""
    one, other = Counter(content_words(offered)), Counter(content_words(wanted))
    shared = (one & other).total()
    if not shared or contradict(offered, wanted):
        return 0.0
    return 2 * shared / (one.total() + other.total())


def best_relevance(offered: str, wanted: Iterable[str]) -> float:
    """:func:`relevance` against the best of several wanted queries; 0 when nothing is wanted."""
    return max((relevance(offered, query) for query in wanted), default=0.0)
