"""Click-through rates with intervals that hold, from six sums an arm.

People differ, so offers to one person are not independent, and the usual test of two proportions alarms far too
often. The randomised unit is the device: with c and m its clicks and offers, the rate R = Σc / Σm has by the delta
method the variance [S_cc - 2 R S_cm + R² S_mm] / (n m̄²), where S are the (co)variances over devices. Six sums are all
it needs (n, Σc, Σm, Σc², Σm², Σcm), and those are what devices add under their masks.

Whoever looks at every round needs more than an interval: :func:`sequence_factor` widens it to a confidence sequence
(Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, arXiv 2103.06476, theorem 2.2), which holds at all looks together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

FEWEST_DEVICES = 30
"""Below this many devices in an arm the normal approximation is not trusted: nothing is decided."""
FEWEST_ROUNDS = 6
"""Rounds without which nothing is said about clicks a line."""
PLANNED_DEVICES = 2_000
"""The confidence sequence is tightest at this many devices, counted as two equal arms would need them."""
SAMPLE_RATIO_ALARM = 0.001
"""p-value below which the arms' sizes contradict the assignment."""


@dataclass(frozen=True, slots=True)
class ArmSums:
    """The six sums of one arm, over devices."""

    n: int = 0
    c: int = 0
    m: int = 0
    cc: int = 0
    mm: int = 0
    cm: int = 0

    def __add__(self, other: ArmSums) -> ArmSums:
        return ArmSums(
            self.n + other.n,
            self.c + other.c,
            self.m + other.m,
            self.cc + other.cc,
            self.mm + other.mm,
            self.cm + other.cm,
        )

    @property
    def enough(self) -> bool:
        """Whether the arm has :data:`FEWEST_DEVICES` devices and any offer."""
        return self.n >= FEWEST_DEVICES and self.m > 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its standard error at the level of devices; ``n`` devices stand behind it."""

    value: float
    standard_error: float
    n: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """For one look: covers the truth with probability ``level`` when looked at once."""
        half = NormalDist().inv_cdf(0.5 + level / 2) * self.standard_error
        return self.value - half, self.value + half

    def sequence(self, level: float = 0.95, planned: int = PLANNED_DEVICES) -> tuple[float, float]:
        """For any number of looks: covers the truth at all of them together with probability ``level``."""
        half = sequence_factor(self.n, 1 - level, planned) * self.standard_error
        return self.value - half, self.value + half


def sequence_factor(n: int, alpha: float, planned: int = PLANNED_DEVICES) -> float:
    """Standard errors on either side of an asymptotic confidence sequence after ``n`` devices.

    sqrt((nρ² + 1) / (nρ²) · 2 log(sqrt(nρ² + 1) / alpha)), with ρ chosen to be tightest at ``planned`` devices
    (arXiv 2103.06476, theorem 2.2 and appendix B.2).
    """
    if n <= 0:
        return math.inf
    log_term = -2 * math.log(alpha)
    rho2 = (log_term + math.log(log_term + 1)) / planned
    grown = n * rho2 + 1
    return math.sqrt(grown / (n * rho2) * 2 * math.log(math.sqrt(grown) / alpha))


def click_through(sums: ArmSums) -> Estimate | None:
    """Clicks an offer, with its delta-method standard error; None without two devices and an offer."""
    if sums.n < 2 or sums.m <= 0:
        return None
    rate = sums.c / sums.m
    # Σ(c - R m)² is the numerator's n-fold: the residuals have mean zero by the choice of R.
    residual = max(sums.cc - 2 * rate * sums.cm + rate * rate * sums.mm, 0.0)
    variance = residual / (sums.n - 1) * sums.n / sums.m**2
    return Estimate(rate, math.sqrt(variance), sums.n)


def clustered_rate(counts: Sequence[int], exposures: Sequence[int], devices: int) -> Estimate | None:
    """Counts an exposure (clicks a line, offers a line), with rounds as clusters.

    A version is used for some hours by this device and for days by that one, so clicks *a device* cannot be compared
    between arms; clicks a line can. No sum holds products of lines, but every round is a cohort of its own, drawn by
    chance: the residuals of the rounds give the error of the ratio (Cochran, Sampling Techniques, section 6.3), widened
    by (k - 1) / (k - 3), because k rounds are few.

    Parameters
    ----------
    counts, exposures
        By round.
    devices
        Behind all of them, for the confidence sequence.

    Returns
    -------
    None with fewer than :data:`FEWEST_ROUNDS` rounds that had exposure.
    """
    pairs = [(c, e) for c, e in zip(counts, exposures, strict=True) if e > 0]
    k, total = len(pairs), sum(e for _, e in pairs)
    if k < FEWEST_ROUNDS:
        return None
    rate = sum(c for c, _ in pairs) / total
    residual = math.fsum((c - rate * e) ** 2 for c, e in pairs)
    variance = residual * k / (k - 1) / total**2 * (k - 1) / (k - 3)
    return Estimate(rate, math.sqrt(variance), devices)


def difference(treatment: Estimate, control: Estimate) -> Estimate:
    """Treatment minus control, two independent groups of devices."""
    error = math.hypot(treatment.standard_error, control.standard_error)
    return Estimate(treatment.value - control.value, error, _effective(treatment.n, control.n))


def ratio(treatment: Estimate, control: Estimate) -> Estimate | None:
    """Treatment divided by control (1.1 is ten per cent more; "retained" when it is clicks), by the delta method.

    None when the control is zero.
    """
    if control.value == 0:
        return None
    value = treatment.value / control.value
    error = math.hypot(treatment.standard_error, value * control.standard_error) / abs(control.value)
    return Estimate(value, error, _effective(treatment.n, control.n))


def _effective(a: int, b: int) -> int:
    """Devices that two arms are worth together, balanced: 4ab / (a + b). The smaller arm is what makes a look early."""
    return round(4 * a * b / (a + b)) if a + b else 0


def sample_ratio(treatment: int, control: int, control_share: float) -> float:
    """Two-sided p-value of arm sizes this far from the assignment: exact binomial, for large totals normal.

    Below :data:`SAMPLE_RATIO_ALARM` something loses devices of one arm, and no rate should be compared.
    """
    if not 0 < control_share < 1:
        raise ValueError("control_share must lie strictly between 0 and 1")
    total = treatment + control
    if total == 0:
        return 1.0
    if total > _EXACT_UP_TO:
        deviation = (control - control_share * total) ** 2 / (total * control_share * (1 - control_share))
        return math.erfc(math.sqrt(deviation / 2))
    low = math.fsum(_binomial(k, total, control_share) for k in range(control + 1))
    high = math.fsum(_binomial(k, total, control_share) for k in range(control, total + 1))
    return min(1.0, 2 * min(low, high))


_EXACT_UP_TO = 2_000


def _binomial(k: int, n: int, p: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
