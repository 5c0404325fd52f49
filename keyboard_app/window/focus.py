"""Reaching everything without touching: what can be focused, in which order, and where the arrows lead.

Every part of the screen says what can be acted upon in it as a list of :class:`Target`; the screen puts the lists
together from top to bottom. Tab walks through them, arrows go to the neighbour in that direction, Enter acts,
Shift+Enter or the menu key does what a long press does, Escape ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can be focused."""

    name: str
    """In words, unique on the screen."""
    box: Box
    act: Callable[[], object] = field(compare=False)
    """What a tap does."""
    hold: Callable[[], object] | None = field(default=None, compare=False)
    """What a long press does."""

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle, in window pixels."""
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


class FocusOrder:
    """Which target has the focus; survives targets that move, come and go, by their names."""

    def __init__(self, targets: Callable[[], Sequence[Target]]) -> None:
        self._targets = targets
        self._name: str | None = None
        self._index = 0

    @property
    def focused(self) -> Target | None:
        """The target that has the focus; None when nothing has it."""
        if self._name is None:
            return None
        targets = self._targets()
        for index, target in enumerate(targets):
            if target.name == self._name:
                self._index = index
                return target
        # What had the focus is gone: what stands in its place has it now.
        if not targets:
            return None
        self._index = min(self._index, len(targets) - 1)
        self._name = targets[self._index].name
        return targets[self._index]

    def clear(self) -> None:
        """Nothing has the focus."""
        self._name, self._index = None, 0

    def step(self, by: int) -> None:
        """Go on by so many targets, around the end."""
        targets = self._targets()
        if not targets:
            return
        if self.focused is None:
            self._index = 0 if by > 0 else len(targets) - 1
        else:
            self._index = (self._index + by) % len(targets)
        self._name = targets[self._index].name

    def move(self, dx: int, dy: int) -> None:
        """Go to the nearest target in a direction: (-1, 0) left, (0, 1) up; stay when there is none."""
        at = self.focused
        if at is None:
            self.step(1)
            return
        x, y = at.centre

        def reach(target: Target) -> float:
            to_x, to_y = target.centre
            along = (to_x - x) * dx + (to_y - y) * dy
            across = abs((to_x - x) * dy) + abs((to_y - y) * dx)
            return along + 2.5 * across if along > 1.0 else float("inf")

        nearest = min(self._targets(), key=reach, default=at)
        if reach(nearest) < float("inf"):
            self._name = nearest.name
