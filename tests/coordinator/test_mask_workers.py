"""What expands masks: it begins when it is needed, survives its workers, and ends with its owner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import pytest

from coordinator.aggregation.mask_workers import WorkerProcesses, make_executor
from coordinator.errors import SettingsError
from coordinator.settings import UnmaskingSettings, load_settings

KEY = "ab" * 32


def test_processes_begin_with_the_first_job_and_anew_after_one_was_killed() -> None:
    workers = WorkerProcesses(1)
    try:
        first = workers.submit(os.getpid).result(60)
        assert first != os.getpid()
        os.kill(first, signal.SIGKILL)
        following = first
        while following == first:
            with contextlib.suppress(BrokenExecutor):  # a job that was handed to the dead one
                following = workers.submit(os.getpid).result(60)
        assert following != os.getpid()
    finally:
        workers.shutdown()


def test_workers_end_with_a_killed_coordinator() -> None:
    program = (
        "import os\n"
        "from coordinator.aggregation.mask_workers import WorkerProcesses\n"
        "print(WorkerProcesses(1).submit(os.getpid).result(60), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        # The worker holds the pipe's other end too: it closes when parent and worker are both gone.
        output, _ = parent.communicate(timeout=60)
    assert int(output) > 0


def test_the_settings_choose_the_executor() -> None:
    assert isinstance(make_executor(UnmaskingSettings()), WorkerProcesses)
    with make_executor(UnmaskingSettings(executor="threads", workers=2)) as threads:
        assert isinstance(threads, ThreadPoolExecutor)


@pytest.mark.parametrize("wrong", [{"unmasking.executor": "fork"}, {"unmasking.workers": -1}])
def test_other_executors_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="unmasking"):
        load_settings(overrides={"authority_public_key": KEY, **wrong})
