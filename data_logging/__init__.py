"""The local log: what was offered, in which context, and what became of it. It never leaves the device.

- `records`: the typed rows
- `redaction`: what is cut out of text before it is stored
- `schema`: tables and their migrations
- `storage`: SQLite connections, transactions and what happens when the file is damaged
- `log`: :class:`ImpressionLog`, the one object others use
- `errors`: what can go wrong

docs/local-log.md describes every column and how long it is kept.
"""

from data_logging.errors import (
    LogBusyError,
    LogError,
    LogRecovered,
    LogTooNewError,
    LogUnavailableError,
    UnknownRowError,
)
from data_logging.log import ImpressionLog, LogSummary
from data_logging.records import Impression, LoggedImpression, Outcome, UsageCount
from data_logging.redaction import redact

__all__ = [
    "Impression",
    "ImpressionLog",
    "LogBusyError",
    "LogError",
    "LogRecovered",
    "LogSummary",
    "LogTooNewError",
    "LogUnavailableError",
    "LoggedImpression",
    "Outcome",
    "UnknownRowError",
    "UsageCount",
    "redact",
]
