"""Lines as people type them, by hand: beginnings, mistakes, aliases, inflection, several names, carry-over, small talk.

One table for each catalog: the shipped English and Spanish graphs, and a plain list whose services are in neither.
"""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from suggestion_model.catalog import CatalogError, shipped_catalog
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_index import ListedQuery
from suggestion_model.catalog.query_list import QueryList
from suggestion_model.cli import main
from suggestion_model.types import CandidateSource, Context

ENGLISH = [
    # beginnings, at the cursor
    ("thai restaurants in oakl", (), "thai restaurants in oakland"),
    ("cheap hotels in philad", (), "cheap hotels in philadelphia"),
    ("weather in new yo", (), "weather in new york"),
    # mistakes
    ("restarant in okaland", (), "restaurants in oakland"),
    ("i need a fligth from bostn to seatle", (), "flights from boston to seattle"),
    ("hotels in san fransisco", (), "hotels in san francisco"),
    # aliases
    ("taxi in philly", (), "taxi in philadelphia"),
    ("weather nyc", (), "weather in new york"),
    ("bars in sf", (), "bars in san francisco"),
    # inflection
    ("any good museum in denver?", (), "museums in denver"),
    ("best hiking trail near denver", (), "hiking trails near denver"),
    # names of several words, several names
    ("a hotel in salt lake city", (), "hotels in salt lake city"),
    ("united flights from denver to austin", (), "united flights from denver to austin"),
    ("When does the train leave barcelona for paris?", (), "trains from barcelona to paris"),
    ("vancouver, and the hotel must have a pool", (), "hotels with pool in vancouver"),
    # what was said before
    ("in oakland", ("any thai places to eat?",), "thai restaurants in oakland"),
    ("and the weather there?", ("we fly to lisbon",), "weather in lisbon"),
    ("and the weather there?", ("we fly to lisbon tomorrow",), "weather in lisbon tomorrow"),
    ("to denver", ("i want to fly from boston", "where to?"), "flights from boston to denver"),
    ("from boston", ("i want to fly to denver", "from where?"), "flights from boston to denver"),
    # names that are words too
    ("Reading please", ("I need a hotel", "Which city?"), "hotels in reading"),
    ("LA", ("I need a hotel", "Where?"), "hotels in los angeles"),
]
SPANISH = [
    ("busco un restaurante italiano en Málaga", (), "restaurantes italianos en málaga"),
    ("algún sitio para comer sushi en madri", (), "sushi en madrid"),
    ("necesito un hotle en Barcelna", (), "hoteles en barcelona"),
    ("hoteles en bcn", (), "hoteles en barcelona"),
    ("museos en ciudad de mex", (), "museos en ciudad de méxico"),
    ("quiero un vuelo de Sevilla a Bilbao", (), "vuelos de sevilla a bilbao"),
    ("un vuelo a bogotá desde lima", (), "vuelos de lima a bogotá"),
    ("desde Madrid", ("quiero ir en tren a Sevilla", "¿desde dónde sales?"), "trenes de madrid a sevilla"),
    ("qué tiempo hace allí", ("nos vamos a Granada el viernes",), "el tiempo en granada"),
    ("en Bilbao", ("me apetece comida japonesa", "¿en qué ciudad?"), "restaurantes japoneses en bilbao"),
    ("pisos de dos habitaciones en Zaragoza", (), "pisos de 2 habitaciones en alquiler en zaragoza"),
    ("cómo se hace la paella", (), "receta de paella"),
]
PLACES = ("leeds", "cork", "st albans", "milton keynes", "newcastle")
LIST = [
    *(f"{kind} lessons in {place}" for kind in ("pottery", "sailing", "bagpipe") for place in PLACES),
    *(f"ferries from {a} to {b}" for a in PLACES for b in PLACES if a != b),
    *(f"{pet} boarding {place}" for pet in ("dog", "parrot") for place in PLACES),
    *(f"{size} person tents" for size in (2, 4, 6)),
]
LISTED = [
    ("sailing lessons in cor", (), "sailing lessons in cork"),
    ("potery lesons in leeds", (), "pottery lessons in leeds"),
    ("where can i learn saling in mlton keynes", (), "sailing lessons in milton keynes"),
    ("is there a bagpipes lesson in leeds", (), "bagpipe lessons in leeds"),
    ("saint albans has a place for dogs boarding?", (), "dog boarding st albans"),
    ("a ferry from cork to newcastle", (), "ferries from cork to newcastle"),
    ("a ferry to cork from newcastle", (), "ferries from newcastle to cork"),
    ("newcastle", ("i take the ferry to cork", "Where do you start from?"), "ferries from newcastle to cork"),
    ("in milton keynes", ("who does parrot boarding", "which town?"), "parrot boarding milton keynes"),
    ("a tent for four persons", (), "4 person tents"),
]
SMALL_TALK = ("lol ok", "see you then", "that was a nice day", "happy birthday", "thanks so much!!", "no way haha")
CHARLA = ("jaja vale", "buenos días", "nos vemos luego", "te quiero mucho", "no me lo creo", "gracias guapa")
Case = tuple[str, tuple[str, ...], str]


@pytest.fixture(scope="module")
def english() -> CandidateSource:
    return shipped_catalog()


@pytest.fixture(scope="module")
def spanish() -> CandidateSource:
    return shipped_catalog("es")


@pytest.fixture(scope="module")
def listed() -> QueryList:
    return QueryList.of((ListedQuery(query, query.split()[1]) for query in LIST), language())


def first(source: CandidateSource, composed: str, earlier: tuple[str, ...]) -> str:
    found = source.candidates(Context(composed, earlier))
    return found[0].query if found else ""


@pytest.mark.parametrize(("composed", "earlier", "meant"), ENGLISH)
def test_the_english_graph_finds_what_is_meant(
    english: CandidateSource, composed: str, earlier: tuple[str, ...], meant: str
) -> None:
    assert first(english, composed, earlier) == meant


@pytest.mark.parametrize(("composed", "earlier", "meant"), SPANISH)
def test_the_spanish_graph_finds_what_is_meant(
    spanish: CandidateSource, composed: str, earlier: tuple[str, ...], meant: str
) -> None:
    assert first(spanish, composed, earlier) == meant


@pytest.mark.parametrize(("composed", "earlier", "meant"), LISTED)
def test_a_list_of_other_services_finds_what_is_meant(
    listed: QueryList, composed: str, earlier: tuple[str, ...], meant: str
) -> None:
    assert first(listed, composed, earlier) == meant


@pytest.mark.parametrize("composed", SMALL_TALK)
@pytest.mark.parametrize("earlier", [(), ("thai restaurants in oakland",), ("lets fly to rome",)])
def test_small_talk_brings_up_nothing_whatever_was_said_before(
    english: CandidateSource, composed: str, earlier: tuple[str, ...]
) -> None:
    assert first(english, composed, earlier) == ""


@pytest.mark.parametrize("composed", CHARLA)
@pytest.mark.parametrize("earlier", [(), ("un hotel en sevilla",)])
def test_small_talk_in_spanish_brings_up_nothing(
    spanish: CandidateSource, composed: str, earlier: tuple[str, ...]
) -> None:
    assert first(spanish, composed, earlier) == ""


def test_everyday_words_are_no_mistakes_and_no_beginnings(english: CandidateSource) -> None:
    for said in ("any plane", "by the way", "i had a date", "the mouse in the house is on a diet"):
        assert not any(name in first(english, said, ()) for name in ("plano", "wayne", "daytona", "diette"))


def test_a_language_without_a_catalog_is_named() -> None:
    with pytest.raises(CatalogError, match="'xx'"):
        shipped_catalog("xx")


def test_the_command_prints_candidates_and_times() -> None:
    run = CliRunner().invoke(main, ["candidates", "en bilb", "--earlier", "un hotel", "--language", "es", "--json"])
    found = json.loads(run.output)
    assert found["candidates"][0]["query"] == "hoteles en bilbao"
    assert found["key_median_ms"] <= found["key_max_ms"]
    run = CliRunner().invoke(main, ["candidates", "lol"])
    assert run.output.startswith("nothing\nloaded in ")
    assert CliRunner().invoke(main, ["candidates", "lol", "--catalog", "absent.csv"]).exit_code == 1
