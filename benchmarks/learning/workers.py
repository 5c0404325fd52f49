"""Work shared out over processes, results as they come; one process means this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import TypeVar

from keyboard_app.simulation.processes import die_with_parent

Setup = TypeVar("Setup")
Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Setup, Item], Result], setup: Setup, items: Sequence[Item], processes: int
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, ``work(setup, item)``) in the order of completion.

    Whoever stops asking (an error, Ctrl-C) ends the processes; what was yielded is what is done.

    Args:
        work: a function of a module; what it wants to keep between items it keeps itself.
        setup: the same for all items.
        items: taken up in this order.
        processes: at most so many; with one, everything happens in this process.
    """
    if min(processes, len(items)) <= 1:
        for item in items:
            yield item, work(setup, item)
        return
    pool = ProcessPoolExecutor(min(processes, len(items)), mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        running: dict[Future[Result], Item] = {pool.submit(work, setup, item): item for item in items}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BaseException:
        busy = list((pool._processes or {}).values())  # the pool forgets them as it shuts down
        pool.shutdown(wait=False, cancel_futures=True)
        for process in busy:
            process.terminate()
        raise
    pool.shutdown()


def _begin_worker() -> None:
    """End with the parent and not by Ctrl-C; be silent: LiteRT greets every process on standard error."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
