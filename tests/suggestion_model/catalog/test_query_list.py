"""Plain query lists: what files are accepted, and which queries a context brings up."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suggestion_model.catalog import MATCH_FEATURES, CatalogError, load_catalog
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_index import ListedQuery
from suggestion_model.catalog.query_list import QueryList
from suggestion_model.types import Candidate, Context

CITIES = ("oakland", "san francisco", "san jose", "new york", "los angeles", "pleasant hill", "boston", "seattle")
ROWS = [
    *(ListedQuery(f"{kind} restaurants in {city}", "restaurants") for kind in ("thai", "greek") for city in CITIES),
    *(ListedQuery(f"flights from {a} to {b}", "flights") for a in CITIES for b in CITIES if a != b),
    *(ListedQuery(f"weather in {city}", "weather") for city in CITIES),
    *(ListedQuery(f"{n} bedroom apartments for rent in {city}", "homes") for n in (1, 2, 3) for city in CITIES),
    *(ListedQuery(f"hotels in {city}", "hotels") for city in CITIES),
    ListedQuery("pet sematary showtimes boston", "movies"),
    ListedQuery("comedy movies", "movies"),
    ListedQuery("movies playing in boston", "movies"),
]


@pytest.fixture(scope="module")
def queries() -> QueryList:
    return QueryList.of(ROWS, language())


def top(source: QueryList, composed: str, *earlier: str) -> str:
    found = source.candidates(Context(composed, earlier))
    return found[0].query if found else ""


def feature(candidate: Candidate, name: str) -> float:
    return candidate.features[MATCH_FEATURES.index(name)]


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.csv.gz"])
def test_a_list_is_read_with_mark_quotes_blank_lines_and_windows_line_ends(tmp_path: Path, name: str) -> None:
    text = '\ufeffquery,category,prior\r\n\r\n"soup, hot",recipes,3\r\n , ,\r\ncold soup,recipes,\r\n'
    source = load_catalog(write(tmp_path / name, text))
    assert [found.query for found in source.candidates(Context("hot soup"))] == ["soup, hot", "cold soup"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("query,category\n", "no queries"),
        ("q,c\na,b\n", "line 1: the header must be"),
        ("query,category\nsoup\n", "line 2: 1 values"),
        ("query,category\nsoup,food,extra\n", "quote queries that hold a comma"),
        ("query,category\n\nsoup,\n", "line 3: the category is empty"),
        ("query,category\n,food\n", "line 2: the query is empty"),
        ("query,category,prior\nsoup,food,many\n", "line 2: the prior must be a number"),
        ("query,category,prior\nsoup,food,-1\n", "line 2: the prior must be a number"),
        ("query,category,prior\nsoup,food,nan\n", "line 2: the prior must be a number"),
        ('query,category\n"soup,food\n', "check the quotes"),
        (f"query,category\n{'a' * 500},food\n", "shorten"),
        (b"query,category\nso\xffup,food\n", "line 2: not UTF-8"),
    ],
)
def test_a_bad_list_names_the_line_and_what_to_do(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(CatalogError, match=says) as caught:
        load_catalog(write(tmp_path / "bad.csv", text))
    assert "bad.csv" in str(caught.value)


def test_a_missing_or_torn_file_is_a_catalog_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path / "absent.csv")
    whole = gzip.compress(b"query,category\nsoup,food\n" * 100)
    for name, data in (("torn.csv.gz", whole[:30]), ("not.csv.gz", b"plain text")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CatalogError, match="cannot be read"):
            load_catalog(tmp_path / name)


def test_sensitive_queries_are_off_unless_asked_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "list.csv", "query,category\ncough medicine,health\nabortion clinic,services\ncough song,music\n"
    )
    quiet = load_catalog(path).candidates(Context("cough abortion clinic medicine"))
    assert [found.query for found in quiet] == ["cough song"]
    every = load_catalog(path, sensitive=True).candidates(Context("cough abortion clinic medicine"))
    assert {found.query for found in every if found.sensitive} == {"cough medicine", "abortion clinic"}


@pytest.mark.parametrize(
    ("composed", "earlier", "wanted"),
    [
        ("any good thai places in oakland?", (), "thai restaurants in oakland"),
        ("Oakland please", ("I'm in the mood for Greek food", "Which city?"), "greek restaurants in oakland"),
        ("and what is the weather like there", ("hotels in Pleasant Hill?",), "weather in pleasant hill"),
        ("thai food in sf", (), "thai restaurants in san francisco"),
        ("a hotel in the big apple", (), "hotels in new york"),
        ("need a hotel in San José", (), "hotels in san jose"),
        ("two bedroom apartment in boston", (), "2 bedroom apartments for rent in boston"),
        ("what movies are playing in Boston", (), "movies playing in boston"),
        ("funny movies", (), "comedy movies"),
        ("Pet Sematary sounds good, at what time", ("looking for movies in boston",), "pet sematary showtimes boston"),
    ],
)
def test_the_best_candidate_is_what_was_meant(
    queries: QueryList, composed: str, earlier: tuple[str, ...], wanted: str
) -> None:
    assert top(queries, composed, *earlier) == wanted


@pytest.mark.parametrize(
    ("composed", "earlier", "wanted"),
    [
        ("a flight from boston to seattle", (), "flights from boston to seattle"),
        ("a flight to boston from seattle", (), "flights from seattle to boston"),
        ("Seattle", ("I need a flight to Boston", "Where are you leaving from?"), "flights from seattle to boston"),
        ("Seattle", ("I need a flight from Boston", "What is your destination?"), "flights from boston to seattle"),
        ("I'm leaving from LA", ("flying to New York",), "flights from los angeles to new york"),
    ],
)
def test_of_two_queries_with_the_same_words_the_one_in_the_right_direction_is_first(
    queries: QueryList, composed: str, earlier: tuple[str, ...], wanted: str
) -> None:
    found = queries.candidates(Context(composed, earlier))
    assert found[0].query == wanted
    assert feature(found[0], "order") > 0


def test_the_newest_place_wins(queries: QueryList) -> None:
    assert top(queries, "and hotels in seattle?", "hotels in boston", "hotels in new york") == "hotels in seattle"


def test_half_a_name_does_not_count_as_the_name(queries: QueryList) -> None:
    found = {c.query: c.score for c in queries.candidates(Context("thai restaurants in san jose"), limit=50)}
    assert found["thai restaurants in san jose"] > 1.5 * found["thai restaurants in san francisco"]


def test_a_word_inside_another_word_is_not_matched(queries: QueryList) -> None:
    assert queries.candidates(Context("the bostonians whether overflights")) == []


def test_the_word_at_the_cursor_matches_by_its_beginning_until_it_is_ended(queries: QueryList) -> None:
    assert top(queries, "thai restaurants in oakl") == "thai restaurants in oakland"
    unfinished = queries.candidates(Context("thai restaurants in seat"))
    ended = queries.candidates(Context("thai restaurants in seat "))
    assert unfinished[0].query == "thai restaurants in seattle"
    assert feature(ended[0], "slots_now") < feature(unfinished[0], "slots_now")


@pytest.mark.parametrize("composed", ["", "   ", "?!", "🎉"])
def test_without_words_nothing_is_proposed(queries: QueryList, composed: str) -> None:
    assert queries.candidates(Context(composed, ("thai restaurants in oakland",))) == []


def test_saying_it_now_scores_above_having_said_it(queries: QueryList) -> None:
    now = queries.candidates(Context("thai restaurants in oakland"))[0]
    earlier = queries.candidates(Context("sounds good, thanks", ("thai restaurants in oakland",)))[0]
    assert now.query == earlier.query
    assert now.score > 1.5 * earlier.score


TITLES = ("dumbo", "pillow talk", "citizen kane", "rear window")
OTHERS = ("hellboy", "casablanca", "psycho", "vertigo", "gladiator", "alien", "jaws", "heat", "gandhi", "babe")
SIGHTS = ("museum", "park", "garden")
OUTINGS = [
    *(ListedQuery(f"{title} showtimes {city}", "movies") for title in (*TITLES, *OTHERS) for city in CITIES),
    *(ListedQuery(f"{prefix}{sight} in {city}", "travel") for prefix in ("", "free ", "free kid friendly ")
      for sight in SIGHTS for city in CITIES),
    *(ListedQuery(f"{size}car rental {city}", "cars") for size in ("", "compact ", "standard ") for city in CITIES),
    *(ListedQuery(f"hotels in {city}", "hotels") for city in CITIES),
]  # fmt: skip


@pytest.fixture(scope="module")
def outings() -> QueryList:
    return QueryList.of(OUTINGS, language())


@pytest.mark.parametrize("title", TITLES)
def test_the_name_that_came_up_again_is_meant(outings: QueryList, title: str) -> None:
    listed = f"in oakland there are {', '.join(TITLES)}"
    assert top(outings, "i want to see it on friday", listed, f"{title}!", "which day?") == f"{title} showtimes oakland"


def test_a_kind_of_query_said_often_does_not_hide_the_one_asked_for_now(outings: QueryList) -> None:
    said = ("a car rental in boston", "this rental car?", "yes, that car", "the car rental is booked")
    assert top(outings, "now look for a hotel in boston", *said) == "hotels in boston"


def test_of_queries_that_fit_the_one_with_more_of_the_words_that_were_said_comes_first(outings: QueryList) -> None:
    assert top(outings, "a museum in boston", "something free") == "free museum in boston"
    assert top(outings, "a museum in boston", "something free and kid friendly") == "free kid friendly museum in boston"
    assert top(outings, "a museum in boston", "i feel like going out") == "museum in boston"
    asked = ("i need a compact car to rent", "from when?", "the 4th of march, in the morning", "where from?")
    assert top(outings, "boston", *asked) == "compact car rental boston"


CIUDADES = ("bilbao", "madrid", "sevilla", "san sebastián", "valencia", "granada", "zaragoza", "vigo")
FILMS = ("casablanca", "volver", "mar adentro", "tesis", "viridiana", "tiburón", "gladiador", "psicosis", "amadeus")


@pytest.mark.parametrize(
    ("composed", "earlier", "meant"),
    [
        (
            "quiero verla el viernes",
            ("en bilbao ponen volver, casablanca y mar adentro", "¡volver!", "¿qué día?"),
            "volver horarios de cine bilbao",
        ),
        (
            "bilbao",
            ("necesito un coche compacto de alquiler", "¿en qué ciudad?"),
            "alquiler de coches compactos en bilbao",
        ),
        (
            "ahora busca un hotel en vigo",
            ("un coche de alquiler en vigo", "el coche familiar", "ese coche", "el coche está reservado"),
            "hoteles en vigo",
        ),
    ],
)
def test_a_spanish_list_is_ordered_alike(composed: str, earlier: tuple[str, ...], meant: str) -> None:
    rows = [
        *(ListedQuery(f"{film} horarios de cine {ciudad}", "cine") for film in FILMS for ciudad in CIUDADES),
        *(ListedQuery(f"alquiler de coches{s} en {v}", "coches") for s in ("", " compactos", " familiares")
          for v in CIUDADES),
        *(ListedQuery(f"hoteles en {ciudad}", "hoteles") for ciudad in CIUDADES),
    ]  # fmt: skip
    assert top(QueryList.of(rows, language("es")), composed, *earlier) == meant


def test_a_prior_breaks_ties(tmp_path: Path) -> None:
    path = write(
        tmp_path / "list.csv", "query,category,prior\nred wine,drinks,1\nred beer,drinks,90\nred tea,drinks,5\n"
    )
    assert [c.query for c in load_catalog(path).candidates(Context("red"))] == ["red beer", "red tea", "red wine"]


WORDS = (
    "thai",
    "oakland",
    "san",
    "jose",
    "la",
    "from",
    "to",
    "boston",
    "2",
    "bedroom",
    "the",
    "fl",
    "wea",
    "é",
    "東京",
)
contexts = st.builds(
    Context,
    st.lists(st.sampled_from(WORDS))
    .map(" ".join)
    .flatmap(lambda text: st.sampled_from([text, text + " ", text + "?"])),
    st.lists(st.sampled_from(["flights to boston", "where from?", "seattle", "", "2 bedrooms in SF", "thanks"])).map(
        tuple
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(contexts, min_size=2, max_size=6))
def test_candidates_depend_on_nothing_but_the_context(asked: list[Context]) -> None:
    used = QueryList.of(ROWS, language())
    for context in asked[:-1]:
        used.candidates(context)
    assert used.candidates(asked[-1]) == QueryList.of(ROWS, language()).candidates(asked[-1])


@settings(max_examples=100, deadline=None)
@given(contexts, st.integers(1, 12))
def test_candidates_are_few_sorted_distinct_and_their_features_in_range(context: Context, limit: int) -> None:
    found = QueryList.of(ROWS, language()).candidates(context, limit)
    assert len(found) <= limit
    assert len({candidate.query for candidate in found}) == len(found)
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True)
    for candidate in found:
        assert candidate.score > 0
        assert len(candidate.features) == len(MATCH_FEATURES)
        assert np.isfinite(candidate.features).all()
        assert all(-1.001 <= value <= 1.5 for value in candidate.features)
        assert feature(candidate, "score") == pytest.approx(candidate.score)


def test_the_margin_is_the_lead_of_the_first_and_the_lag_of_the_others(queries: QueryList) -> None:
    found = queries.candidates(Context("hotels in boston"))
    assert feature(found[0], "margin") == pytest.approx(found[0].score - found[1].score, abs=1e-6)
    assert feature(found[1], "margin") == pytest.approx(found[1].score - found[0].score, abs=1e-6)


def test_a_list_knows_what_it_holds(queries: QueryList) -> None:
    assert queries.holds("2 Bedroom apartments for rent in Oakland")
    assert not queries.holds("9 bedroom apartments for rent in oakland")
    assert not queries.holds("oakland in weather")
    assert not queries.holds("")
