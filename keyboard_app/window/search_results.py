"""What the search card shows for a query, from a provider that can be exchanged. No Kivy here.

A provider answers on the device and at once; asking one sends nothing anywhere. The one that comes with the keyboard
knows what the catalog knows. The web is only ever reached by the second tap, in the person's own browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import quote_plus

from suggestion_model.types import CandidateSource, Context

MOST_RELATED = 6


@dataclass(frozen=True, slots=True)
class Related:
    """Another search near the one that was tapped."""

    query: str
    category: str


@dataclass(frozen=True, slots=True)
class Results:
    """What is known without asking anybody."""

    facts: tuple[str, ...] = ()
    """What the query is about, a few words each."""
    related: tuple[Related, ...] = ()


class ResultProvider(Protocol):
    """Finds something to show for a query, without any network."""

    def results(self, query: str) -> Results:
        """What is known about ``query``."""
        ...


@runtime_checkable
class NamesEntities(Protocol):
    """A catalog that knows things by name."""

    def mentioned(self, text: str) -> list[tuple[str, str]]:
        """Entities that ``text`` names, as (name, type)."""
        ...


class CatalogResults:
    """Results from the catalog that the suggestions come from: the entities a query names, and its neighbours.

    Args:
        catalog: any source of candidates; one that knows entities tells their kinds as well.
    """

    def __init__(self, catalog: CandidateSource) -> None:
        self._catalog = catalog

    def results(self, query: str) -> Results:
        """Entities named in the query with their kinds, and other searches that the query itself would bring up."""
        named = self._catalog.mentioned(query) if isinstance(self._catalog, NamesEntities) else []
        kinds: dict[str, str] = {}
        for name, kind in named:
            kinds.setdefault(name, kind.replace("_", " "))
        near = self._catalog.candidates(Context(query), MOST_RELATED + 2)
        related = [Related(c.query, c.category) for c in near if c.query != query and not c.sensitive]
        return Results(
            tuple(f"{name} ({kind})" for name, kind in kinds.items()),
            tuple(related[:MOST_RELATED]),
        )


class NoResults:
    """For a keyboard without a catalog: the card shows the query alone."""

    def results(self, query: str) -> Results:
        """Nothing."""
        return Results()


def with_query(search_url: str, before: str, after: str) -> str:
    """The address of a search for ``after``, made from that for ``before``."""
    return search_url.replace(quote_plus(before), quote_plus(after))
