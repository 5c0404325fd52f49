"""The window under fast typing: time from touch to frame, idle cost, memory, time to the first frame.

The keyboard runs as a process of its own, exactly as ``keyboard-app run`` starts it (strip, ranker, correction, log and
word memory on). Touches are mouse events put into SDL's queue by a second thread at ten keys a second; each is timed
from there to the end of the buffer swap of the frame that shows it. Without a display one is made with Xvfb, where
there is one; drawing is then done by the processor.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError, Value

DESCRIPTION = "the window: touch to frame, idle cost, memory, first frame"

GOALS = {
    "touch_to_frame_p95_ms": 8.0,
    "max_frame_ms": 33.0,
    "idle_cpu_percent": 1.0,
    "rss_mib": 220.0,
    "first_frame_s": 1.0,
}
KEY_EVERY_S = 0.1
HELD_S = 0.05
SETTLE_S = 4.0
WARM_UP_KEYS = 30
LINES = (
    "hey are we still on for friday",
    "any good thai restaurants in oakland",
    "i coudnt beleive it they lost agian",
    "weather in seattle tomorrow",
    "see you at the party whats the adress",
    "cheap flights from boston to chicago",
)


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Start a keyboard, type on it, leave it alone, and report.

    Raises
    ------
    BenchmarkError
        When the window cannot be opened.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks keyboard", description=DESCRIPTION)
    parser.add_argument("--keys", type=int, default=300, help="keys to type (default 300)")
    parser.add_argument("--size", default="420x800", help="window size (default 420x800)")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of idling to measure (default 10)")
    parser.add_argument("--starts", type=int, default=3, help="starts of which the fastest first frame counts")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child is not None:
        return _child(options)
    with tempfile.TemporaryDirectory() as folder:
        first_frames = [
            _run(Path(folder) / str(start), options, keys=0, idle=0.0)["first_frame_s"]
            for start in range(options.starts)
        ]
        results = _run(Path(folder) / "typing", options, keys=options.keys, idle=options.idle)
    results["first_frame_s"] = min(float(str(seconds)) for seconds in first_frames)
    results |= {f"goal_{name}": goal for name, goal in GOALS.items()}
    return results


def _run(home: Path, options: argparse.Namespace, keys: int, idle: float) -> dict[str, Value]:
    home.mkdir()
    command = [sys.executable, "-m", "benchmarks", "keyboard", "--json", "--child", str(home)]
    command += ["--size", options.size, "--keys", str(keys), "--idle", str(idle)]
    if not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
        command = ["xvfb-run", "-a", "-s", "-screen 0 1400x1400x24", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=120 + keys + idle)
    try:
        results: dict[str, Value] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchmarkError(
            "the window did not open: install the 'window' extra, and set DISPLAY or install Xvfb."
        ) from None
    del results["benchmark"]
    return results


class _Probe:
    """Times frames and types."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.touches: list[float] = []
        self.frames: list[float] = []
        self.first_frame_s = 0.0
        self.results: dict[str, Value] = {}
        self._waiting: list[float] = []
        self._lock = threading.Lock()
        self._pass_began = 0.0
        self._sdl: Any = None
        self._window: Any = None

    def install(self, app: Any) -> None:
        """Called on the window's thread once the screen stands."""
        from kivy.base import EventLoop
        from kivy.clock import Clock

        from keyboard_app.window.event_loop import load_sdl

        self._window = window = EventLoop.window
        self._sdl = load_sdl()
        flip, idle = window.flip, Clock.idle

        def timed_flip() -> None:
            flip()
            self._note_frame(time.perf_counter())

        def timed_idle() -> float:
            now: float = idle()
            self._pass_began = time.perf_counter()
            return now

        window.flip, Clock.idle = timed_flip, timed_idle
        threading.Thread(target=self._type, args=(app,), name="typing", daemon=True).start()

    def _note_frame(self, now: float) -> None:
        if not self.first_frame_s:
            self.first_frame_s = _process_age_s()
            return
        self.frames.append(now - self._pass_began)
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self.touches += [now - began for began in waiting]

    def _push(self, x: float, y: float, down: bool) -> None:
        event = (ctypes.c_uint8 * 56)()
        kind = 0x401 if down else 0x402
        parts: list[tuple[int, Any]] = [
            (0, ctypes.c_uint32(kind)),
            (8, ctypes.c_uint32(1)),
            (16, ctypes.c_uint8(1)),
            (17, ctypes.c_uint8(1 if down else 0)),
            (18, ctypes.c_uint8(1)),
            (20, ctypes.c_int32(round(x))),
            (24, ctypes.c_int32(round(self._window.height - y))),
        ]
        for at, value in parts:
            ctypes.memmove(ctypes.byref(event, at), ctypes.byref(value), ctypes.sizeof(value))
        with self._lock:
            self._waiting.append(time.perf_counter())
        self._sdl.SDL_PushEvent(ctypes.byref(event))

    def _type(self, app: Any) -> None:
        try:
            self._measure(app)
        finally:
            from kivy.clock import Clock

            Clock.schedule_once(lambda _dt: app.stop(), 0)

    def _measure(self, app: Any) -> None:
        screen = app.root.screen
        while not self.first_frame_s:
            time.sleep(0.01)
        if self.options.keys:
            time.sleep(SETTLE_S)
            self._type_keys(screen)
            self.results["rss_mib"] = _rss_mib()
            time.sleep(1.0)
            self.results["idle_blinking_cpu_percent"] = _cpu_percent(min(self.options.idle, 6.0))
            time.sleep(6.0)
            self.results["idle_cpu_percent"] = _cpu_percent(self.options.idle)

    def _type_keys(self, screen: Any) -> None:
        typed, due = 0, time.perf_counter()
        while typed < self.options.keys + WARM_UP_KEYS:
            for character in [*LINES[typed % len(LINES)], "send"]:
                if typed == WARM_UP_KEYS:
                    self.touches.clear()
                    self.frames.clear()
                x, y = screen.keyboard.centre_of("space" if character == " " else character)
                for down in (True, False):
                    time.sleep(max(0.0, due - time.perf_counter()))
                    self._push(x, y, down)
                    due += HELD_S if down else KEY_EVERY_S - HELD_S
                typed += 1


def _child(options: argparse.Namespace) -> dict[str, Value]:
    """Runs as the keyboard's own process."""
    import keyboard_app.window.commands as commands

    probe = _Probe(options)
    from keyboard_app.window.environment import prepare

    def prepare_and_measure(*arguments: Any, **named: Any) -> None:
        prepare(*arguments, **named)
        from keyboard_app.window.app import KeyboardApp

        on_start: Callable[[Any], None] = KeyboardApp.on_start

        def measured_start(app: Any) -> None:
            on_start(app)
            probe.install(app)

        setattr(KeyboardApp, "on_start", measured_start)  # noqa: B010 (mypy forbids it written plainly)

    setattr(commands, "prepare", prepare_and_measure)  # noqa: B010
    commands.run.main(
        [
            "--home",
            str(options.child),
            "--size",
            options.size,
            "--theme",
            "light",
            "--exit-after",
            str(60 + options.keys + options.idle),
        ],
        standalone_mode=False,
    )
    results = {"first_frame_s": probe.first_frame_s, **probe.results}
    if probe.touches:
        touches, frames = sorted(probe.touches), sorted(probe.frames)
        results |= {
            "touch_to_frame_p50_ms": _quantile_ms(touches, 0.50),
            "touch_to_frame_p95_ms": _quantile_ms(touches, 0.95),
            "touch_to_frame_max_ms": _quantile_ms(touches, 1.0),
            "frame_p50_ms": _quantile_ms(frames, 0.50),
            "max_frame_ms": _quantile_ms(frames, 1.0),
            "touches": len(touches),
            "frames": len(frames),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "load_1_min": os.getloadavg()[0],
            "video": _driver(probe),
            "renderer": _renderer(),
        }
    return results


def _driver(probe: _Probe) -> str:
    name: bytes | None = probe._sdl.SDL_GetCurrentVideoDriver()
    return "" if name is None else name.decode()


def _renderer() -> str:
    try:
        from kivy.graphics.opengl import GL_RENDERER, glGetString

        return str(glGetString(GL_RENDERER).decode())
    except Exception:  # the window is gone: it was said in the log
        return ""


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def _cpu_percent(seconds: float) -> float:
    """Share of one core that this process uses while this thread sleeps."""
    began, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return 100.0 * (time.process_time() - used) / (time.perf_counter() - began)


def _process_age_s() -> float:
    """Seconds since this process was started, the interpreter's own start included."""
    started = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def _quantile_ms(ordered: Sequence[float], share: float) -> float:
    return 1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]
