"""What a long press on the strip offers: to refuse a query, its kind, all of them, or a word, for good."""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from keyboard_app.suggestions import Refusal, TypingSession
from keyboard_app.window.composer import Composer
from keyboard_app.window.focus import Box
from keyboard_app.window.keys import KeyboardView
from keyboard_app.window.menu import Item, Menu
from keyboard_app.window.theme import Theme


class Screen(Protocol):
    """What lies under the menu; a widget."""

    session: TypingSession
    composer: Composer
    keyboard: KeyboardView
    pos: Any
    size: Any

    def add_widget(self, widget: Any) -> object:
        """Lay something over the rest."""

    def remove_widget(self, widget: Any) -> object:
        """Take it away again."""

    def refresh(self) -> None:
        """Show the session as it is now."""

    def show_focus(self) -> None:
        """Draw the ring where the focus is."""


class Refusals:
    """Opens and closes the menu of a screen, and does what is chosen.

    Args:
        screen: where queries and words stand and the menu lies.
        theme: colours of the menu.
    """

    def __init__(self, screen: Screen, theme: Theme) -> None:
        self.menu = Menu(theme, self.close)
        self._screen = screen

    @property
    def is_open(self) -> bool:
        """True while the menu lies over the screen."""
        return self.menu.parent is not None

    def ask_about_query(self, anchor: Box) -> None:
        """A long press on a query: what should become of it and its kind."""
        query = self._screen.session.strip.query
        if query is None:
            return
        category = self._screen.session.query_category.replace("_", " ").replace(".", " · ")
        self._open(
            query,
            (
                Item("Not this", partial(self.refuse_query, Refusal.QUERY)),
                Item(f"Nothing about {category}", partial(self.refuse_query, Refusal.CATEGORY)),
                Item("No searches in this chat", partial(self.refuse_query, Refusal.CONVERSATION)),
                Item("No searches at all", partial(self.allow_queries, False)),
            ),
            anchor,
        )

    def ask_about_word(self, word: str, anchor: Box) -> None:
        """A long press on a word of the strip."""
        self._open(f"“{word}”", (Item("Never suggest this", partial(self.dislike_word, word)),), anchor)

    def refuse_query(self, refusal: Refusal) -> None:
        """Send the query away for good, or its category, or all queries in this chat."""
        self._screen.session.refuse_query(refusal)
        self._screen.composer.tell("Understood. The menu takes it back.")
        self._screen.refresh()

    def allow_queries(self, allowed: bool) -> None:
        """Offer queries, or words alone."""
        session = self._screen.session
        if not allowed:
            session.dismiss_query()
        session.preferences.queries = allowed
        session.apply_preferences()
        self._screen.refresh()

    def dislike_word(self, word: str) -> None:
        """Never offer a word again, and forget it."""
        self._screen.session.dislike_word(word)
        self._screen.refresh()

    def close(self) -> None:
        """Put the menu away."""
        if self.is_open:
            self._screen.remove_widget(self.menu)
            self._screen.show_focus()

    def _open(self, title: str, items: Sequence[Item], anchor: Box) -> None:
        screen = self._screen
        screen.keyboard.release_all()
        self.menu.pos, self.menu.size = screen.pos, screen.size
        self.menu.show(title, items, anchor)
        if not self.is_open:
            screen.add_widget(self.menu)
        screen.show_focus()
