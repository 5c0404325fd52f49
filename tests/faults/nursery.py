"""Forks coordinators and devices quickly: what they import is imported once, and each is a process of its own.

Run as a program. It reads one JSON object a line and answers each with one line, the new process's id:

``{"coordinator": {settings}, "port": ..., "port_file": ..., "log": ..., "dies": ... | null, "threads": 16,
"read_s": 20}``
``{"devices": folder, "url": ..., "first": 0, "count": 3, "log": ...}``
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks._coordinator_process import initial_model
from benchmarks._device_process import FleetSetting, make_device
from coordinator import serving
from coordinator.aggregation.mask_workers import make_executor
from coordinator.app import create_app
from coordinator.events import configure_logging
from coordinator.rounds import driver, lease, publication, tasks
from coordinator.settings import Settings
from federated_protocol.secure_aggregation import unmasking

DIMENSION = 24


def die(*_anything, **_named):
    """As ``kill -9`` of the whole coordinator, at exactly this line of it."""
    os.killpg(0, signal.SIGKILL)


DEATHS = {
    "before the sum is open": (driver, "open_sum"),
    "before the model is published": (tasks, "publish"),
    "inside the transaction that publishes": (publication, "add_model"),
}


def be_coordinator(wish):
    settings = msgspec.convert(wish["coordinator"], Settings)
    lease.LEASE_S = 1.0
    # A job for every owner, and all of them for the executor, however small the sum.
    unmasking._JOB_US, unmasking._FEWEST_MASKS, unmasking._FEWEST_JOBS = 0.0, 0, 1
    serving.READ_S = wish["read_s"]
    if wish["dies"]:
        setattr(*DEATHS[wish["dies"]], die)

    def make():
        configure_logging(10)
        executor = make_executor(settings.unmasking) if settings.unmasking.executor == "cluster" else None
        app = create_app(settings, initial_model=initial_model(DIMENSION), executor=executor)
        coordinator = app.extensions["coordinator"]
        stop = getattr(coordinator, "stop", coordinator.stopping.set)
        return serving.ServedApp(app, start=coordinator.start_ticking, stop=stop, close=coordinator.close)

    port_file = Path(wish["port_file"])
    serving.serve(make, host="127.0.0.1", port=wish["port"], port_file=port_file, threads=wish["threads"])


def be_devices(wish):
    first, count = wish["first"], wish["count"]
    setting = FleetSetting(first, count, DIMENSION, {}, 600.0, distinct=True)
    fleet = [make_device(Path(wish["devices"]), wish["url"], n, setting)[0] for n in range(first, first + count)]
    while True:
        time.sleep(min(device.step() for device in fleet))


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's business here
    for line in sys.stdin:
        wish = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            with suppress(KeyboardInterrupt):
                (be_coordinator if "coordinator" in wish else be_devices)(wish)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
