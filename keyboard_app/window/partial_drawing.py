"""Drawing only what changed, where the processor draws.

Kivy draws the whole window for every key press. A graphics card does not mind; without one that is most of the time
between a touch and its frame. Mesa's software renderer leaves in its buffer what was shown last, so it is enough to
draw again the rectangles in which something changed. The whole tree of widgets is drawn there, in its order, and cut
off outside: what is on the screen is the same as if all of it had been drawn.

Which rectangles changed follows from Kivy's own marks on canvases: a widget that is marked, that moved, came or went
has changed in its box, where it was and where it is. Where nothing did, and a frame is wanted all the same, the whole
window is drawn.
"""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any, Protocol, runtime_checkable

from kivy.graphics import Canvas, InstructionGroup, ScissorPop, ScissorPush
from kivy.graphics import opengl as gl
from kivy.graphics.instructions import VertexInstruction

from keyboard_app.window.painting import Box

PASS_COSTS_PX = 25_000
"""Going once more through the tree takes as long as painting so many pixels: rectangles nearer than that become one."""
_RENDERERS = ("llvmpipe", "softpipe", "swrast")
_MARGIN = 2
"""Smooth lines reach a little over the box they are drawn in."""
_PROBES = ((1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0))
_SCISSOR_TEST, _COLOUR_BUFFER, _RENDERER = 0x0C11, 0x4000, 0x1F01
_RGBA, _UNSIGNED_BYTE = 0x1908, 0x1401


@runtime_checkable
class Container(Protocol):
    """A widget whose children lie in window coordinates and can change one by one."""

    drawn_by_children: bool


@runtime_checkable
class Particular(Protocol):
    """A widget that knows better than its box where it changed."""

    def take_changes(self) -> set[Box]:
        """Rectangles that changed since this was asked last, in window pixels."""


def keeps_what_was_shown(window: Any) -> bool:
    """Whether the next frame begins with the pixels of the last: asked of the driver, then tried out."""
    name = gl.glGetString(_RENDERER)
    if not any(renderer in (name or b"").decode(errors="replace").lower() for renderer in _RENDERERS):
        return False
    # A chain of several buffers shows itself within as many frames.
    for colour in _PROBES:
        gl.glEnable(_SCISSOR_TEST)
        gl.glScissor(0, 0, 1, 1)
        gl.glClearColor(*colour)
        gl.glClear(_COLOUR_BUFFER)
        gl.glDisable(_SCISSOR_TEST)
        window.flip()
        if tuple(gl.glReadPixels(0, 0, 1, 1, _RGBA, _UNSIGNED_BYTE)[:3]) != tuple(round(255 * c) for c in colour[:3]):
            return False
    window.canvas.ask_update()
    return True


class PartialDrawing:
    """Takes the place of the window's own drawing.

    Args:
        window: Kivy's window.
    """

    def __init__(self, window: Any) -> None:
        self._window = window
        self._last: dict[Any, tuple[Box, int]] = {}
        self.drawn: tuple[Box, ...] = ()
        """What the last frame drew, in window pixels."""
        self._begin, self._end = Canvas(), Canvas()
        with self._begin:
            self._scissor = ScissorPush(x=0, y=0, width=1, height=1)
        with self._end:
            ScissorPop()

    def install(self) -> None:
        """Draw from now on."""
        self._window.bind(on_draw=self._draw)

    def remove(self) -> None:
        """Leave drawing to the window again."""
        self._window.unbind(on_draw=self._draw)

    def _draw(self, *_: object) -> bool:
        window = self._window
        whole: Box = (0, 0, window.width, window.height)
        changed = self._changes()
        self.drawn = merged([grown(box, whole) for box in changed]) if changed else (whole,)
        for x, y, width, height in self.drawn:
            scissor = self._scissor
            scissor.x, scissor.y, scissor.width, scissor.height = int(x), int(y), int(width), int(height)
            self._begin.draw()
            window.clear()
            window.render_context.draw()
            self._end.draw()
        return True  # the window has nothing left to draw

    def _changes(self) -> list[Box]:
        """Where something changed since the last frame; empty where it was something else that asked for a frame."""
        before, self._last = self._last, {}
        changed: list[Box] = []
        for widget in self._window.children:
            self._look_at(widget, before, changed)
        changed.extend(box for widget, (box, _) in before.items() if widget not in self._last)
        return changed

    def _look_at(self, widget: Any, before: dict[Any, tuple[Box, int]], changed: list[Box]) -> None:
        canvas, box = widget.canvas, (*widget.pos, *widget.size)
        holds = isinstance(widget, Container)
        own = _own_instructions(widget) if holds else []
        where = widget.take_changes() if isinstance(widget, Particular) else {box}
        was, self._last[widget] = before.get(widget), (box, len(own))
        if was != self._last[widget]:
            changed.append(box)
            if was is not None:
                changed.append(was[0])
        elif holds:
            if any(instruction.needs_redraw for instruction in own):
                changed.append(box)
        elif canvas.needs_redraw:
            changed.extend(where)
        if holds:
            for child in widget.children:
                self._look_at(child, before, changed)


def merged(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Few rectangles that cover all of ``boxes``: two become one where going through the tree once more costs more.

    >>> merged([(0, 0, 10, 10), (10, 0, 10, 10), (0, 700, 400, 50)])
    ((0, 0, 20, 10), (0, 700, 400, 50))
    """
    rest, found = list(boxes), []
    while rest:
        one = rest.pop()
        for other in rest:
            both = _around(one, other)
            if _area(both) - _area(one) - _area(other) < PASS_COSTS_PX:
                rest.remove(other)
                rest.append(both)
                break
        else:
            found.append(one)
    return tuple(found[::-1])


def grown(box: Box, whole: Box) -> Box:
    """A rectangle in whole pixels around ``box``, with a margin, within ``whole``; empty where it lies outside."""
    left, bottom = max(floor(box[0]) - _MARGIN, whole[0]), max(floor(box[1]) - _MARGIN, whole[1])
    right = min(ceil(box[0] + box[2]) + _MARGIN, whole[0] + whole[2])
    top = min(ceil(box[1] + box[3]) + _MARGIN, whole[1] + whole[3])
    return left, bottom, max(right - left, 0), max(top - bottom, 0)


def _around(one: Box, other: Box) -> Box:
    left, bottom = min(one[0], other[0]), min(one[1], other[1])
    right, top = max(one[0] + one[2], other[0] + other[2]), max(one[1] + one[3], other[1] + other[3])
    return left, bottom, right - left, top - bottom


def _area(box: Box) -> float:
    return box[2] * box[3]


def _own_instructions(widget: Any) -> list[Any]:
    """What a widget draws itself, its children not counted. Colours are left out: Kivy never takes their marks away."""
    children = {id(child.canvas) for child in widget.children}
    return [
        instruction
        for instruction in widget.canvas.children
        if isinstance(instruction, VertexInstruction | InstructionGroup) and id(instruction) not in children
    ]
