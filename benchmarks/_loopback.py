"""Coordinator processes on a free loopback port, for measurements over real HTTP."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]

from benchmarks import BenchmarkError
from coordinator.settings import Settings

ROOT = Path(__file__).parent.parent
_LASTING_PORTS = range(20_000, 30_000)


def lasting_port() -> int:
    """A free port for a server that may go away and come back.

    It is none of those that systems give to whoever asks for any (from 32,768 on Linux), so nobody gets it by chance
    before it is listened at, or meanwhile.
    """
    while True:
        port = random.SystemRandom().choice(_LASTING_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass(frozen=True)
class RunningCoordinator:
    """A served coordinator."""

    url: str
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """User and system time of all its processes."""
        return sum(sum(p.cpu_times()[:2]) for p in self._family())

    def peak_rss_mib(self) -> float:
        """Highest resident memory so far, all its processes together (pages they share count in each)."""
        peaks = []
        for process in self._family():
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peaks.append(int(found[1]) / 1024 if found else 0.0)
        return sum(peaks)

    def pss_mib(self) -> float:
        """Proportional set size now, all its processes together: pages they share count once."""
        sizes = []
        for process in self._family():
            with contextlib.suppress(OSError):  # it has just ended
                found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.M)
                sizes.append(int(found[1]) / 1024 if found else 0.0)
        return sum(sizes)

    def requests(self) -> int:
        """Requests answered so far, those for metrics apart."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            text = answer.read().decode()
        lines = re.findall(r'coordinator_requests_total\{[^}]*route="(/v1/[^"]*)"[^}]*\} ([0-9.e+]+)', text)
        return round(sum(float(count) for _, count in lines))

    def _family(self) -> list[psutil.Process]:
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]


@contextmanager
def coordinator(settings: Settings, folder: Path, dimension: int) -> Iterator[RunningCoordinator]:
    """Serve one; stopped at the end.

    Raises
    ------
    BenchmarkError
        when it does not start.
    """
    path = folder / "settings.json"
    path.write_bytes(msgspec.json.encode(settings))
    command = [sys.executable, "-m", "benchmarks._coordinator_process", str(path), str(dimension)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise BenchmarkError("the coordinator did not start: see above")
        yield RunningCoordinator(found[0], process)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
