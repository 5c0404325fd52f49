"""A process that is told to end does so at once, even when it is told just before a system call that waits.

Python runs a signal's handler in the main thread, between two of its instructions. A signal that arrives after the last
look and before the system call (or that the kernel hands to another thread) interrupts nothing: the handler runs when
the call returns, which for a request to a silent server is when its time is up. So a thread hears of signals through
the wake-up descriptor, which is written in the very instant, and sends the first again to the main thread until its
handler has run.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection
from typing import NoReturn

_AGAIN_S = 0.05


def exit_on(numbers: Collection[signal.Signals]) -> None:
    """Raise :class:`SystemExit` (0) in the main thread when the first of these signals comes; ignore those after it.

    It is raised out of a request, a training or a pause; later signals do not disturb the tidying up.

    Raises:
        ValueError: called outside the main thread.
    """
    handled = threading.Event()

    def stop(_number: int, _frame: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        handled.set()
        raise SystemExit(0)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in numbers:
        signal.signal(number, stop)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_insist, args=(reader, frozenset(numbers), handled), name="signals", daemon=True).start()


def _insist(reader: int, numbers: Collection[int], handled: threading.Event) -> None:
    while (number := os.read(reader, 1)[0]) not in numbers:
        pass
    main = threading.main_thread().ident
    while main is not None and not handled.wait(_AGAIN_S):
        signal.pthread_kill(main, number)
