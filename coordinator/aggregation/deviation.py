"""Which cohort's sum is too far from the others' to be averaged with them.

Under masks a malicious device can add any vector to its cohort's sum, so nothing can be said about devices; about
cohorts it can, since who is in which was drawn by chance. Honest cohorts' mean updates scatter around the same vector,
with an error that falls with the square root of their size. The centre is the coordinate-wise median over cohorts and
the scale the median distance from it: neither moves far while most cohorts are honest (Yin et al., arXiv 1803.01498).
An update that is boosted, or that points elsewhere, lies many scales away; one that stays inside the scatter is not
noticed, and does little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST_COHORTS = 4
"""Of three cohorts, two that agree by chance would make the third look far away."""


def deviations(means: Sequence[NDArray[np.float64]], devices: Sequence[int]) -> NDArray[np.float64]:
    """How far each cohort's mean update is from the median cohort's, in units of the median distance.

    Parameters
    ----------
    means
        A vector [d] for each cohort; one that is not finite deviates infinitely.
    devices
        In each cohort's sum. The weights they reported are not used: a liar reports any.

    Returns
    -------
    One number >= 0 a cohort. The median cohort has 1, unless at least half of them agree exactly.
    """
    stacked = np.stack(means)
    finite = np.isfinite(stacked).all(axis=1)
    far = np.full(len(means), np.inf)
    if not finite.any():
        return far
    centre = np.median(stacked[finite], axis=0)
    distances = np.linalg.norm(stacked[finite] - centre, axis=1) * np.sqrt(np.asarray(devices, float)[finite])
    scale = float(np.median(distances))
    far[finite] = np.where(distances == 0, 0.0, np.inf) if scale == 0 else distances / scale
    return far


def deviant_cohorts(means: Sequence[NDArray[np.float64]], devices: Sequence[int], largest: float) -> frozenset[int]:
    """Places of the cohorts that are left out: those that deviate by more than ``largest``; 0 leaves none out.

    Fewer than half of them by construction, and none of fewer than :data:`FEWEST_COHORTS`.
    """
    if not largest or len(means) < FEWEST_COHORTS:
        return frozenset()
    return frozenset(int(place) for place in np.flatnonzero(deviations(means, devices) > largest))
