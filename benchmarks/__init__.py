"""Benchmarks: ``python -m benchmarks NAME [options] [--json]``; ``python -m benchmarks`` lists them.

A benchmark is a module ``benchmarks/NAME.py`` (``-`` in the name for ``_`` in the file), or a package, with

``DESCRIPTION: str``
    one line for the list, and
``main(argv: Sequence[str]) -> Mapping[str, Value]``
    parses its own options (argparse, so that ``--help`` works), measures, and returns its results: names with units
    in them (``p99_ms``), values that JSON knows. Goals are reported beside the figures (``goal_p99_ms``). It prints
    nothing on standard output; progress goes to standard error. A :class:`BenchmarkError` ends it with a sentence.

The dispatcher prints the results as one JSON object with ``--json``, else as a table. Figures are wall-clock times of
this machine at this moment: compare runs of one machine only, and keep it idle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"] | None
"""Anything JSON knows."""


class BenchmarkError(Exception):
    """The benchmark cannot run; the message says what to do."""
