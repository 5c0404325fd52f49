"""The list of chats."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from keyboard_app.window.chats import Chat
from keyboard_app.window.pages.page import Page
from keyboard_app.window.pages.rows import Card, Item, Paragraph, Row
from keyboard_app.window.theme import Theme


class ChatsPage(Page):
    """Everyone there is to talk to.

    Args:
        theme, back: see :class:`Page`.
        chats: in the order shown.
        choose: opens one.
    """

    title = "Chats"

    def __init__(
        self,
        theme: Theme,
        back: Callable[[], object],
        chats: Sequence[Chat],
        choose: Callable[[Chat], object],
        **kwargs: Any,
    ) -> None:
        self._chats = chats
        self._choose = choose
        super().__init__(theme, back, **kwargs)

    def rows(self) -> tuple[Row, ...]:
        """One item a chat."""
        items = tuple(
            Item(
                f"chat with {chat.name}",
                chat.name,
                f"Draft: {chat.draft}" if chat.draft else chat.newest,
                act=partial(self._choose, chat),
                leads=True,
                initial=chat.name[:1],
                badge=len(chat.missed),
            )
            for chat in self._chats
        )
        return (
            Card(items),
            Paragraph("They follow a script on this device. What you write to them goes nowhere."),
        )
