"""Waiting for the next event instead of polling for it: an idle keyboard sleeps, a touched one answers at once.

Kivy wakes up sixty times a second to look for input, and a touch waits for the next of those moments. Here the wait
between two frames is left to SDL, which returns as soon as something comes in; without input it lasts until the next
timer of Kivy's clock is due. Only the wait is replaced; where SDL cannot be found, Kivy's own stays.
"""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONGEST_WAIT_S = 0.25
"""Work of other threads is noticed this late at most."""
FRAME_S = 1 / 60
"""Time between two frames of an animation."""


def load_sdl() -> ctypes.CDLL | None:
    """The SDL library that Kivy's window uses, or None where it cannot be found."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in mapped:
        path = line.split(maxsplit=5)[-1]
        name = os.path.basename(path)
        if name.startswith("libSDL2-") and ".so" in name:
            try:
                sdl = ctypes.CDLL(path)
                sdl.SDL_WaitEventTimeout.argtypes = [ctypes.c_void_p, ctypes.c_int]
                sdl.SDL_GetCurrentVideoDriver.restype = ctypes.c_char_p
            except (OSError, AttributeError):
                return None
            return sdl
    return None


class EventWait:
    """Takes the place of the wait in Kivy's clock.

    Args:
        clock: Kivy's clock.
        wait: waits at most so many seconds for input; True when there is some.
    """

    def __init__(self, clock: Any, wait: Callable[[float], bool]) -> None:
        self._clock = clock
        self._wait = wait
        self._input_is_there = False
        self._frame_began = 0.0

    def idle(self) -> float:
        """Wait until there is something to do; returns the time, as Kivy's clock wants it."""
        clock = self._clock
        if self._input_is_there:
            # The event that ended the last wait has been read meanwhile: act on it now.
            self._input_is_there = False
        else:
            room = self._seconds_until_due()
            if room > 0:
                self._input_is_there = self._wait(room)
        now = float(clock.time())
        clock._dt = now - clock._last_tick
        clock._last_tick = now
        self._frame_began = now
        return now

    def _seconds_until_due(self) -> float:
        clock = self._clock
        due = float(clock.get_min_timeout()) - (clock.time() - clock._last_tick)
        # Never faster than frames, whatever asks to be called every time.
        next_frame = self._frame_began + FRAME_S - clock.time()
        return float(min(max(due, next_frame), LONGEST_WAIT_S))


def wait_for_events() -> bool:
    """Let Kivy's clock sleep until there is input. Call it once the window exists; False where that is not possible."""
    sdl = load_sdl()
    if sdl is None or sdl.SDL_GetCurrentVideoDriver() is None:
        return False
    from kivy.clock import Clock

    # Drivers without a real window have nothing to wait on: SDL would poll every millisecond.
    polls = sdl.SDL_GetCurrentVideoDriver() in (b"offscreen", b"dummy")

    def wait(seconds: float) -> bool:
        if polls:
            time.sleep(min(seconds, FRAME_S))
            return bool(sdl.SDL_WaitEventTimeout(None, 0))
        return bool(sdl.SDL_WaitEventTimeout(None, max(int(seconds * 1000), 1)))

    Clock.idle = EventWait(Clock, wait).idle
    return True
