"""The whole screen: header, chat, query, composed line, words and keys, around one typing session."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from kivy.clock import Clock
from kivy.graphics import Color, Rectangle
from kivy.uix.widget import Widget

from keyboard_app.suggestions import FieldKind, TypingSession
from keyboard_app.window.areas import Ground, areas_of, put
from keyboard_app.window.chats import Chat, chat_with
from keyboard_app.window.clipboard import ClipboardHistory, ClipboardRow, KivyClipboard, SystemClipboard
from keyboard_app.window.composer import Composer
from keyboard_app.window.conversation import Conversation
from keyboard_app.window.dialogue import Dialogue
from keyboard_app.window.focus import FocusOrder, Target
from keyboard_app.window.hardware import HardwareKeys
from keyboard_app.window.header import Header
from keyboard_app.window.input import KeyInput, TypingHabits
from keyboard_app.window.keys import KeyboardView
from keyboard_app.window.layouts import Layout
from keyboard_app.window.painting import FocusRing
from keyboard_app.window.partner import ScriptedPartner
from keyboard_app.window.refusals import Refusals
from keyboard_app.window.strip import QueryPill, WordStrip
from keyboard_app.window.tapped_query import TappedQuery, open_in_browser
from keyboard_app.window.theme import Theme

STATUS_EVERY_S = 0.5


class KeyboardScreen(Widget):
    """Everything the person sees while typing, and what keys do to the session.

    What is said in the chat, what a tapped query leads to and what a long press offers is decided in :attr:`dialogue`,
    :attr:`search` and :attr:`refusals`.

    Args:
        session: the typing session; used from the window's thread only.
        status_line: what the device is doing, in one line; asked twice a second.
        layouts: the keyboards the language key walks through, the first is shown.
        theme: colours.
        partner: who answers; None for a chat without answers.
        open_url: takes the address of a search after the second tap.
        on_activity: called with every key press and tap: the device is in use.
        clock: monotonic seconds.
        on_language: called with the language of a layout that was chosen.
        clipboard: the system's clipboard; Kivy's when None.
        habits: what the keys do by themselves.
    """

    drawn_by_children = True

    def __init__(
        self,
        session: TypingSession,
        status_line: Callable[[], str],
        layouts: Sequence[Layout],
        theme: Theme,
        partner: ScriptedPartner | None = None,
        open_url: Callable[[str], object] = open_in_browser,
        on_activity: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        on_language: Callable[[str], None] = lambda _language: None,
        clipboard: SystemClipboard | None = None,
        habits: TypingHabits | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session = session
        self._status_line = status_line
        self.on_menu: Callable[[], object] = lambda: None
        self.on_chats: Callable[[], object] = lambda: None
        self.on_status: Callable[[], object] = lambda: None
        self._on_activity = on_activity
        self._secret = False
        self._incognito = False
        self._timers: list[Any] = []

        with self.canvas:
            Color(*theme.page)
            self._page = Rectangle()
        self._ground = Ground(theme)
        self.keys = KeyInput(
            layouts, self, clock, self._keys_changed, lambda layout: on_language(layout.language), habits
        )
        chat = chat_with(partner)
        self.header = Header(
            theme,
            chat.name,
            self.toggle_incognito,
            lambda: self.on_menu(),
            lambda: self.on_chats(),
            lambda: self.on_status(),
        )
        self.conversation = Conversation(theme, self.copy, size_hint=(None, None))
        self.dialogue = Dialogue(chat, session, self.conversation, self.header, self.refresh)
        self.search = TappedQuery(self, theme, open_url)
        self.refusals = Refusals(self, theme)
        self.pill = QueryPill(theme, self.search.open, self.dismiss_query, self.refusals.ask_about_query)
        self.composer = Composer(theme, self.toggle_secret, self._place)
        self.words = WordStrip(theme, self.choose_word, self.refusals.ask_about_word)
        self.clips = ClipboardHistory(clipboard or KivyClipboard(), clock)
        self.clipboard = ClipboardRow(theme, self.paste, self.forget_clips)
        self.keyboard = KeyboardView(self.keys, theme)
        self.focus = FocusOrder(self.targets)
        self.hardware = HardwareKeys(self)
        self._ring = FocusRing(self.canvas.after, theme)
        # The keyboard comes last so that key previews lie over the strip.
        for widget in (
            self.conversation,
            self._ground,
            self.header,
            self.pill,
            self.composer,
            self.words,
            self.keyboard,
        ):
            self.add_widget(widget)
        self.bind(pos=self._place, size=self._place)
        self._place()
        self.refresh()
        self.refresh_status()

    # Life

    def start(self) -> None:
        """Begin to follow the device's status, to blink, to take hardware keys, and let the partner say hello."""
        self._timers = [Clock.schedule_interval(lambda _dt: self.refresh_status(), STATUS_EVERY_S)]
        self.composer.start_blinking()
        self.take_hardware()
        self.open_chat(self.dialogue.chat)

    def stop(self) -> None:
        """Undo :meth:`start`."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self.dialogue.stop()
        self.pause()

    def pause(self) -> None:
        """A page lies over the screen: keys are let go, the hardware keyboard too."""
        self.composer.stop_blinking()
        self.keyboard.release_all()
        self.hardware.release()

    def resume(self) -> None:
        """The page is gone."""
        self.composer.start_blinking()
        self.take_hardware()
        self.keys.follow_text()
        self.refresh()
        self.refresh_status()

    def take_hardware(self) -> None:
        """Let the hardware keyboard type here."""
        self.hardware.take()

    # Chats

    def open_chat(self, chat: Chat) -> None:
        """Turn to a chat; an unsent line waits in the one that is left."""
        self.search.close()
        self.dialogue.open(chat)
        self.keys.follow_text()
        self.refresh()

    def say(self, line: str) -> None:
        """Put an own line into the chat; nobody answers what was typed as a password."""
        self.dialogue.say(line, answered=not self._secret)

    # Typing: the editor that keys act on

    def insert(self, character: str) -> None:
        """Type one character."""
        self.search.close()
        self.hide_clipboard()
        self._on_activity()
        self.session.type(character)
        self.refresh()

    def end_sentence(self) -> None:
        """Put a full stop in place of the space before the cursor, and a space."""
        self.session.end_sentence()
        self.refresh()

    def before_cursor(self) -> str | None:
        """The text up to the cursor; None in a password."""
        return None if self._secret else self.session.composed[: self.session.cursor]

    def show_clipboard(self) -> None:
        """Show what was copied lately in place of the words, or the words again."""
        if self.clipboard.parent is not None:
            self.hide_clipboard()
            return
        self.clipboard.show(self.clips.clips())
        # Before the keyboard in the order of drawing: key previews lie over it.
        self.add_widget(self.clipboard, self.children.index(self.keyboard) + 1)

    def hide_clipboard(self) -> None:
        """Show the words again."""
        if self.clipboard.parent is not None:
            self.remove_widget(self.clipboard)

    def paste(self, text: str) -> None:
        """Put a clip into the line."""
        self.hide_clipboard()
        self._on_activity()
        self.session.paste(text)
        self.keys.follow_text()
        self.refresh()

    def copy(self, text: str) -> None:
        """Copy a line of the chat, or the line being typed."""
        if text and not self._secret:
            self.clips.copy(text)
            self.composer.tell("Copied")

    def forget_clips(self) -> None:
        """Forget what was copied."""
        self.clips.clear()
        self.clipboard.show(())

    def forget(self) -> None:
        """Forget what is kept in memory alone: what was copied, and which emoji were typed."""
        self.forget_clips()
        self.keys.forget_emoji()

    def delete(self) -> None:
        """Delete one character backwards."""
        self.search.close()
        self._on_activity()
        self.session.backspace()
        self.refresh()

    def move(self, by: int) -> None:
        """Move the cursor by characters, negative for left."""
        self._on_activity()
        self.session.move_cursor(self.session.cursor + by)
        self.refresh()

    def send(self) -> None:
        """Send the line, if it holds anything, and let the partner answer."""
        self.search.close()
        if not self.session.composed.strip():
            return
        line = self.session.send()
        self.say("•" * len(line) if self._secret else line)
        self.refresh()

    # Suggestions

    def choose_word(self, word: str) -> None:
        """Take a word of the strip."""
        self._on_activity()
        self.session.choose_word(word)
        self.keys.follow_text()
        self.refresh()

    def dismiss_query(self) -> None:
        """Send the query away."""
        self.session.dismiss_query()
        self.refresh()

    @property
    def has_something_open(self) -> bool:
        """True while a card or a menu lies over the keys."""
        return self.search.is_open or self.refusals.is_open

    def put_away(self) -> bool:
        """Put away the card or menu that is open; False when there was none."""
        was_open = self.has_something_open
        self.refusals.close()
        self.search.close()
        return was_open

    # Field kinds

    @property
    def incognito(self) -> bool:
        """Whether nothing that is typed is kept."""
        return self._incognito

    def toggle_incognito(self) -> None:
        """Keep nothing of what is typed, or keep again."""
        self._incognito = not self._incognito
        self._apply_field_kind()

    def toggle_secret(self) -> None:
        """Make the line a password field, or an ordinary one again."""
        self._secret = not self._secret
        self._apply_field_kind()

    def _apply_field_kind(self) -> None:
        if self._secret:
            kind = FieldKind.PASSWORD
        elif self._incognito:
            kind = FieldKind.NO_LEARNING
        else:
            kind = FieldKind.TEXT
        self.session.set_field_kind(kind)
        self.hide_clipboard()
        self.keys.follow_text()
        self.refresh()
        self.refresh_status()

    # Showing

    def refresh(self) -> None:
        """Show the session as it is now."""
        strip = self.session.strip
        if self._secret:
            hint, note = "Password", "No suggestions in a password, nothing is kept"
        else:
            hint, note = "Incognito message" if self._incognito else "Message", ""
        # A word that nothing completes stands there itself: the strip is never blank.
        typed = self._word_being_typed()
        quoted = typed[0] if typed and strip.correction is not None else ""
        self.words.show((strip.words or typed) if not self._secret else (), note, quoted)
        self.pill.show(strip.query)
        self.composer.show(self.session.composed, self.session.cursor, hint, self._secret)
        self.show_focus()

    def refresh_status(self) -> None:
        """Ask the device what it is doing and show it, with anything that does not work at the moment."""
        troubles = sorted(trouble.value for trouble in self.session.troubles)
        self.header.show(" · ".join([*troubles, self._status_line()]), self._incognito)
        if self.session.catch_up():  # a language's words are read beside typing
            self.refresh()

    def _word_being_typed(self) -> tuple[str, ...]:
        found = re.search(r"[^\W_][\w'’-]*$", self.session.composed[: self.session.cursor])
        return (found[0],) if found else ()

    def _keys_changed(self) -> None:
        self.keyboard.refresh()

    def _place(self, *_: object) -> None:
        if self.width < 2 or self.height < 2:
            return
        areas = areas_of((self.x, self.y, self.width, self.height), self.composer.wanted_height)
        self._ground.place(areas)
        put(self._page, (self.x, areas.conversation[1], self.width, areas.conversation[3]))
        self.header.bleed = areas.header[0] - self.x
        for widget, box in (
            (self.header, areas.header),
            (self.conversation, areas.conversation),
            (self.pill, areas.pill),
            (self.composer, areas.composer),
            (self.words, areas.words),
            (self.clipboard, areas.words),
            (self.keyboard, areas.keyboard),
            (self.search.view, areas.card),
            (self.refusals.menu, areas.whole),
        ):
            put(widget, box)

    # Without touching

    def targets(self) -> list[Target]:
        """Everything that can be acted upon now, from top to bottom; of a menu or card only what it holds."""
        if self.refusals.is_open:
            return self.refusals.menu.targets()
        below = [] if self.search.is_open else [*self._strip_targets(), *self.keyboard.targets()]
        card = self.search.view.targets() if self.search.is_open else []
        return [*self.header.targets(), *self.pill.targets(), *self.composer.targets(), *card, *below]

    def _strip_targets(self) -> list[Target]:
        return self.clipboard.targets() if self.clipboard.parent is not None else self.words.targets()

    def end_focus(self) -> None:
        """Nothing has the focus any more."""
        self.focus.clear()
        self.show_focus()

    def show_focus(self) -> None:
        """Draw the ring where the focus is."""
        at = self.focus.focused
        self._ring.show(None if at is None else at.box)

    def on_touch_down(self, touch: Any) -> bool:
        """A finger ends the walk by keyboard."""
        if self.focus.focused is not None:
            self.end_focus()
        return bool(super().on_touch_down(touch))
