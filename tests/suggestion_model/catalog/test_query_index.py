"""The index of a query list: kept in a file, mapped when the same list comes again, never trusted when damaged."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from suggestion_model.catalog import load_catalog
from suggestion_model.catalog.language import language
from suggestion_model.catalog.query_index import ListedQuery, QueryIndex, build_index, load_index, save_index
from suggestion_model.types import Context

ROWS = [
    *(ListedQuery(f"{kind} lessons in {city}", "a") for kind in ("banjo", "oboe") for city in ("São Paulo", "oslo")),
    ListedQuery("2 person tents", "camping", 3.0),
    ListedQuery("tents from oslo to bergen", "camping"),
]  # fmt: skip
LIST = "query,category\nbanjo lessons in oslo,music\noboe lessons in oslo,music\n"


def same(one: QueryIndex, other: QueryIndex) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(QueryIndex)]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_an_index_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    index = build_index(ROWS, language())
    save_index(index, tmp_path / "list.index")
    found = load_index(tmp_path / "list.index")
    assert found is not None
    assert same(found, index)
    assert found.query(0) == "banjo lessons in São Paulo"


def test_an_empty_list_has_an_index_too(tmp_path: Path) -> None:
    save_index(build_index([], language()), tmp_path / "list.index")
    assert load_index(tmp_path / "list.index") is not None


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "flipped", "header", "other"])
def test_a_damaged_index_is_no_index(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "list.index"
    save_index(build_index(ROWS, language()), path)
    data = bytearray(path.read_bytes())
    match damage:
        case "absent":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "flipped":
            data[-70] ^= 1
            path.write_bytes(data)
        case "header":
            path.write_bytes(data.replace(b'"postings"', b'"postcards"'))
        case "other":
            path.write_bytes(data.replace(b"index/1", b"index/0"))
    assert load_index(path) is None


def test_a_list_loaded_again_is_answered_from_the_kept_index(tmp_path: Path) -> None:
    path, cache = tmp_path / "list.csv", tmp_path / "cache"
    path.write_text(LIST)
    first = load_catalog(path, cache=cache)
    (kept,) = cache.glob("*.index")
    written = kept.stat().st_mtime_ns
    again = load_catalog(path, cache=cache)
    assert kept.stat().st_mtime_ns == written
    asked = Context("any banjo lessons")
    assert again.candidates(asked) == first.candidates(asked) == load_catalog(path).candidates(asked) != []


def test_a_changed_list_and_a_damaged_index_are_indexed_anew(tmp_path: Path) -> None:
    path, cache = tmp_path / "list.csv", tmp_path / "cache"
    path.write_text(LIST)
    load_catalog(path, cache=cache)
    (kept,) = cache.glob("*.index")
    kept.write_bytes(b"broken")
    assert load_catalog(path, cache=cache).holds("banjo lessons in oslo")
    path.write_text(LIST.replace("banjo", "zither"))
    assert load_catalog(path, cache=cache).holds("zither lessons in oslo")
    assert len(list(cache.glob("*.index"))) == 2


def test_sensitive_and_ordinary_indexes_of_one_list_are_kept_apart(tmp_path: Path) -> None:
    path, cache = tmp_path / "list.csv", tmp_path / "cache"
    path.write_text(LIST + "cough medicine,health\n")
    assert load_catalog(path, sensitive=True, cache=cache).holds("cough medicine")
    assert not load_catalog(path, cache=cache).holds("cough medicine")


def test_where_nothing_can_be_kept_the_list_serves_all_the_same(tmp_path: Path) -> None:
    path, cache = tmp_path / "list.csv", tmp_path / "cache"
    path.write_text(LIST)
    cache.write_text("a file where the folder should be")
    assert load_catalog(path, cache=cache).holds("banjo lessons in oslo")


def test_a_list_names_its_language_in_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "liste.csv"
    path.write_text("# language: xx\n" + LIST)
    with pytest.raises(ValueError, match=r"languages/xx\.json"):
        load_catalog(path)
    path.write_text("# language: en\n" + LIST)
    assert load_catalog(path).holds("banjo lessons in oslo")
