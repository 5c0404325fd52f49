"""Where simulated work is done: on processes of this machine, or on a Dask cluster by address.

Work is a function of a module and its arguments, and gives the same wherever it runs; what a worker keeps between calls
is a memo of something it could make again. On a cluster the workers need this checkout on their path and the files
that are named (replay, catalog, cache) where they stand here: a shared folder.
"""

from __future__ import annotations

import os
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from benchmarks import BenchmarkError
from coordinator.aggregation.cluster import Cluster, ClusterExecutor, ClusterUnreachableError
from coordinator.errors import SettingsError
from keyboard_app.simulation.processes import die_with_parent

Setup = TypeVar("Setup")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Post(Protocol):
    """One worker, or one at a time: what is submitted here meets what was kept there before."""

    def __call__(self, work: Callable[..., Result], /, *arguments: Any) -> Future[Result]:
        """Begin a piece of work."""
        ...


@dataclass(frozen=True, slots=True)
class Workers:
    """So many processes of this machine; or a cluster, whose workers then share as many parts of the work."""

    count: int
    cluster: Cluster | None = None

    def each(
        self, work: Callable[[Setup, Item], Result], setup: Setup, items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, ``work(setup, item)``) in the order of completion; one process means this one.

        Whoever stops asking (an error, Ctrl-C) ends the processes; what was yielded is what is done.

        Args:
            work: a function of a module; what it wants to keep between items it keeps itself.
            setup: the same for all items.
            items: taken up in this order.

        Raises:
            BenchmarkError: the cluster cannot be used.
        """
        if self.cluster is None and min(self.count, len(items)) <= 1:
            for item in items:
                yield item, work(setup, item)
            return
        with self._pool(min(self.count, len(items))) as submit:
            running: dict[Future[Result], Item] = {submit(work, setup, item): item for item in items}
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()

    @contextmanager
    def posts(self) -> Iterator[list[Post]]:
        """So many posts, each always the same process (on a cluster: the same worker, unless that is lost).

        Raises:
            BenchmarkError: the cluster cannot be used.
        """
        if self.cluster is not None:
            with _connected(self.cluster) as executor:
                yield [_place(executor, number) for number in range(self.count)]
            return
        pools = [_processes(1) for _ in range(self.count)]
        with _ending(pools):
            yield [pool.submit for pool in pools]

    @contextmanager
    def _pool(self, most: int) -> Iterator[Post]:
        if self.cluster is not None:
            with _connected(self.cluster) as executor:
                yield executor.submit
            return
        pool = _processes(most)
        with _ending([pool]):
            yield pool.submit


def add_options(parser: ArgumentParser, processes: int) -> None:
    """Add ``--processes`` and ``--cluster`` with its certificates; :func:`chosen_workers` reads them."""
    parser.add_argument(
        "--processes",
        type=int,
        default=processes,
        help=f"worker processes, or parts for a cluster (default {processes})",
    )
    parser.add_argument("--cluster", metavar="tls://HOST:PORT", help="a Dask scheduler instead of local processes")
    for name, text in (("ca-file", "that signed the cluster's certificate"), ("cert", "of ours"), ("key", "to it")):
        parser.add_argument(f"--tls-{name}", metavar="FILE", help=f"with --cluster: PEM file {text}")


def chosen_workers(parser: ArgumentParser, options: Namespace) -> Workers:
    """What the command line asks for; ends the program where it contradicts itself."""
    files = (options.tls_ca_file, options.tls_cert, options.tls_key)
    if options.processes < 1:
        parser.error("--processes must be at least 1")
    if options.cluster is None:
        if any(files):
            parser.error("certificates are for --cluster")
        return Workers(options.processes)
    if not (options.cluster.startswith("tls://") and all(files)):
        parser.error("--cluster wants tls://HOST:PORT, --tls-ca-file, --tls-cert and --tls-key")
    return Workers(options.processes, Cluster(options.cluster, *files))


# -- on a cluster --------------------------------------------------------------------------------------------------


@contextmanager
def _connected(cluster: Cluster) -> Iterator[ClusterExecutor]:
    try:
        executor = ClusterExecutor(cluster, job_s=None)
    except SettingsError as error:
        raise BenchmarkError(str(error)) from None
    try:
        yield executor
    except ClusterUnreachableError:
        raise BenchmarkError(f"no scheduler answers at {cluster.scheduler}, or it refuses the certificate") from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _place(executor: ClusterExecutor, number: int) -> Post:
    def submit(work: Callable[..., Result], /, *arguments: Any) -> Future[Result]:
        return executor.submit_to(number, work, *arguments)

    return submit


# -- on this machine -----------------------------------------------------------------------------------------------


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin_worker)


@contextmanager
def _ending(pools: Sequence[ProcessPoolExecutor]) -> Iterator[None]:
    """Wait for what is under way, unless something went wrong: then end it."""
    try:
        yield
    except BaseException:
        for pool in pools:
            busy = list((pool._processes or {}).values())  # the pool forgets them as it shuts down
            pool.shutdown(wait=False, cancel_futures=True)
            for process in busy:
                process.terminate()
        raise
    for pool in pools:
        pool.shutdown()


def _begin_worker() -> None:
    """End with the parent and not by Ctrl-C; be silent: LiteRT greets every process on standard error."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
