"""Rare features made as loud as common ones, by the counts of all devices (diagonal preconditioning).

The gradient of a feature that one row in a thousand holds is a thousandth of the bias's, and so is its progress under
any step that the bias can bear. Where the secure sum of counts is there (:mod:`.fsvrg`), every device can multiply the
values of feature j by ``sqrt(min(n / n^j, most))`` and divide its weight by the same: the same model, whose curvature
is about as large in every direction. Plain steps on the scaled rows are steps by ``min(n / n^j, most)`` times the
gradient on the rows as they were (Jacobi's preconditioner for the diagonal of the Hessian).
"""

from __future__ import annotations

import numpy as np

from ..sparse import Floats
from .fsvrg import Spread

MOST = 300.0
"""Rarer features than one row in so many are scaled no further: what few rows say is mostly noise."""


def count_scale(spread: Spread, most: float = MOST) -> Floats:
    """What values are multiplied and weights divided by, float64[d], in [1, sqrt(most)]; no label is looked at."""
    return np.sqrt(np.minimum(max(spread.total, 1) / np.maximum(spread.examples, 1), most))
