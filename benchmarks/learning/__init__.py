"""The laboratory: what federated learning is worth beside its alternatives, on people and days nobody trained on.

One command runs the whole: real typists on the real session and log (:mod:`.typing_stage`), the training algorithms on
what the logs hold (:mod:`.federated`, :mod:`.methods`), and one judge for all of them (:mod:`.judging`). Everything
that costs more than a moment is kept under a cache folder and taken up again after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import Value

DESCRIPTION = "every training method on one replay: CTR, AUC, rounds and bytes"


def main(argv: Sequence[str]) -> dict[str, Value]:
    """Run; see :mod:`benchmarks.learning.command`."""
    from benchmarks.learning.command import run

    return run(argv)
