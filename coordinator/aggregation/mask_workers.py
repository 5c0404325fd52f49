"""What expands masks when a sum is opened: worker processes on this machine, threads, or a cluster.

Threads of one process share Python's lock, and neither AES nor X25519 releases it for calls as short as ours: two
threads expand no more masks than one. Processes do. They start with the first sum that is worth it, stay, and end with
the process that made them, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from coordinator.settings import UnmaskingSettings

P = ParamSpec("P")
T = TypeVar("T")


def make_executor(settings: UnmaskingSettings) -> Executor:
    """The executor that the settings ask for; nothing runs before the first job."""
    if settings.executor == "cluster":
        from coordinator.aggregation.cluster import Cluster, ClusterExecutor

        return ClusterExecutor(Cluster(settings.scheduler, settings.authority, settings.certificate, settings.key))
    workers = settings.workers or os.cpu_count() or 1
    if settings.executor == "threads":
        return ThreadPoolExecutor(workers, "masks")
    return WorkerProcesses(workers)


class WorkerProcesses(Executor):
    """A pool of processes that begins with its first job, and anew after one of them was killed.

    Parameters
    ----------
    workers
        Processes; one a core is right.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See :meth:`concurrent.futures.Executor.submit`; ``fn`` must be importable."""
        with self._lock:
            if self._pool is not None:
                try:
                    return self._pool.submit(fn, *args, **kwargs)
                except BrokenExecutor:
                    self._pool.shutdown(wait=False)
            # Not forked: this process has threads, whose locks a fork would copy in whatever state they are.
            spawning = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawning, _begin_worker)
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See :meth:`concurrent.futures.Executor.shutdown`."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _begin_worker() -> None:
    """A key press that stops the coordinator is not for its workers; its end, of whatever kind, is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
