"""The knowledge graph as data: entities of types, types linked to categories, categories with triggers and templates.

The file (JSON, gzipped when shipped) reads like this, entities as ``[name, prior, [alias, ...]]``::

    {"format": "suggestion-catalog/1", "language": "en",
     "sources": [{"name": "GeoNames", "licence": "CC BY 4.0", "used_for": "cities"}],
     "categories": [{"name": "restaurants", "prior": 1.0, "sensitive": false,
                     "triggers": ["place to eat", "hungry"],
                     "templates": ["{cuisine} restaurants in {city}"]}],
     "types": [{"name": "city", "links": [], "ordinary": ["reading"],
                "entities": [["san francisco", 0.8, ["sf"]], ["reading", 0.6]]},
               {"name": "cuisine", "links": ["restaurants"], "entities": [["thai"]]}]}

A trigger, or an entity of a linked type, brings its category into play; the templates whose slots the context can
fill become queries. A slot ``{city:from}`` or ``{city:to}`` wants a place in that role. ``ordinary`` lists names that
are also ordinary words: they count only where the words around them say so. All names, aliases and
triggers are matched folded.
"""

from __future__ import annotations

import gzip
import importlib.resources
import math
import re
from collections import Counter
from dataclasses import dataclass

import msgspec

from suggestion_model.catalog.errors import CatalogError

FORMAT = "suggestion-catalog/1"
SHIPPED = "releases/v0/catalog.json.gz"
"""The English one is part of the release bundle."""
OTHERS = "catalog/graphs/{}.json.gz"
_SLOT = re.compile(r"\{([a-z_]+)(?::(from|to))?\}")
_ROLES = {"from": -1, "to": 1, "": 0}


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a part of the graph comes from."""

    name: str
    licence: str
    used_for: str


class Entity(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A thing with a name; written as ``[name, prior, [alias, ...]]``."""

    name: str
    prior: float = 0.5
    """0..1, how often it is meant when its type is."""
    aliases: tuple[str, ...] = ()


class EntityType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of thing that fills slots of its name."""

    name: str
    entities: tuple[Entity, ...]
    links: tuple[str, ...] = ()
    """Categories that an entity of this type brings into play by itself."""
    ordinary: frozenset[str] = frozenset()
    """Names and aliases that are also ordinary words."""


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subject of search."""

    name: str
    triggers: tuple[str, ...]
    templates: tuple[str, ...]
    prior: float = 0.5
    sensitive: bool = False


class KnowledgeGraph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole catalog, as in the file."""

    format: str
    language: str
    categories: tuple[Category, ...]
    types: tuple[EntityType, ...]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """A gap in a template."""

    type: str
    role: int
    """-1 a place one comes from, +1 a place one goes to, 0 neither."""


def segments(template: str) -> tuple[str | Slot, ...]:
    """A template cut into literal text and slots, in order.

    Raises:
        CatalogError: a brace that belongs to no slot.
    """
    parts: list[str | Slot] = []
    end = 0
    for match in _SLOT.finditer(template):
        if literal := template[end : match.start()]:
            parts.append(literal)
        parts.append(Slot(match[1], _ROLES[match[2] or ""]))
        end = match.end()
    if rest := template[end:]:
        parts.append(rest)
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise CatalogError(f"template {template!r}: write slots as {{type}}, {{type:from}} or {{type:to}}")
    return tuple(parts)


def parse_graph(data: bytes | str, where: str) -> KnowledgeGraph:
    """Decode and check a graph file.

    Raises:
        CatalogError: not JSON, not of this format, or names that refer to nothing; ``where`` opens the message.
    """
    try:
        graph = msgspec.json.decode(data, type=KnowledgeGraph)
    except msgspec.DecodeError as error:
        raise CatalogError(f"{where}: {error}; see suggestion_model/catalog/graph.py for the format") from error
    if graph.format != FORMAT:
        raise CatalogError(f"{where}: format {graph.format!r} is not {FORMAT!r}; use a matching version of the package")
    categories = Counter(category.name for category in graph.categories)
    types = Counter(kind.name for kind in graph.types)
    for name, count in (categories + types).items():
        if count > 1 and (categories[name] > 1 or types[name] > 1):
            raise CatalogError(f"{where}: {name!r} is defined {count} times; keep one")
    for kind in graph.types:
        for link in kind.links:
            if link not in categories:
                raise CatalogError(
                    f"{where}: type {kind.name!r} links to {link!r}, which is no category; add or unlink it"
                )
        for entity in kind.entities:
            if not entity.name.strip() or not 0 <= entity.prior <= 1:
                raise CatalogError(f"{where}: type {kind.name!r} has an entity without a name or a prior outside 0..1")
    for category in graph.categories:
        if not 0 <= category.prior <= 1:
            raise CatalogError(f"{where}: category {category.name!r} has a prior outside 0..1")
        for template in category.templates:
            try:
                parts = segments(template)
            except CatalogError as error:
                raise CatalogError(f"{where}: {error}") from error
            for part in parts:
                if isinstance(part, Slot) and part.type not in types:
                    raise CatalogError(
                        f"{where}: template {template!r} wants {part.type!r}, which is no type; add the type"
                    )
    return graph


def shipped_graph(code: str = "en") -> KnowledgeGraph:
    """The knowledge graph of a language that ships with the package.

    Raises:
        CatalogError: none ships for that language.
    """
    file = importlib.resources.files("suggestion_model").joinpath(SHIPPED if code == "en" else OTHERS.format(code))
    if not file.is_file():
        raise CatalogError(f"no catalog ships for language {code!r}; give a file of your own")
    return parse_graph(gzip.decompress(file.read_bytes()), f"the shipped catalog ({code})")


def without_sensitive(graph: KnowledgeGraph) -> KnowledgeGraph:
    """The graph without sensitive categories, and without types that only they use."""
    kept = tuple(category for category in graph.categories if not category.sensitive)
    names = {category.name for category in kept}
    used = {part.type for c in kept for t in c.templates for part in segments(t) if isinstance(part, Slot)}
    types = tuple(
        msgspec.structs.replace(kind, links=tuple(link for link in kind.links if link in names))
        for kind in graph.types
        if kind.name in used
    )
    return msgspec.structs.replace(graph, categories=kept, types=types)


def reachable_queries(graph: KnowledgeGraph) -> dict[str, int]:
    """Number of different queries each category's templates can make, by category name."""
    sizes = {kind.name: len(kind.entities) for kind in graph.types}
    reachable: dict[str, int] = {}
    for category in graph.categories:
        total = 0
        for template in set(category.templates):
            wanted = Counter(part.type for part in segments(template) if isinstance(part, Slot))
            total += math.prod(math.perm(sizes[name], count) for name, count in wanted.items())
        reachable[category.name] = total
    return reachable
