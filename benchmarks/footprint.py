"""What a headless device costs: start, memory after a complete round, disk, and wake-ups while it waits.

One device runs as a process of its own (``keyboard-app device``), types a replay and takes part in a round with a fleet
of simulated devices, through a coordinator that is a process as well. The word-correction dictionary is not loaded:
nobody looks at a headless device's strip.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import BenchmarkError, Value

DESCRIPTION = "start, memory, disk and wake-ups of a headless device after one round"

GOAL_IMPORT_S = 0.5
GOAL_PEAK_RSS_MIB = 90.0
_ROOT = Path(__file__).parent.parent
_LOCK = _ROOT / "locks" / "device.txt"
_PACKAGES = ("federated_protocol", "data_logging", "suggestion_model", "keyboard_app")
_MIB = 1024 * 1024

# Everything a headless device has loaded by the end of its first round, those parts included that load when needed.
_IMPORTS = (
    "keyboard_app.device.commands, keyboard_app.suggestions, suggestion_model.runtime, suggestion_model.training, "
    "suggestion_model.features, suggestion_model.catalog, federated_protocol.secure_aggregation, "
    "federated_protocol.update_codec"
)
_TIME_IMPORTS = (
    "import time; wall, cpu = time.perf_counter(), time.process_time(); "
    f"import {_IMPORTS}; print(time.perf_counter() - wall, time.process_time() - cpu)"
)
_FORBIDDEN = ("tensorflow", "flask", "kivy", "symspellpy", "rich", "sqlalchemy")
_LIST_FORBIDDEN = f"import sys, {_IMPORTS}; print([name for name in {_FORBIDDEN!r} if name in sys.modules])"


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Measure.

    Raises
    ------
    BenchmarkError
        When a process cannot be started, or the round does not come about in time.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks footprint", description=__doc__)
    parser.add_argument("--others", type=int, default=7, help="simulated devices in the same round (default 7)")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long wake-ups are counted (default 60)")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds the round may take (default 180)")
    parser.add_argument("--imports", type=int, default=5, help="fresh processes for the import time (default 5)")
    options = parser.parse_args(argv)
    if options.others < 3:
        parser.error("--others must be at least 3")

    loaded = json.loads(_python("-c", _LIST_FORBIDDEN).replace("'", '"'))
    if loaded:
        raise BenchmarkError(f"a headless device loads {', '.join(loaded)}; find the import that does it")
    times = [_python("-c", _TIME_IMPORTS).split() for _ in range(max(1, options.imports))]
    sizes = installed_sizes()
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        live = _measure_round(Path(folder), options.others, options.idle_seconds, options.timeout)
    return {
        "import_s": statistics.median(float(wall) for wall, _ in times),
        # What it would be with the machine to itself: elsewhere, other processes may have had the cores meanwhile.
        "import_cpu_s": statistics.median(float(cpu) for _, cpu in times),
        "goal_import_s": GOAL_IMPORT_S,
        **live,
        "goal_peak_rss_mib": GOAL_PEAK_RSS_MIB,
        "install_mib": sum(sizes.values()),
        "largest_installed_mib": dict(sorted(sizes.items(), key=lambda item: -item[1])[:6]),
    }


# -- disk ----------------------------------------------------------------------------------------------------------


def installed_sizes() -> dict[str, float]:
    """MiB on disk of every distribution that a headless device installs, by name, and of this project.

    Raises
    ------
    BenchmarkError
        When the lock file of the device is missing.
    """
    try:
        names = re.findall(r"^([A-Za-z0-9._-]+)==", _LOCK.read_text("utf-8"), re.MULTILINE)
    except OSError as error:
        raise BenchmarkError(f"cannot read {_LOCK.name}: {error.strerror}; run it from a clone") from None
    sizes = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            files = importlib.metadata.distribution(name).files or []
            sizes[name] = sum(_size(Path(str(file.locate()))) for file in files) / _MIB
    own = (file for package in _PACKAGES for file in (_ROOT / package).rglob("*") if "__pycache__" not in file.parts)
    sizes["federated-keyboard"] = sum(_size(file) for file in own) / _MIB
    return sizes


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:
        return 0


# -- processes -----------------------------------------------------------------------------------------------------


def _python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_ROOT, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"a Python process failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}


@contextmanager
def _process(log: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A child that is ended with the block; its error output goes to ``log``."""
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=_ROOT,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _measure_round(folder: Path, others: int, idle_s: float, timeout_s: float) -> dict[str, Value]:
    authority, homes, port_file = folder / "authority", folder / "homes", folder / "port"
    _python("-m", "coordinator.authority.cli", "init", str(authority), "--insecure-demo")
    _python("-m", "coordinator.authority.cli", "issue", str(authority), "--count", str(others + 1), "--out", str(homes))
    everybody = str(others + 1)
    coordinator = (
        "coordinator.cli", "serve", "--port", "0", "--port-file", str(port_file), "--small-demo",
        "--database", str(folder / "coordinator.db"), "--authority-public-key", str(authority / "public.key"),
        "--goal-count", everybody, "--minimum-count", everybody, "--max-rounds", "1",
        "--set", "rounds.overselect=1.0", "--set", f"deadlines.selecting_s={timeout_s}",
    )  # fmt: skip
    deadline = time.monotonic() + timeout_s
    with _process(folder / "coordinator.log", *coordinator):
        while not (port_file.exists() and port_file.read_text().strip()):
            _wait_until(deadline, "the coordinator did not start")
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        fleet = (
            "keyboard_app.cli", "fleet", "--coordinator", url, "--identities", str(homes),
            "--devices", str(others), "--rounds", "1", "--round-timeout", str(timeout_s),
        )  # fmt: skip
        device = (
            "keyboard_app.cli", "device", "--coordinator", url, "--home", str(homes / f"device-{others + 1:03d}"),
            "--insecure-demo", "--schedule", "normal", "--speed", "0", "--json",
        )  # fmt: skip
        with _process(folder / "fleet.log", *fleet) as crowd, _process(folder / "device.log", *device) as child:
            drain = threading.Thread(target=lambda: list(crowd.stdout or ()), daemon=True)
            drain.start()
            status = _until_joined(child, deadline, folder / "device.log")
            crowd.wait(max(1.0, deadline - time.monotonic()))
            return _measure_idle(child, idle_s) | {
                "examples": _examples(homes / f"device-{others + 1:03d}"),
                "round_bytes_up": status["bytes_up_last_round"],
                "round_bytes_down": status["bytes_down_last_round"],
            }


def _wait_until(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise BenchmarkError(f"{problem} in time: is the machine busy? Try --timeout")
    time.sleep(0.05)


def _until_joined(child: subprocess.Popen[str], deadline: float, log: Path) -> dict[str, Value]:
    """Read status lines until the device has taken part in a round."""
    found: list[dict[str, Value]] = []

    def read() -> None:
        for line in child.stdout or ():
            status = json.loads(line)
            if status["rounds_joined"]:
                found.append(status)
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while not found:
        if child.poll() is not None:
            raise BenchmarkError(f"the device ended: {log.read_text().strip().splitlines()[-1:]}")
        _wait_until(deadline, "the round did not come about")
    return found[0]


def _examples(home: Path) -> int:
    entries = json.loads((home / "rounds.json").read_bytes())
    return int(entries[-1]["examples"])


def _measure_idle(child: subprocess.Popen[str], idle_s: float) -> dict[str, Value]:
    process = Path("/proc") / str(child.pid)
    if not process.exists():
        raise BenchmarkError("memory and wake-ups are read from /proc, which this system lacks")
    time.sleep(2.0)  # let it come to rest
    before, began = _wakeups(process), time.monotonic()
    time.sleep(idle_s)
    elapsed = time.monotonic() - began
    return {
        # The high-water mark of the process itself: ru_maxrss of a child would include its parent's from before exec.
        "peak_rss_mib": _status(process / "status", "VmHWM") / 1024,
        "wakeups_idle_per_minute": (_wakeups(process) - before) * 60.0 / elapsed,
    }


def _wakeups(process: Path) -> int:
    """Voluntary context switches of all threads: each is one time the process went back to sleep."""
    return sum(_status(task / "status", "voluntary_ctxt_switches") for task in (process / "task").iterdir())


def _status(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchmarkError(f"{file} does not tell {name}")
