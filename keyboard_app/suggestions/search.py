"""What a tapped query opens: a card, and the address at which the query would be searched."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote_plus

from suggestion_model.types import Candidate

SEARCH_ADDRESS = "https://duckduckgo.com/?q={query}"


@dataclass(frozen=True, slots=True)
class SearchCard:
    """What a tapped query opens. Nothing is sent anywhere until the person opens ``search_url`` with a second tap."""

    query: str
    category: str
    search_url: str


@dataclass(frozen=True, slots=True)
class SearchAddress:
    """Where queries are searched.

    Raises
    ------
    ValueError
        When ``template`` is no http(s) address with ``{query}`` in it.
    """

    template: str = SEARCH_ADDRESS

    def __post_init__(self) -> None:
        if "{query}" not in self.template or not self.template.startswith(("https://", "http://")):
            raise ValueError("The search address must begin with https:// and hold {query} where the query goes.")

    def card(self, candidate: Candidate) -> SearchCard:
        """The card of a tapped query."""
        url = self.template.replace("{query}", quote_plus(candidate.query))
        return SearchCard(candidate.query, candidate.category, url)
