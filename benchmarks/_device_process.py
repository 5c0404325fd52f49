"""Many real device runtimes in one process; training and typing are left out, everything else is the device's own code.

``python -m benchmarks._device_process FOLDER URL SETTING.json``: says ``ready``, waits for a line on standard input,
takes part until every device finished or a second line comes, and prints one JSON object about it.
"""

from __future__ import annotations

import dataclasses
import heapq
import importlib
import json
import random
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from benchmarks._coordinator_process import BUNDLE_DIGEST
from federated_protocol.messages import Phase, SessionAnswer, SignedMessage
from federated_protocol.plan import Plan, counter_names
from keyboard_app.device.conditions import FixedConditions
from keyboard_app.device.identity import DeviceIdentity
from keyboard_app.device.local_training import Trained
from keyboard_app.device.local_work import Contribution
from keyboard_app.device.policy import DevicePolicy
from keyboard_app.device.runtime import DeviceRuntime
from keyboard_app.device.transport import LONGEST_WAIT_S, Transport
from keyboard_app.simulation.hosted_device import fleet_schedule

LOADED = ("federated_protocol.secure_aggregation", "federated_protocol.update_codec")
"""What a device imports with its first round, and has from then on."""


class FleetSetting(msgspec.Struct, frozen=True):
    """What a process of devices is told."""

    first: int
    count: int
    dimension: int
    doomed: dict[int, str]
    """Device number: the phase whose message it never sends."""
    timeout_s: float
    distinct: bool = False
    """Device n counts 2^n examples: a sum then names every device in it."""


class Died(BaseException):
    """This device vanishes without a word."""


class CountingTransport(Transport):
    """Counts requests; dies before a doomed phase."""

    doomed: Phase | None = None
    requests = 0

    def send(self, session: str, phase: Phase, message: SignedMessage) -> SessionAnswer:
        """Send, or die."""
        if phase is self.doomed:
            raise Died
        return super().send(session, phase, message)


class RandomWork:
    """A worker whose update costs nothing to make: what is left is the round itself."""

    def __init__(self, dimension: int, seed: int, examples: int = 20) -> None:
        self._rng = np.random.default_rng(seed)
        self._dimension = dimension
        self._examples = examples

    def train(self, plan: Plan, model: Any, should_stop: Any, anchor: Any = None) -> Trained:
        """A random update of a plausible length."""
        delta = self._rng.normal(0, 0.3 * plan.codec.clip / self._dimension**0.5, self._dimension)
        return Trained(delta.astype(np.float32), self._examples, 0.5, 0.4)

    def contribute(self, plan: Plan, model: Any, trained: Trained, *more: Any, **others: Any) -> Contribution:
        """Encode it as a device does."""
        from federated_protocol.update_codec import encode, layout

        counters = np.zeros(len(counter_names(plan.metrics)), np.uint64)
        counters[:2] = (trained.examples, 1)
        weight = min(trained.examples, plan.training.weight_cap) / plan.training.weight_cap
        vector = encode(trained.delta, weight, counters, plan.codec)
        return Contribution(vector, layout(plan.codec, len(counters)), trained.examples, claimed=False)

    def release(self) -> None:
        """Nothing to let go of."""


class BusyLog:
    """A log that always has something to learn from."""

    def summary(self) -> Any:
        """Enough examples."""
        return SimpleNamespace(shown=30)

    def impressions(self, **query: Any) -> list[Any]:
        """Nothing to learn for an owner."""
        return []

    def usage_unreported(self, session: str | None = None) -> list[Any]:
        """Nothing to count."""
        return []


def make_device(folder: Path, url: str, number: int, setting: FleetSetting) -> tuple[DeviceRuntime, CountingTransport]:
    """A runtime over the home that the parent prepared."""
    home = folder / f"device-{number}"
    # A thread that steps several devices must not wait for one of them.
    transport = CountingTransport(url, wait_s=LONGEST_WAIT_S if setting.count == 1 else 0)
    doomed = setting.doomed.get(number)
    transport.doomed = Phase(doomed) if doomed is not None else None
    bundle: Any = SimpleNamespace(
        digest=BUNDLE_DIGEST, weights0=np.zeros(setting.dimension, np.float32), threshold0=0.0, heads=()
    )
    log: Any = BusyLog()
    runtime = DeviceRuntime(
        home,
        url,
        DeviceIdentity.open(home),
        DevicePolicy().demo(4),
        bundle,
        None,
        log,
        FixedConditions(),
        schedule=fleet_schedule(),
        transport=transport,
        rng=random.Random(number),
    )
    worker: Any = RandomWork(setting.dimension, number, 1 << number if setting.distinct else 20)
    attendance = runtime._attendance
    assert attendance is not None
    attendance.equipment = dataclasses.replace(attendance.equipment, worker=worker)
    return runtime, transport


def _set_at_next_line(event: threading.Event) -> None:
    sys.stdin.readline()
    event.set()


def main() -> None:
    """Be a fleet."""
    folder, url = Path(sys.argv[1]), sys.argv[2]
    setting = msgspec.json.decode(Path(sys.argv[3]).read_bytes(), type=FleetSetting)
    devices = [
        make_device(folder, url, number, setting) for number in range(setting.first, setting.first + setting.count)
    ]
    for name in LOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    sys.stdin.readline()
    over = threading.Event()
    threading.Thread(target=_set_at_next_line, args=(over,), daemon=True).start()
    cpu_before = time.process_time()
    begun = time.monotonic()
    due = [(begun, index) for index in range(len(devices))]
    ends: Counter[str] = Counter()
    while due and not over.is_set() and time.monotonic() < begun + setting.timeout_s:
        when, index = heapq.heappop(due)
        if (pause := when - time.monotonic()) > 0:
            over.wait(pause)
        runtime = devices[index][0]
        try:
            wait = runtime.step()
        except Died:
            ends["died"] += 1
            continue
        if runtime.status.rounds_joined:
            ends["finished"] += 1
        else:
            heapq.heappush(due, (time.monotonic() + max(wait, 0.0), index))
    ends["unfinished"] += len(due)
    print(json.dumps({
        "ends": dict(ends),
        "cpu_s": time.process_time() - cpu_before,
        "bytes_up": sum(transport.traffic.up for _, transport in devices),
        "bytes_down": sum(transport.traffic.down for _, transport in devices),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "problems": Counter(r.status.problem for r, _ in devices if r.status.problem).most_common(3),
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
