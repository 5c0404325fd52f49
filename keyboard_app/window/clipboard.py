"""What was copied lately: a short history that forgets by itself, and the row that shows it in place of the words.

The system's clipboard is read only when the person opens the row or pastes; the history lives in memory, for
:data:`KEPT_S`, and takes nothing from password fields.
"""

# mypy: disallow_any_unimported=False, disallow_subclassing_any=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from kivy.graphics import Color, InstructionGroup, Rectangle
from kivy.metrics import dp, sp
from kivy.uix.widget import Widget

from keyboard_app.window.focus import Target
from keyboard_app.window.painting import Box, RoundedBox, Text, inside
from keyboard_app.window.theme import Theme

KEPT_S = 600.0
MOST_CLIPS = 3
LONGEST = 2_000
"""Characters of a clip; the rest is cut off."""
NOTHING = "Nothing was copied in the last ten minutes"


class SystemClipboard(Protocol):
    """The clipboard of the system."""

    def paste(self) -> str:
        """What it holds, "" for nothing."""

    def copy(self, data: str) -> object:
        """Put something into it."""


class KivyClipboard:
    """The system's clipboard by way of Kivy, which looks for it when it is first wanted."""

    def paste(self) -> str:
        """What it holds."""
        from kivy.core.clipboard import Clipboard

        return str(Clipboard.paste())

    def copy(self, data: str) -> None:
        """Put something into it."""
        from kivy.core.clipboard import Clipboard

        Clipboard.copy(data)


class ClipboardHistory:
    """Clips of the last :data:`KEPT_S` seconds, newest first.

    Args:
        system: the system's clipboard.
        clock: monotonic seconds.
    """

    def __init__(self, system: SystemClipboard, clock: Callable[[], float]) -> None:
        self._system = system
        self._clock = clock
        self._clips: list[tuple[str, float]] = []
        self._refused = ""

    def clips(self) -> tuple[str, ...]:
        """Look at the system's clipboard and return what is there, and what was there before."""
        found = self._read()
        if found and found != self._refused and found not in [text for text, _ in self._clips]:
            self._note(found)
        oldest = self._clock() - KEPT_S
        self._clips = [(text, at) for text, at in self._clips if at > oldest]
        return tuple(text for text, _ in self._clips)

    def copy(self, text: str) -> None:
        """Copy ``text`` to the system's clipboard, and remember it."""
        self._system.copy(text)
        self._note(text)

    def clear(self) -> None:
        """Forget the history; what the system still holds is not offered again."""
        self._refused = self._read()
        self._clips.clear()

    def _read(self) -> str:
        try:
            found = self._system.paste()
        except Exception:  # no clipboard, or one that holds no text: the row is empty
            return ""
        return found[:LONGEST] if isinstance(found, str) and found.strip() else ""

    def _note(self, text: str) -> None:
        others = [clip for clip in self._clips if clip[0] != text]
        self._clips = [(text, self._clock()), *others][:MOST_CLIPS]
        self._refused = ""


class ClipboardRow(Widget):
    """Up to :data:`MOST_CLIPS` clips to tap, and a cross that forgets them."""

    def __init__(self, theme: Theme, choose: Callable[[str], None], clear: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._theme = theme
        self._choose = choose
        self._clear = clear
        self.clips: tuple[str, ...] = ()
        self._boxes: list[Box] = []
        self._cross: Box = (0, 0, 0, 0)
        with self.canvas:
            Color(*theme.tray)
            self._tray = Rectangle()
        group = InstructionGroup()
        self._chips = [RoundedBox(group, theme.key, dp(16)) for _ in range(MOST_CLIPS)]
        self._texts = [Text(group, theme.key_ink, sp(15)) for _ in range(MOST_CLIPS)]
        self._sign = Text(group, theme.ink_soft, sp(17))
        self._note = Text(group, theme.ink_soft, sp(14))
        self.canvas.add(group)
        self.bind(pos=self._draw, size=self._draw)

    def show(self, clips: tuple[str, ...]) -> None:
        """Show clips, newest first."""
        self.clips = clips
        self._draw()

    def box(self, number: int) -> Box:
        """Rectangle of a clip, in window pixels."""
        return self._boxes[number]

    @property
    def cross_box(self) -> Box:
        """Where a touch forgets the clips, in window pixels."""
        return self._cross

    def targets(self) -> list[Target]:
        """What can be focused here."""
        found = [
            Target(f"clip {number + 1}", box, partial(self._choose, clip))
            for number, (box, clip) in enumerate(zip(self._boxes, self.clips, strict=False))
        ]
        return [*found, Target("forget clips", self._cross, self._clear)] if found else []

    def _draw(self, *_: object) -> None:
        self._tray.pos, self._tray.size = self.pos, self.size
        tail = dp(44)
        each = (self.width - tail - dp(8)) / max(len(self.clips), 1)
        self._boxes = [
            (self.x + dp(8) + number * each, self.y + dp(5), each - dp(6), self.height - dp(10))
            for number in range(len(self.clips))
        ]
        for number, (chip, text) in enumerate(zip(self._chips, self._texts, strict=True)):
            if number >= len(self.clips):
                chip.place(0, 0, 0, 0)
                text.show("")
                continue
            x, y, width, height = self._boxes[number]
            chip.place(x, y, width, height)
            text.show(" ".join(self.clips[number].split())[:80], room=width - dp(20))
            text.centre(x + width / 2, y + height / 2)
        self._cross = (self.right - tail, self.y, tail, self.height)
        self._sign.show("✕" if self.clips else "")
        self._sign.centre(self.right - tail / 2, self.y + self.height / 2)
        self._note.show("" if self.clips else NOTHING, room=self.width - dp(24))
        self._note.centre(self.x + self.width / 2, self.y + self.height / 2)

    def on_touch_down(self, touch: Any) -> bool:
        """Take every touch on the row."""
        if not self.collide_point(*touch.pos):
            return False
        touch.grab(self)
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """Choose the clip, or forget them all."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        if self.clips and inside(self._cross, *touch.pos):
            self._clear()
        for box, clip in zip(self._boxes, self.clips, strict=False):
            if inside(box, *touch.pos):
                self._choose(clip)
                break
        return True
