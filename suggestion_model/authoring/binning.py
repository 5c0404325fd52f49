"""Which bins the matcher's evidence is cut into: tenths that are not rare on unlabelled text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..catalog import MATCH_FEATURES
from ..features import DENSE_NAMES

RAREST = 0.003
"""A tenth that fewer of the sampled candidates fall into gets no bin."""


@dataclass(frozen=True, slots=True)
class Bins:
    """m bins; bin i holds the rows whose dense feature ``columns[i]`` rounds to ``tenths[i]`` tenths."""

    columns: NDArray[np.int32]
    """[m]"""
    tenths: NDArray[np.float32]
    """[m]"""


def choose_bins(dense: NDArray[np.float32]) -> Bins:
    """Bins from dense rows of best candidates, [n, DENSE_FEATURES]; a feature that never varies gets none."""
    columns: list[int] = []
    tenths: list[float] = []
    for name in MATCH_FEATURES:
        column = DENSE_NAMES.index(name)
        found, counts = np.unique(np.rint(dense[:, column] * np.float32(10)), return_counts=True)
        kept = found[counts >= RAREST * len(dense)]
        if len(found) > 1:
            columns += [column] * len(kept)
            tenths += kept.tolist()
    return Bins(np.array(columns, np.int32), np.array(tenths, np.float32))
