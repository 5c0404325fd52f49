"""The menu: what can be looked at and switched beyond the keys."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keyboard_app.window.pages.page import Page
from keyboard_app.window.pages.rows import Row
from keyboard_app.window.theme import Theme


class MenuPage(Page):
    """Rows that whoever makes the menu gives.

    Args:
        theme, back: see :class:`Page`.
        entries: the rows as they stand now.
    """

    title = "Keyboard"

    def __init__(
        self, theme: Theme, back: Callable[[], object], entries: Callable[[], tuple[Row, ...]], **kwargs: Any
    ) -> None:
        self._entries = entries
        super().__init__(theme, back, **kwargs)

    def rows(self) -> tuple[Row, ...]:
        """The entries."""
        return self._entries()
