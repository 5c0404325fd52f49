"""What a tapped query leads to: the search card over the keys, other searches on it, the chat, or the browser."""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from typing import Any, Protocol

from kivy.animation import Animation

from keyboard_app.suggestions import SearchCard, TypingSession
from keyboard_app.window.keys import KeyboardView
from keyboard_app.window.search_card import SearchCardView
from keyboard_app.window.search_results import NoResults, Related, ResultProvider, with_query
from keyboard_app.window.strip import WordStrip
from keyboard_app.window.theme import Theme

CARD_RISE_S = 0.16


def open_in_browser(url: str) -> None:
    """Open ``url`` in the person's browser, without making the keyboard wait for it."""
    threading.Thread(target=webbrowser.open, args=(url,), name="open-browser", daemon=True).start()


class Screen(Protocol):
    """What lies under the card; a widget."""

    session: TypingSession
    words: WordStrip
    keyboard: KeyboardView
    y: float

    @property
    def incognito(self) -> bool:
        """Whether nothing that is typed is kept."""

    def add_widget(self, widget: Any) -> object:
        """Lay something over the rest."""

    def remove_widget(self, widget: Any) -> object:
        """Take it away again."""

    def say(self, line: str) -> None:
        """Put an own line into the chat."""

    def refresh(self) -> None:
        """Show the session as it is now."""


class TappedQuery:
    """Opens and closes the card of a screen, and does what its buttons say.

    Args:
        screen: where the query stands and the card lies.
        theme: colours of the card.
        open_url: takes the address of a search after the second tap.
    """

    def __init__(self, screen: Screen, theme: Theme, open_url: Callable[[str], object]) -> None:
        self.results: ResultProvider = NoResults()
        """What the card knows without asking anybody."""
        self.view = SearchCardView(theme, self.browse, self.close, self.share, self.turn)
        self._screen = screen
        self._open_url = open_url
        self._card: SearchCard | None = None

    @property
    def is_open(self) -> bool:
        """True while the card lies over the keys."""
        return self.view.parent is not None

    def open(self) -> None:
        """The first tap on a query: open the card, leave the text alone."""
        screen = self._screen
        self._card = screen.session.tap_query()
        if self._card is not None:
            screen.keyboard.release_all()
            self._show(self._card)
            if not self.is_open:
                screen.add_widget(self.view)
                self.view.y = screen.y - (screen.words.top - screen.y)
                Animation(y=screen.y, duration=CARD_RISE_S, t="out_cubic").start(self.view)
        screen.refresh()

    def close(self) -> None:
        """Put the card away; the composed text is what it was."""
        self._card = None
        if self.is_open:
            Animation.cancel_all(self.view)
            self._screen.remove_widget(self.view)

    def turn(self, related: Related) -> None:
        """Another search on the card: it takes the place of the first; nothing is sent."""
        card = self._card
        if card is not None:
            url = with_query(card.search_url, card.query, related.query)
            self._card = SearchCard(related.query, related.category, url)
            self._show(self._card)

    def share(self) -> None:
        """Say the search and its address in the chat; the line being composed is left alone."""
        card, screen = self._card, self._screen
        self.close()
        if card is None:
            return
        if not screen.incognito:
            screen.session.receive(card.query)  # from here on part of what the conversation is about
        screen.say(f"{card.query} {card.search_url}")
        screen.refresh()

    def browse(self) -> None:
        """The second tap: only now does the query leave the keyboard."""
        if self._card is not None:
            self._open_url(self._card.search_url)
        self.close()

    def _show(self, card: SearchCard) -> None:
        self.view.show(card.query, card.category, card.search_url, self.results.results(card.query))
