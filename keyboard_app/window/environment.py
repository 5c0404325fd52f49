"""Kivy, tamed: to be called before anything of Kivy is imported.

Kivy reads the command line, writes log files, takes over logging and probes input devices as soon as it is imported.
A keyboard wants none of that: its own options are click's, its own files lie in its own home.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import sys
from pathlib import Path

PHONE_SIZE = (420, 800)
"""Size of the window when none is given, in pixels."""
SMALLEST_SIZE = (320, 520)


def prepare(home: Path, size: tuple[int, int] = PHONE_SIZE, text_scale: float = 1.0) -> None:
    """Set Kivy up for this process, once.

    Args:
        home: folder of the app; what Kivy wants to keep goes to ``home/kivy``.
        size: width and height of the window in pixels.
        text_scale: all text is this many times as large, 0.8..2.
    """
    kivy_home = home / "kivy"
    kivy_home.mkdir(parents=True, exist_ok=True)
    os.environ["KIVY_METRICS_FONTSCALE"] = str(text_scale)
    # Of each kind the one provider that is used: looking for the others costs memory and time.
    for kind in ("WINDOW", "TEXT", "IMAGE", "CLIPBOARD"):
        os.environ.setdefault(f"KIVY_{kind}", "sdl2")
    # Mesa's software renderer: frames here are small, and handing them to other threads costs memory and waiting.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    os.environ["KIVY_NO_ARGS"] = "1"
    os.environ["KIVY_NO_CONFIG"] = "1"
    os.environ["KIVY_NO_FILELOG"] = "1"
    os.environ["KIVY_LOG_MODE"] = "PYTHON"
    os.environ["KIVY_HOME"] = str(kivy_home)
    already = "kivy" in sys.modules

    from kivy.config import Config

    # Kivy warns of every optional library that a machine lacks; its errors still reach the log. Importing it sets
    # the level, so this comes after.
    logger = logging.getLogger("kivy")
    logger.setLevel(logging.ERROR)
    logger.addFilter(_worth_telling)
    if already:
        return
    settings: dict[str, dict[str, object]] = {
        "kivy": {"exit_on_escape": 0, "keyboard_mode": "system", "log_level": "error"},
        "graphics": {
            "width": size[0],
            "height": size[1],
            "minimum_width": SMALLEST_SIZE[0],
            "minimum_height": SMALLEST_SIZE[1],
            "resizable": 1,
            # Shapes are smoothed as they are drawn; multisampling on top costs 30 ms a frame without a graphics card.
            "multisamples": 0,
            "maxfps": 60,
        },
    }
    for section, values in settings.items():
        for option, value in values.items():
            Config.set(section, option, str(value))
    # SDL delivers touches by itself; Kivy's own probing of /dev/input would deliver them twice.
    for option in list(Config.options("input")):
        Config.remove_option("input", option)
    Config.set("input", "mouse", "mouse,disable_multitouch")


def _worth_telling(record: logging.LogRecord) -> bool:
    """Drop Kivy's tracebacks about what is optional: libmtdev, and helpers of the X clipboard that SDL replaces."""
    message = record.getMessage()
    return not any(what in message for what in ("MTDev", "Cutbuffer", "xclip", "xsel"))


def has_display() -> bool:
    """True when a person could see the window: an X or Wayland display on Linux, always elsewhere."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def settle_memory() -> None:
    """To be called after something large was loaded, which will stay.

    Garbage collection leaves out from now on what exists (looking through it all took 60 ms, between two frames), and
    what loading left free goes back to the system, where the C library can (glibc).
    """
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
