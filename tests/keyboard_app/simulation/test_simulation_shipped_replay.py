"""The replay that ships: reproducible, small, in the documented form, and matching the shipped catalog."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from keyboard_app.simulation.make_replay import encode, make_rows
from keyboard_app.simulation.people import shipped_replay, texts
from keyboard_app.simulation.relevance import best_relevance
from keyboard_app.simulation.replay import read_replay
from keyboard_app.simulation.splits import load_people, outline
from suggestion_model.catalog import shipped_catalog
from suggestion_model.types import Context


def test_the_command_makes_exactly_the_file_that_ships() -> None:
    assert encode(make_rows(seed=0)) == shipped_replay().read_bytes()


def test_it_has_the_promised_size_and_shape() -> None:
    assert shipped_replay().stat().st_size < 300_000
    lines = list(read_replay(shipped_replay()))
    each = Counter(line.user for line in lines)
    assert 30 <= len(each) <= 40
    assert all(55 <= count <= 115 for count in each.values())
    assert lines[-1].timestamp - lines[0].timestamp > timedelta(days=13)
    assert 0.08 < sum(bool(line.wanted) for line in lines) / len(lines) < 0.12
    assert {line.kind for line in lines} == {"chat", "task"}
    assert not any(line.wanted or line.soon for line in lines if line.kind == "chat")


def test_no_conversation_is_shared_and_texts_vary() -> None:
    lines = list(read_replay(shipped_replay()))
    owners: dict[str, set[str]] = {}
    for line in lines:
        owners.setdefault(line.conversation, set()).add(line.user)
    assert max(map(len, owners.values())) == 1
    wanting = [line.text.casefold() for line in lines if line.wanted]
    assert len(set(wanting)) > 0.8 * len(wanting)


def test_both_sides_of_the_split_have_people_and_enough_to_type() -> None:
    seen = outline(shipped_replay())
    assert len(seen.held_out) >= 5
    assert len(seen.choose(24, seed=0)) == 24
    people = load_people(shipped_replay(), seen, seen.choose(24, seed=0))
    assert all(person.training and person.scoring for person in people.values())


def test_every_topic_is_a_category_of_the_shipped_catalog_and_most_wishes_can_be_met() -> None:
    catalog = shipped_catalog()
    assert {"restaurants", "flights", "gifts"} <= set(texts().topics)
    met: list[float] = []
    told: dict[str, list[str]] = {}
    for line in read_replay(shipped_replay()):
        earlier = told.setdefault(line.conversation, [])
        if line.reply_to:
            earlier.append(line.reply_to)
        if line.wanted:
            found = catalog.candidates(Context(line.text, tuple(earlier[-6:])))
            met.append(max((best_relevance(each.query, line.wanted) for each in found), default=0.0))
        earlier.append(line.text)
    assert sum(met) / len(met) > 0.7
