"""Which touch fires which key, and when: rollover for fast typing.

A key that types fires when its finger lifts, so that a finger may slide to the neighbour it meant; but as soon as
another finger comes down, every key still held is settled first, in the order of touching. So a fast typist, whose
fingers overlap, loses no key and swaps none. Shift, layer keys and backspace act on touching.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from keyboard_app.window.layouts import Action, Key

_ON_TOUCH = frozenset({Action.SHIFT, Action.BACKSPACE, Action.LAYER})
"""Keys that act when touched; all others act when released or rolled over."""


@dataclass(slots=True)
class _Press:
    key: Key
    fired: bool


class Presses:
    """The touches on one keyboard.

    Args:
        fire: called with each key that takes effect, in the order of typing.
        released: called with the key of a touch that ends, whether or not it fired; shift needs to know.
    """

    def __init__(self, fire: Callable[[Key], None], released: Callable[[Key], None] | None = None) -> None:
        self._fire = fire
        self._released = released
        self._held: dict[Hashable, _Press] = {}

    @property
    def held(self) -> tuple[Key, ...]:
        """Keys under a finger, oldest touch first."""
        return tuple(press.key for press in self._held.values())

    def down(self, touch: Hashable, key: Key) -> None:
        """A finger came down on ``key``."""
        self._settle()
        at_once = key.action in _ON_TOUCH
        self._held[touch] = _Press(key, fired=at_once)
        if at_once:
            self._fire(key)

    def move(self, touch: Hashable, key: Key | None) -> None:
        """The finger slid to ``key``, or off the keyboard (None): then nothing fires when it lifts."""
        press = self._held.get(touch)
        if press is None or press.fired or key is press.key:
            return
        if key is None:
            del self._held[touch]
        elif key.action not in _ON_TOUCH:
            press.key = key

    def replace(self, touch: Hashable, key: Key) -> None:
        """A long press chose another key for the finger; it fires like the one it came down on."""
        press = self._held.get(touch)
        if press is not None and not press.fired:
            press.key = key

    def hold(self, touch: Hashable) -> None:
        """The finger does something else now (it drags the cursor): its key will not fire."""
        press = self._held.get(touch)
        if press is not None:
            press.fired = True

    def forget(self, touch: Hashable) -> None:
        """Drop a finger without firing."""
        self._held.pop(touch, None)

    def up(self, touch: Hashable) -> None:
        """The finger lifted."""
        press = self._held.pop(touch, None)
        if press is None:
            return
        if not press.fired:
            self._fire(press.key)
        if self._released is not None:
            self._released(press.key)

    def cancel(self) -> None:
        """Forget all touches without firing: the window lost them."""
        self._held.clear()

    def _settle(self) -> None:
        for press in self._held.values():
            if not press.fired:
                press.fired = True
                self._fire(press.key)
