"""The knowledge graph: its file, what can be reached, and which queries a context brings up."""

from __future__ import annotations

import gzip
import importlib.resources
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suggestion_model.catalog import MATCH_FEATURES, CatalogError, load_catalog, shipped_catalog
from suggestion_model.catalog import graph as catalog_graph
from suggestion_model.catalog.build import build_graph, encode_graph, read_cities
from suggestion_model.catalog.graph import (
    FORMAT,
    KnowledgeGraph,
    Slot,
    parse_graph,
    reachable_queries,
    segments,
    without_sensitive,
)
from suggestion_model.catalog.graph_source import GraphSource
from suggestion_model.types import CandidateSource, Context

SENSITIVE = {"health", "sexuality", "religion", "finance", "crisis"}

SMALL: dict[str, Any] = {
    "format": FORMAT,
    "language": "en",
    "categories": [
        {
            "name": "restaurants",
            "triggers": ["eat"],
            "templates": ["{cuisine} restaurants in {city}", "restaurants near me"],
        },
        {"name": "trains", "triggers": ["train"], "templates": ["trains from {city:from} to {city:to}"]},
        {"name": "health", "triggers": ["pain"], "templates": ["{remedy} for pain in {city}"], "sensitive": True},
    ],
    "types": [
        {"name": "city", "entities": [["bath", 0.4], ["york"], ["new york", 0.9, ["nyc"]]], "ordinary": ["bath"]},
        {"name": "cuisine", "links": ["restaurants"], "entities": [["thai"], ["french"]]},
        {"name": "remedy", "links": ["health"], "entities": [["ice"]]},
    ],
}


@pytest.fixture(scope="module")
def shipped_graph() -> KnowledgeGraph:
    data = importlib.resources.files("suggestion_model").joinpath("releases/v0/catalog.json.gz").read_bytes()
    assert len(data) < 400_000
    return parse_graph(gzip.decompress(data), "shipped")


@pytest.fixture(scope="module")
def shipped() -> CandidateSource:
    return shipped_catalog()


@pytest.fixture
def small() -> GraphSource:
    return GraphSource(parse_graph(json.dumps(SMALL), "small"))


def queries(source: CandidateSource, composed: str, *earlier: str) -> list[str]:
    return [candidate.query for candidate in source.candidates(Context(composed, earlier))]


def test_the_shipped_graph_has_at_least_25_categories_and_20000_queries(shipped_graph: KnowledgeGraph) -> None:
    ordinary = without_sensitive(shipped_graph)
    reachable = reachable_queries(ordinary)
    assert len(reachable) >= 25
    assert sum(reachable.values()) >= 20_000
    assert min(reachable.values()) > 0


def test_reachable_queries_are_counted_as_they_would_be_listed() -> None:
    graph = parse_graph(json.dumps(SMALL), "small")
    entities = {kind.name: [entity.name for entity in kind.entities] for kind in graph.types}
    for category in graph.categories:
        listed = set()
        for template in category.templates:
            parts = segments(template)
            slots = [part.type for part in parts if isinstance(part, Slot)]
            for filling in itertools.product(*(entities[slot] for slot in slots)):
                if len(set(filling)) == len(filling):
                    names = iter(filling)
                    listed.add("".join(part if isinstance(part, str) else next(names) for part in parts))
        assert reachable_queries(graph)[category.name] == len(listed)


def test_the_shipped_graph_names_its_sources_and_licences(shipped_graph: KnowledgeGraph) -> None:
    licences = {source.licence for source in shipped_graph.sources}
    assert {"CC BY 4.0", "BSD-3-Clause"} <= licences


def test_sensitive_subjects_are_marked_and_off_by_default(
    shipped_graph: KnowledgeGraph, shipped: CandidateSource
) -> None:
    assert {category.name for category in shipped_graph.categories if category.sensitive} == SENSITIVE
    for said in (
        "I have a toothache, need a dentist in boston",
        "suicide hotline",
        "church in oakland",
        "mortgage rates",
    ):
        assert not {candidate.category for candidate in shipped.candidates(Context(said))} & SENSITIVE


def test_sensitive_subjects_are_there_on_request_and_marked_on_the_candidate() -> None:
    found = shipped_catalog(sensitive=True).candidates(Context("I have a toothache, need a dentist in boston"))
    assert found[0].query == "dentists in boston"
    assert found[0].sensitive


@pytest.mark.parametrize(
    ("composed", "earlier", "wanted"),
    [
        ("any good thai places to eat in oakland", (), "thai restaurants in oakland"),
        ("what's the weather like there", ("I'm going to Paris next week",), "weather in paris"),
        ("I'm leaving from LA", ("I need a flight to NYC", "Leaving from?"), "flights from los angeles to new york"),
        ("I should make lasagna, need a recipe", (), "lasagna recipe"),
        ("my faucet leaks, I need a plumber", ("we just moved to Seattle",), "plumber in seattle"),
        ("hotels in san fran", (), "hotels in san francisco"),
        ("a hotel in São Paulo", (), "hotels in sao paulo"),
        ("did the warriors win", (), "warriors score"),
    ],
)
def test_the_best_candidate_is_what_was_meant(
    shipped: CandidateSource, composed: str, earlier: tuple[str, ...], wanted: str
) -> None:
    assert queries(shipped, composed, *earlier)[0] == wanted


def test_a_candidate_names_the_types_of_what_fills_it(small: GraphSource) -> None:
    assert small.candidates(Context("thai food in york"))[0].entity_types == ("cuisine", "city")
    assert small.candidates(Context("a train from york to bath"))[0].entity_types == ("city",)
    assert small.candidates(Context("somewhere to eat"))[0].entity_types == ()


def test_direction_decides_between_twins(small: GraphSource) -> None:
    assert queries(small, "a train from york to nyc")[0] == "trains from york to new york"
    assert queries(small, "a train to york from nyc")[0] == "trains from new york to york"


def test_names_are_matched_as_whole_words(small: GraphSource) -> None:
    assert queries(small, "we eat frenchfries in newyorker style, thailand") == ["restaurants near me"]
    assert "french restaurants in york" in queries(small, "eat french in york")


def test_the_longest_name_wins(small: GraphSource) -> None:
    assert queries(small, "eat thai in new york")[0] == "thai restaurants in new york"
    assert "thai restaurants in york" not in queries(small, "eat thai in new york")


def test_names_that_are_ordinary_words_need_a_place_word_before_them(small: GraphSource) -> None:
    assert queries(small, "I eat thai then take a bath") == ["restaurants near me"]
    assert queries(small, "I want to eat thai in Bath")[0] == "thai restaurants in bath"


def test_a_name_still_being_typed_counts(small: GraphSource) -> None:
    assert queries(small, "eat thai in new yo")[0] == "thai restaurants in new york"


@pytest.mark.parametrize("said", ["", "  ", "...", "hello how are you", "ok see you later then"])
def test_small_talk_brings_up_nothing(small: GraphSource, said: str) -> None:
    assert queries(small, said) == []


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ("Thai restaurants in New York", True),
        ("restaurants near me", True),
        ("thai restaurants in nyc", False),
        ("thai restaurants in bathroom", False),
    ],
)
def test_a_graph_knows_what_it_holds(small: GraphSource, query: str, held: bool) -> None:
    assert small.holds(query) is held


def broken(**changes: Any) -> str:
    return json.dumps(SMALL | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "truncated|malformed"),
        ("[]", "Expected `object`"),
        (broken(format="suggestion-catalog/9"), "is not 'suggestion-catalog/1'"),
        (broken(colour="red"), "unknown field `colour`"),
        (
            broken(categories=[{"name": "a", "triggers": [], "templates": ["{nothing} b"]}], types=[]),
            "which is no type",
        ),
        (broken(categories=[{"name": "a", "triggers": [], "templates": ["{ b"]}], types=[]), "write slots as"),
        (broken(categories=[], types=SMALL["types"][1:2]), "which is no category"),
        (broken(types=[*SMALL["types"], SMALL["types"][0]]), "'city' is defined 2 times"),
        (broken(types=[{"name": "city", "entities": [["york", 7]]}, *SMALL["types"][1:]]), "prior outside"),
    ],
)
def test_a_bad_graph_says_what_is_wrong_with_it(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "graph.json"
    path.write_text(text)
    with pytest.raises(CatalogError, match=says) as caught:
        load_catalog(path)
    assert "graph.json" in str(caught.value)


sayings = st.sampled_from(
    ["eat thai", "in bath", "from york", "to nyc", "train", "new y", "where are you leaving from?", "thanks", "", "é東"]
)
contexts = st.builds(Context, st.lists(sayings, max_size=4).map(" ".join), st.lists(sayings, max_size=8).map(tuple))


@settings(max_examples=100, deadline=None)
@given(st.lists(contexts, min_size=2, max_size=6))
def test_candidates_depend_on_nothing_but_the_context(asked: list[Context]) -> None:
    graph = parse_graph(json.dumps(SMALL), "small")
    used = GraphSource(graph)
    for context in asked[:-1]:
        used.candidates(context)
    assert used.candidates(asked[-1]) == GraphSource(graph).candidates(asked[-1])


@settings(max_examples=100, deadline=None)
@given(contexts)
def test_candidates_are_sorted_distinct_and_their_features_in_range(context: Context) -> None:
    found = GraphSource(parse_graph(json.dumps(SMALL), "small")).candidates(context)
    assert len(found) <= 8
    assert len({candidate.query for candidate in found}) == len(found)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    for candidate in found:
        assert candidate.score > 0
        assert len(candidate.features) == len(MATCH_FEATURES)
        assert np.isfinite(candidate.features).all()
        assert all(-1.001 <= value <= 1.5 for value in candidate.features)


def test_building_twice_gives_the_same_bytes() -> None:
    source = importlib.resources.files("suggestion_model.catalog").joinpath("tables/en.json")
    tables = json.loads(source.read_text(encoding="utf-8"))
    cities = [("Reading", 300_000), ("New York City", 8_000_000), ("Zürich", 400_000), ("東京", 9_000_000)]
    brands = [("Next", "shop/clothes"), ("Corner Café", "amenity/cafe"), ("Deep Hole", "amenity/well")]

    def frequency(word: str) -> float:
        return {"reading": 5.0, "next": 6.0}.get(word, 1.0)

    graph = build_graph(tables, cities, brands, frequency)
    assert encode_graph(graph) == encode_graph(build_graph(tables, reversed(cities), reversed(brands), frequency))
    assert parse_graph(gzip.decompress(encode_graph(graph)), "built") == graph
    types = {kind.name: kind for kind in graph.types}
    names = {entity.name for entity in types["city"].entities}
    assert {"reading", "new york", "zurich"} <= names
    assert "東京" not in names
    assert "reading" in types["city"].ordinary
    assert types["clothes_brand"].ordinary == {"next"}
    assert [entity.name for entity in types["cafe_brand"].entities] == ["corner cafe"]


def test_cities_are_read_from_both_forms_of_geonames_data() -> None:
    table = "name,country,admin1,lat,lon,population\nBilbao,ES,59,43.2,-2.9,345000\nLeeds,GB,ENG,53.8,-1.5,455000\n"
    package = {"1": {"name": "Bilbao", "countrycode": "ES", "population": 345000},
               "2": {"name": "Leioa", "countrycode": "ES", "population": 30000}}  # fmt: skip
    assert read_cities(table) == [("Bilbao", 345000), ("Leeds", 455000)]
    assert read_cities(table, ["ES"]) == read_cities(json.dumps(package), ["ES"], 60_000) == [("Bilbao", 345000)]


def test_large_cities_outweigh_the_word_they_share_a_name_with() -> None:
    tables = json.loads(
        importlib.resources.files("suggestion_model.catalog").joinpath("tables/en.json").read_text(encoding="utf-8")
    )
    graph = build_graph(tables, [("Denver", 700_000), ("Mobile", 190_000)], [], lambda word: 4.6)
    ordinary = next(kind.ordinary for kind in graph.types if kind.name == "city")
    assert "mobile" in ordinary
    assert "denver" not in ordinary


def test_the_shipped_spanish_graph_keeps_accents_and_names_its_sources() -> None:
    graph = catalog_graph.shipped_graph("es")
    assert {"CC BY 4.0", "BSD-3-Clause"} <= {source.licence for source in graph.sources}
    assert {"málaga", "bogotá"} <= {
        entity.name for kind in graph.types if kind.name == "city" for entity in kind.entities
    }
    assert min(reachable_queries(graph).values()) > 0
