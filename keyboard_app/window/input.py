"""From keys to the typing session: shift, layers, layouts; one path for the screen's keys and a hardware keyboard."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyboard_app.window.layouts import Action, Key, Layout, Rows, upper

DOUBLE_TAP_S = 0.35
"""Two touches of shift within this time lock capitals."""
DOUBLE_SPACE_S = 0.7
"""Two spaces within this time are the end of a sentence."""
SENTENCE_ENDS = ".!?…"
RECENT_LAYER = "emoji_recent"
"""On this layer the emoji typed last stand first, before those that the layout names."""
_CLOSERS = "\"'”’»)]}"


class Shift(enum.Enum):
    """State of the shift key."""

    OFF = "off"
    ONCE = "once"
    """The next letter is a capital."""
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class TypingHabits:
    """What the keys do by themselves; each can be switched off."""

    capitals: bool = True
    """A sentence begins with a capital."""
    double_space_period: bool = True
    """Two quick spaces type a full stop."""


class Editor(Protocol):
    """What keys do to the text; the screen implements it on the typing session."""

    def insert(self, character: str) -> None:
        """Type one character."""

    def end_sentence(self) -> None:
        """Put a full stop in place of the space before the cursor, and a space."""

    def delete(self) -> None:
        """Delete one character backwards."""

    def move(self, by: int) -> None:
        """Move the cursor by characters, negative for left."""

    def send(self) -> None:
        """Send the line."""

    def show_clipboard(self) -> None:
        """Show what was copied lately, or put it away."""

    def before_cursor(self) -> str | None:
        """The text up to the cursor; None where nothing may be guessed from it (a password)."""


class KeyInput:
    """Keeps shift, layer and layout, and turns fired keys into edits.

    Args:
        layouts: the keyboards the language key walks through; the first is shown.
        editor: takes the edits.
        clock: monotonic seconds, for double taps.
        on_shown: called after shift, layer or layout changed, so that the keys can be drawn anew.
        on_layout: called after another layout was chosen.
        habits: what the keys do by themselves.
    """

    def __init__(
        self,
        layouts: Sequence[Layout],
        editor: Editor,
        clock: Callable[[], float],
        on_shown: Callable[[], None] = lambda: None,
        on_layout: Callable[[Layout], None] = lambda _layout: None,
        habits: TypingHabits | None = None,
    ) -> None:
        self.layouts = tuple(layouts)
        self.layout = self.layouts[0]
        self.layer = self.layout.first_layer
        self.shift = Shift.OFF
        self.habits = TypingHabits() if habits is None else habits
        self._editor = editor
        self._clock = clock
        self._on_shown = on_shown
        self._on_layout = on_layout
        self._shift_touched = float("-inf")
        self._shift_held = False
        self._typed_under_shift = False
        self._shift_by_itself = False
        self._space_fired = float("-inf")
        self._emoji: list[str] = []
        """Typed lately, the last one first. Kept nowhere else: they end with the window."""
        self._first_emoji: tuple[str, ...] = ()

    @property
    def rows(self) -> Rows:
        """The keys shown now."""
        rows = self.layout.layers[self.layer]
        return with_first(rows, self._first_emoji) if self.layer == RECENT_LAYER else rows

    @property
    def page(self) -> tuple[str, ...]:
        """What tells the keys shown now from all others, but for their labels."""
        page = (self.layout.name, self.layer)
        return (*page, *self._first_emoji) if self.layer == RECENT_LAYER else page

    def forget_emoji(self) -> None:
        """Forget which emoji were typed."""
        self._emoji.clear()
        self._first_emoji = ()
        self._on_shown()

    def label(self, key: Key) -> str:
        """What is drawn on ``key`` now."""
        if key.action is Action.TYPE and key.label == key.text:
            return self._typed(key)
        if key.action is Action.SHIFT:
            return {Shift.OFF: "⇧", Shift.ONCE: "⬆", Shift.LOCKED: "⇪"}[self.shift]
        if key.action is Action.SPACE:
            return key.label or self.layout.name
        if key.action is Action.LANGUAGE:
            return key.label or self.layout.code
        return key.label

    def alternates(self, key: Key) -> tuple[Key, ...]:
        """What a long press on ``key`` offers now, as keys to fire."""
        if key.action is Action.LANGUAGE:
            return tuple(
                Key(Action.LANGUAGE, label=layout.code, target=layout.name)
                for layout in self.layouts
                if layout is not self.layout
            )
        typed = [other if self.shift is Shift.OFF else upper(other) for other in key.alternates]
        return tuple(Key(Action.TYPE, other, other, other) for other in typed)

    def fire(self, key: Key) -> None:
        """A key of the screen takes effect."""
        if key.action is not Action.SPACE:
            self._space_fired = float("-inf")
        match key.action:
            case Action.TYPE:
                self._editor.insert(self._typed(key))
                self._typed_under_shift = True
                if self.layer.startswith("emoji") and self._editor.before_cursor() is not None:
                    self._emoji = [key.text, *(other for other in self._emoji if other != key.text)]
                if self.shift is Shift.ONCE and not self._shift_held:
                    self._show(shift=Shift.OFF)
            case Action.SPACE:
                self._space()
            case Action.BACKSPACE:
                self._editor.delete()
            case Action.SEND:
                self._editor.send()
                self._show(layer=self.layout.first_layer, shift=Shift.OFF)
            case Action.LAYER:
                self._show(layer=key.target, shift=Shift.OFF)
            case Action.SHIFT:
                self._touch_shift()
                return
            case Action.LANGUAGE:
                self._next_layout(key.target)
            case Action.CLIPBOARD:
                self._editor.show_clipboard()
        self.follow_text()

    def released(self, key: Key) -> None:
        """A finger left ``key``: shift that was held while letters were typed goes off."""
        if key.action is Action.SHIFT:
            self._shift_held = False
            if self._typed_under_shift and self.shift is Shift.ONCE:
                self._show(shift=Shift.OFF)

    def follow_text(self) -> None:
        """Shift on where a sentence begins, off again where the cursor has left that place. Call after any edit."""
        if not self.habits.capitals or self._shift_held or self.layer != self.layout.first_layer:
            return
        before = self._editor.before_cursor()
        begins = before is not None and begins_sentence(before)
        if begins and self.shift is Shift.OFF:
            self._shift_by_itself = True
            self._show(shift=Shift.ONCE)
        elif not begins and self.shift is Shift.ONCE and self._shift_by_itself:
            self._show(shift=Shift.OFF)

    def hardware_text(self, text: str) -> None:
        """Text from a hardware keyboard, an input method or a test; control characters are dropped."""
        for character in text:
            if character.isprintable():
                self._editor.insert(character)
        self.follow_text()

    def hardware_key(self, name: str) -> bool:
        """A hardware key by its Kivy name; True when it did something."""
        if name == "backspace":
            self._editor.delete()
        elif name in ("enter", "numpadenter"):
            self._editor.send()
        elif name in ("left", "right"):
            self._editor.move(-1 if name == "left" else 1)
        else:
            return False
        self.follow_text()
        return True

    def move_cursor(self, by: int) -> None:
        """The space bar was dragged by so many characters."""
        self._editor.move(by)
        self.follow_text()

    def choose_layout(self, name: str) -> None:
        """Turn to the layout of this name, if it is one of those in use."""
        for layout in self.layouts:
            if layout.name == name and layout is not self.layout:
                self.layout = layout
                self.layer = layout.first_layer
                self._on_shown()
                self._on_layout(layout)

    def _next_layout(self, name: str) -> None:
        after = self.layouts[(self.layouts.index(self.layout) + 1) % len(self.layouts)]
        self.choose_layout(name or after.name)

    def _space(self) -> None:
        now = self._clock()
        before = self._editor.before_cursor()
        if (
            self.habits.double_space_period
            and now - self._space_fired <= DOUBLE_SPACE_S
            and before is not None
            and ends_word(before)
        ):
            self._editor.end_sentence()
            self._space_fired = float("-inf")
        else:
            self._editor.insert(" ")
            self._space_fired = now
        if self.layer != self.layout.first_layer:
            self._show(layer=self.layout.first_layer)

    def _typed(self, key: Key) -> str:
        return key.text if self.shift is Shift.OFF else key.shifted

    def _touch_shift(self) -> None:
        now = self._clock()
        double = now - self._shift_touched <= DOUBLE_TAP_S
        self._shift_touched = now
        self._shift_held = True
        self._typed_under_shift = False
        self._shift_by_itself = False
        if self.shift is Shift.LOCKED:
            self._show(shift=Shift.OFF)
        elif double:
            self._show(shift=Shift.LOCKED)
        else:
            self._show(shift=Shift.OFF if self.shift is Shift.ONCE else Shift.ONCE)

    def _show(self, layer: str | None = None, shift: Shift | None = None) -> None:
        layer = self.layer if layer is None else layer
        shift = self.shift if shift is None else shift
        if (layer, shift) != (self.layer, self.shift):
            if layer != self.layer:
                self._first_emoji = tuple(self._emoji)  # while they are shown, none moves under a finger
            self.layer, self.shift = layer, shift
            self._on_shown()


def with_first(rows: Rows, first: Sequence[str]) -> Rows:
    """The same keys in the same places, but those that type begin with ``first``; the last ones make room."""
    own = [key for row in rows for key in row if key.action is Action.TYPE]
    keys = [Key(Action.TYPE, text, text, text) for text in first]
    keys += [key for key in own if key.text not in first]
    following = iter(keys[: len(own)])
    return tuple(tuple(next(following) if key.action is Action.TYPE else key for key in row) for row in rows)


def begins_sentence(before: str) -> bool:
    """Whether what follows ``before`` begins a sentence."""
    text = before.rstrip()
    if not text:
        return True
    if text[-1] in "¿¡":
        return len(text) == len(before)
    return len(text) < len(before) and text.rstrip(_CLOSERS)[-1:] in set(SENTENCE_ENDS)


def ends_word(before: str) -> bool:
    """Whether ``before`` is a word, or what closes one, and exactly one space."""
    word = before[:-1]
    return before.endswith(" ") and (word[-1:].isalnum() or word[-1:] in tuple(_CLOSERS)) and bool(word)
