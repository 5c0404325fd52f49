"""Log lines that cannot carry data: a fixed event name and numbers, nothing else.

A federated server's logs must not become a side channel. So there is one way to write a line, and it takes an
:class:`Event` and numbers; a text, a name, a key or a payload does not fit through its type. Failures add the class
of the exception and the code lines it passed, never its message.
"""

from __future__ import annotations

import enum
import logging
import traceback
from pathlib import Path

_LOGGER = logging.getLogger("coordinator")


class Event(enum.StrEnum):
    """Everything the coordinator ever says in its log."""

    STARTED = "started"
    STOPPED = "stopped"
    REFUSED = "refused"
    INTERNAL_ERROR = "internal_error"
    TICK_FAILED = "tick_failed"
    ROUND_MOVED = "round_moved"
    ROUND_RESUMED = "round_resumed"
    SUM_OPENED = "sum_opened"
    SUM_FAILED = "sum_failed"
    MODEL_PUBLISHED = "model_published"
    CERTIFICATE_ISSUED = "certificate_issued"


def log_event(event: Event, *, level: int = logging.INFO, **numbers: float) -> None:
    """Write one line ``event key=number ...``."""
    for name, value in numbers.items():
        if not isinstance(value, int | float):
            raise TypeError(f"log field {name!r} must be a number: log lines cannot carry data")
    _LOGGER.log(level, "%s %s", event.value, " ".join(f"{name}={value:g}" for name, value in numbers.items()))


def log_failure(event: Event, error: BaseException, **numbers: float) -> None:
    """Write one line for an unexpected error: its class and the code it passed, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    fields = " ".join(f"{name}={value:g}" for name, value in numbers.items())
    _LOGGER.error("%s %s class=%s at %s", event.value, fields, type(error).__name__, where)


def configure_logging(level: int = logging.INFO) -> None:
    """Send the coordinator's lines to standard error, with the time in front."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(level)
    _LOGGER.propagate = False
