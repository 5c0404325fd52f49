"""The whole screen: header, chat, query, composed line, words and keys, around one typing session."""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

import re
import threading
import time
import webbrowser
from collections.abc import Callable, Sequence
from typing import Any

from kivy.animation import Animation
from kivy.clock import Clock
from kivy.graphics import Color, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.suggestions import FieldKind, Refusal, SearchCard, TypingSession
from keyboard_app.window.card import SearchCard as SearchCardView
from keyboard_app.window.chats import Chat, chat_with
from keyboard_app.window.clipboard import ClipboardHistory, ClipboardRow, KivyClipboard, SystemClipboard
from keyboard_app.window.composer import Composer
from keyboard_app.window.conversation import Conversation
from keyboard_app.window.focus import Box, FocusOrder, Target
from keyboard_app.window.hardware import HardwareKeys
from keyboard_app.window.header import Header
from keyboard_app.window.input import KeyInput, TypingHabits
from keyboard_app.window.keys import KeyboardView
from keyboard_app.window.layouts import Layout
from keyboard_app.window.menu import Item, Menu
from keyboard_app.window.painting import FocusRing
from keyboard_app.window.partner import ScriptedPartner
from keyboard_app.window.search_card import NoResults, Related, ResultProvider, with_query
from keyboard_app.window.strip import QueryPill, WordStrip
from keyboard_app.window.theme import Theme

STATUS_EVERY_S = 0.5
ANSWER_AFTER_S = 1.3
"""The partner's time to answer; a sign of typing stands there meanwhile."""
WIDEST_COLUMN_DP = 760
"""On a desktop the keyboard does not grow wider than hands."""
CARD_RISE_S = 0.16


def open_in_browser(url: str) -> None:
    """Open ``url`` in the person's browser, without making the keyboard wait for it."""
    threading.Thread(target=webbrowser.open, args=(url,), name="open-browser", daemon=True).start()


class KeyboardScreen(Widget):
    """Everything the person sees, and the one place where keys, touches and answers reach the session.

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
        self.chat = chat_with(partner)
        self.on_menu: Callable[[], object] = lambda: None
        self.on_chats: Callable[[], object] = lambda: None
        self.on_status: Callable[[], object] = lambda: None
        self.unread: Callable[[], int] = lambda: 0
        """Lines that wait in other chats."""
        self._open_url = open_url
        self._on_activity = on_activity
        self._open_card: SearchCard | None = None
        self._secret = False
        self._incognito = False
        self._timers: list[Any] = []
        self._answers: list[Any] = []

        with self.canvas:
            Color(*theme.page)
            self._page = Rectangle()
        # Lies over the chat, which is not clipped. Around the keys, not under them: without a graphics card every pixel
        # that is painted twice costs time.
        self._ground = Widget(size_hint=(None, None))
        with self._ground.canvas:
            Color(*theme.page)
            self._lane = Rectangle()
            Color(*theme.tray)
            self._tray, self._tray_left, self._tray_right = Rectangle(), Rectangle(), Rectangle()
        self.keys = KeyInput(
            layouts, self, clock, self._keys_changed, lambda layout: on_language(layout.language), habits
        )
        self.header = Header(
            theme,
            self.chat.name,
            self.toggle_incognito,
            lambda: self.on_menu(),
            lambda: self.on_chats(),
            lambda: self.on_status(),
        )
        self.conversation = Conversation(theme, self.copy, size_hint=(None, None))
        self.pill = QueryPill(theme, self.open_query, self.dismiss_query, self.ask_about_query)
        self.composer = Composer(theme, self.toggle_secret, self._place)
        self.words = WordStrip(theme, self.choose_word, self.ask_about_word)
        self.clips = ClipboardHistory(clipboard or KivyClipboard(), clock)
        self.clipboard = ClipboardRow(theme, self.paste, self.forget_clips)
        self.keyboard = KeyboardView(self.keys, theme)
        self.menu = Menu(theme, self.close_menu)
        self.focus = FocusOrder(self.targets)
        self.hardware = HardwareKeys(self)
        self._ring = FocusRing(self.canvas.after, theme)
        self.results: ResultProvider = NoResults()
        """What the search card knows without asking anybody."""
        self.card = SearchCardView(theme, self.open_browser, self.close_card, self.share_query, self.turn_card)
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
        self.open_chat(self.chat)

    def stop(self) -> None:
        """Undo :meth:`start`."""
        for timer in (*self._timers, *self._answers):
            timer.cancel()
        self._timers, self._answers = [], []
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
        """Turn to a chat: its lines, its partner, what came in meanwhile.

        An unsent line waits in the chat that is left.
        """
        self.close_card()
        if chat is not self.chat and self.session.field_kind is FieldKind.TEXT:
            self.chat.draft = self.session.composed
        self.chat = chat
        if chat.key:
            self.session.open_conversation(chat.key)
        for line in chat.catch_up():
            self.session.receive(line)
        draft, chat.draft = chat.draft, ""
        if draft and self.session.field_kind is FieldKind.TEXT:
            self.session.paste(draft)
        self.conversation.show_lines(chat.lines)
        self.header.show_partner(chat.name, self.unread())
        self.keys.follow_text()
        self.refresh()

    def _arrive(self, chat: Chat, line: str) -> None:
        """A partner's answer is there, whatever chat is open by now."""
        if chat is self.chat:
            self.receive(line)
        else:
            chat.miss(line)
            self.header.show_partner(self.chat.name, self.unread())

    # Typing: the editor that keys act on

    def insert(self, character: str) -> None:
        """Type one character."""
        self.close_card()
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
        self.close_card()
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
        self.close_card()
        if not self.session.composed.strip():
            return
        line = self.session.send()
        self._say("•" * len(line) if self._secret else line)
        self.refresh()

    def _say(self, line: str) -> None:
        """Put an own line into the chat, and let the partner answer it."""
        chat = self.chat
        chat.add(line, own=True)
        self.conversation.add_line(line, own=True)
        if chat.partner is not None and not self._secret:
            self.conversation.show_waiting(True)
            answer = chat.partner.answer(line)
            self._answers = [timer for timer in self._answers if timer.is_triggered]
            self._answers.append(Clock.schedule_once(lambda _dt: self._arrive(chat, answer), ANSWER_AFTER_S))

    def receive(self, line: str) -> None:
        """The partner says something."""
        self.session.receive(line)
        self.chat.add(line, own=False)
        self.conversation.add_line(line, own=False)
        self.refresh()

    # Suggestions

    def choose_word(self, word: str) -> None:
        """Take a word of the strip."""
        self._on_activity()
        self.session.choose_word(word)
        self.keys.follow_text()
        self.refresh()

    def open_query(self) -> None:
        """The first tap on a query: open the card, leave the text alone."""
        self._open_card = self.session.tap_query()
        if self._open_card is None:
            self.refresh()
            return
        self.keyboard.release_all()
        self._fill_card(self._open_card)
        if self.card.parent is None:
            self.add_widget(self.card)
            height = self.words.top - self.y
            self.card.y = self.y - height
            Animation(y=self.y, duration=CARD_RISE_S, t="out_cubic").start(self.card)
        self.refresh()

    def _fill_card(self, card: SearchCard) -> None:
        self.card.show(card.query, card.category, card.search_url, self.results.results(card.query))

    def turn_card(self, related: Related) -> None:
        """Another search on the card: it takes the place of the first; nothing is sent."""
        card = self._open_card
        if card is not None:
            url = with_query(card.search_url, card.query, related.query)
            self._open_card = SearchCard(related.query, related.category, url)
            self._fill_card(self._open_card)

    def share_query(self) -> None:
        """Say the search and its address in the chat; the line being composed is left alone."""
        card = self._open_card
        self.close_card()
        if card is None:
            return
        if not self._incognito:
            self.session.receive(card.query)  # from here on part of what the conversation is about
        self._say(f"{card.query} {card.search_url}")
        self.refresh()

    def open_browser(self) -> None:
        """The second tap: only now does the query leave the keyboard."""
        if self._open_card is not None:
            self._open_url(self._open_card.search_url)
        self.close_card()

    def ask_about_query(self, anchor: Box) -> None:
        """A long press on a query: what should become of it and its kind."""
        query = self.session.strip.query
        if query is None:
            return
        category = self.session.query_category.replace("_", " ").replace(".", " · ")
        self._open_menu(
            query,
            (
                Item("Not this", lambda: self.refuse_query(Refusal.QUERY)),
                Item(f"Nothing about {category}", lambda: self.refuse_query(Refusal.CATEGORY)),
                Item("No searches in this chat", lambda: self.refuse_query(Refusal.CONVERSATION)),
                Item("No searches at all", lambda: self.allow_queries(False)),
            ),
            anchor,
        )

    def refuse_query(self, refusal: Refusal) -> None:
        """Send the query away for good, or its category, or all queries in this chat."""
        self.session.refuse_query(refusal)
        self.composer.tell("Understood. The menu takes it back.")
        self.refresh()

    def allow_queries(self, allowed: bool) -> None:
        """Offer queries, or words alone."""
        if not allowed:
            self.session.dismiss_query()
        self.session.preferences.queries = allowed
        self.session.apply_preferences()
        self.refresh()

    def ask_about_word(self, word: str, anchor: Box) -> None:
        """A long press on a word of the strip."""
        self._open_menu(f"“{word}”", (Item("Never suggest this", lambda: self.dislike_word(word)),), anchor)

    def dislike_word(self, word: str) -> None:
        """Never offer a word again, and forget it."""
        self.session.dislike_word(word)
        self.refresh()

    def _open_menu(self, title: str, items: Sequence[Item], anchor: Box) -> None:
        self.keyboard.release_all()
        self.menu.pos, self.menu.size = self.pos, self.size
        self.menu.show(title, items, anchor)
        if self.menu.parent is None:
            self.add_widget(self.menu)
        self.show_focus()

    def close_menu(self) -> None:
        """Put the menu away."""
        if self.menu.parent is not None:
            self.remove_widget(self.menu)
            self.show_focus()

    def close_card(self) -> None:
        """Put the card away; the composed text is what it was."""
        self._open_card = None
        if self.card.parent is not None:
            Animation.cancel_all(self.card)
            self.remove_widget(self.card)

    @property
    def card_is_open(self) -> bool:
        """True while the search card lies over the keys."""
        return self.card.parent is not None

    @property
    def has_something_open(self) -> bool:
        """True while a card or a menu lies over the keys."""
        return self.card_is_open or self.menu.parent is not None

    def put_away(self) -> bool:
        """Put away the card or menu that is open; False when there was none."""
        was_open = self.has_something_open
        self.close_menu()
        self.close_card()
        return was_open

    def dismiss_query(self) -> None:
        """Send the query away."""
        self.session.dismiss_query()
        self.refresh()

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
        width = min(self.width, dp(WIDEST_COLUMN_DP))
        x = round(self.x + (self.width - width) / 2)
        keys = round(min(max(self.height * 0.335, dp(184)), dp(272)))
        words, composer = max(dp(46), sp(36)), self.composer.wanted_height
        header, lane = max(dp(86), sp(70)), max(dp(46), sp(36))
        y = self.y
        self.clipboard.pos, self.clipboard.size = (x, y + keys), (width, words)
        for widget, height in ((self.keyboard, keys), (self.words, words), (self.composer, composer)):
            widget.pos, widget.size = (x, y), (width, height)
            y += height
        self._page.pos, self._page.size = (self.x, y + lane), (self.width, self.top - y - lane - header)
        self._ground.pos, self._ground.size = self.pos, (self.width, y + lane - self.y)
        self._lane.pos, self._lane.size = (self.x, y), (self.width, lane)
        self._tray.pos, self._tray.size = (self.x, self.y + keys), (self.width, y - self.y - keys)
        self._tray_left.pos, self._tray_left.size = self.pos, (x - self.x, keys)
        self._tray_right.pos, self._tray_right.size = (x + width, self.y), (self.right - x - width, keys)
        self.pill.pos, self.pill.size = (x + dp(12), y + dp(3)), (width - dp(24), lane)
        self.header.bleed = x - self.x
        self.header.pos, self.header.size = (x, self.top - header), (width, header)
        self.conversation.pos = (x, y + lane)
        self.conversation.size = (width, max(self.top - header - y - lane, 0))
        self.card.size = (width, keys + words)
        self.menu.pos, self.menu.size = self.pos, self.size
        self.card.x = x
        self.card.y = self.y

    # Without touching

    def targets(self) -> list[Target]:
        """Everything that can be acted upon now, from top to bottom; of a menu or card only what it holds."""
        if self.menu.parent is not None:
            return self.menu.targets()
        below = [] if self.card_is_open else [*self._strip_targets(), *self.keyboard.targets()]
        card = self.card.targets() if self.card_is_open else []
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
