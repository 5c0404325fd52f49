"""One keyboard with its pages: the screen one types on, and what the menu leads to, laid over it."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kivy.core.window import Window
from kivy.uix.widget import Widget

from keyboard_app.window.chats import Chat
from keyboard_app.window.pages.chats_page import ChatsPage
from keyboard_app.window.pages.learning_status import LearningStatus
from keyboard_app.window.pages.learning_status_page import LearningStatusPage
from keyboard_app.window.pages.menu_page import MenuPage
from keyboard_app.window.pages.page import Page
from keyboard_app.window.pages.privacy_centre import PrivacyCentre
from keyboard_app.window.pages.privacy_centre_pages import PrivacyCentrePage
from keyboard_app.window.pages.rows import Card, Item, Row, Switch
from keyboard_app.window.screen import KeyboardScreen
from keyboard_app.window.theme import Theme


class Shell(Widget):
    """The screen, and a stack of pages over it.

    Args:
        screen: what one types on.
        theme: colours of the pages.
        chats: everyone there is to talk to.
        privacy: what the privacy centre shows.
        learning: what the learning status shows, asked when it is opened; None while nothing can be learned.
    """

    drawn_by_children = True

    def __init__(
        self,
        screen: KeyboardScreen,
        theme: Theme,
        chats: Sequence[Chat],
        privacy: PrivacyCentre,
        learning: Callable[[], LearningStatus | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.screen = screen
        self.pages: list[Page] = []
        self._theme = theme
        self._chats = chats
        self._privacy = privacy
        self._learning = learning
        self._hardware: Any = None
        privacy.forget_screen = screen.forget
        screen.on_menu, screen.on_chats, screen.on_status = self.open_menu, self.open_chats, self.open_learning
        screen.dialogue.unread = lambda: sum(len(chat.missed) for chat in chats if chat is not screen.dialogue.chat)
        screen.size_hint = (None, None)
        self.add_widget(screen)
        self.bind(pos=self._place, size=self._place)
        self._place()

    # Life

    def start(self) -> None:
        """Bring the screen to life."""
        self.screen.start()

    def stop(self) -> None:
        """Undo :meth:`start`."""
        self.close_pages()
        self.screen.stop()

    def type(self, text: str) -> None:
        """Type into the line, as a hardware keyboard would."""
        self.screen.keys.hardware_text(text)

    def hold_still(self) -> None:
        """Stop what blinks, for a picture."""
        self.screen.composer.stop_blinking()

    # Pages

    @property
    def page(self) -> Page | None:
        """The page on top, None while one types."""
        return self.pages[-1] if self.pages else None

    def open_menu(self) -> None:
        """Show the menu."""
        self.show(MenuPage(self._theme, self.back, self._menu))

    def open_chats(self) -> None:
        """Show everyone there is to talk to."""
        self.show(ChatsPage(self._theme, self.back, self._chats, self._choose))

    def open_privacy(self) -> None:
        """Show what is kept."""
        incognito = (lambda: self.screen.incognito, self.screen.toggle_incognito)
        self.show(PrivacyCentrePage(self._theme, self.back, self._privacy, self.show, incognito))

    def open_learning(self) -> None:
        """Show what is learned; where nothing can be, show what is kept instead, which says so."""
        learning = self._learning()
        if learning is None:
            self.open_privacy()
        else:
            self.show(LearningStatusPage(self._theme, self.back, learning, self._privacy.toggle_personal))

    def show(self, page: Page) -> None:
        """Lay a page over what is there."""
        page.back = self.back
        if not self.pages:
            # What a page covers is not drawn.
            self.screen.pause()
            self.remove_widget(self.screen)
        self.pages.append(page)
        page.pos, page.size = self.pos, self.size
        page.size_hint = (None, None)
        self.add_widget(page)
        page.start()
        page.refresh()
        self.take_hardware()

    def back(self) -> None:
        """Return to where the page on top was opened."""
        if not self.pages:
            return
        page = self.pages.pop()
        page.stop()
        self.remove_widget(page)
        if self.pages:
            self.pages[-1].refresh()
        else:
            self._release_hardware()
            self.add_widget(self.screen)
            self.screen.resume()

    def close_pages(self) -> None:
        """Return to the keys."""
        while self.pages:
            self.back()

    def _choose(self, chat: Chat) -> None:
        self.close_pages()
        self.screen.open_chat(chat)

    def _menu(self) -> tuple[Row, ...]:
        screen, counts = self.screen, self._privacy.counts()
        wants = screen.session.preferences
        held = f"{counts.offers} suggested searches, {counts.words} learned words, {counts.rounds} rounds"
        return (
            Card(
                (
                    Item("privacy", "Privacy", f"See or erase what is kept: {held}", act=self.open_privacy, leads=True),
                    Item("learning", "Learning", screen.header.status, act=self.open_learning, leads=True),
                    Item("chats", "Chats", screen.dialogue.chat.name, act=self.open_chats, leads=True),
                )
            ),
            Card(
                (
                    Switch(
                        "queries",
                        "Suggest searches",
                        wants.queries,
                        partial(self._flip, "queries"),
                        "Off: words are still suggested.",
                    ),
                    Switch(
                        "correct",
                        "Correct words",
                        wants.correct,
                        partial(self._flip, "correct"),
                        "With the space after a word; backspace takes it back.",
                    ),
                    Switch(
                        "incognito", "Incognito", screen.incognito, screen.toggle_incognito, "Nothing you type is kept."
                    ),
                )
            ),
        )

    def _flip(self, name: str) -> None:
        wants = self.screen.session.preferences
        setattr(wants, name, not getattr(wants, name))
        self.screen.session.apply_preferences()
        self.screen.refresh()

    # Hardware keyboard

    def take_hardware(self) -> None:
        """Let the hardware keyboard act here: on the page on top, or on the keys."""
        if not self.pages:
            self.screen.take_hardware()
        elif self._hardware is None:
            self._hardware = Window.request_keyboard(self._hardware_gone, self, "text")
            self._hardware.bind(on_key_down=self._on_key)

    def _release_hardware(self) -> None:
        if self._hardware is not None:
            self._hardware.release()
            self._hardware_gone()

    def _on_key(self, _keyboard: Any, keycode: tuple[int, str], _text: str | None, modifiers: Any) -> bool:
        return self.page is not None and self.page.key(keycode[1], "shift" in modifiers)

    def _hardware_gone(self) -> None:
        hardware, self._hardware = self._hardware, None
        if hardware is not None:
            # Kivy hands the same object to whoever asks: without this, keys would still act here.
            hardware.unbind(on_key_down=self._on_key)

    # Touch and place

    def on_touch_down(self, touch: Any) -> bool:
        """A page takes every touch; what lies under it is out of reach."""
        if not self.collide_point(*touch.pos):
            return False
        self.take_hardware()
        if self.page is not None:
            return bool(self.page.on_touch_down(touch))
        return bool(super().on_touch_down(touch))

    def _place(self, *_: object) -> None:
        laid: list[Widget] = [self.screen, *self.pages]
        for widget in laid:
            widget.pos, widget.size = self.pos, self.size
