"""One model version against the holdback: the report a team decides on, and the verdict automatic rollback needs.

Click-through rate alone is maximised by offering nothing. So it never stands alone: clicks and offers a line,
relative to the holdback's ("retained"), stand beside it, and a version is as bad when people click less as when they
click a smaller share. All bounds of verdicts are confidence sequences: looking after every round is what they are for.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

import msgspec

from coordinator.experiments import statistics
from coordinator.experiments.click_through import ArmUsage, usage_by_arm
from coordinator.experiments.statistics import SAMPLE_RATIO_ALARM, ArmSums, Estimate, sample_ratio

CONTROL, TREATMENT = "holdback", "treatment"


class Verdict(enum.StrEnum):
    """What the evidence says about a version."""

    TOO_EARLY = "too_early"
    """Fewer devices than any interval is trusted for."""
    UNDECIDED = "undecided"
    BETTER = "better"
    """More clicks an offer, and no fewer clicks a line."""
    CTR_DROPPED = "ctr_dropped"
    CLICKS_DROPPED = "clicks_dropped"
    SAMPLE_RATIO = "sample_ratio"
    """The arms' sizes contradict the assignment: nothing can be concluded."""

    @property
    def harmful(self) -> bool:
        """Whether the version should be rolled back."""
        return self in (Verdict.CTR_DROPPED, Verdict.CLICKS_DROPPED)


class Bounded(msgspec.Struct, frozen=True):
    """A value, its interval for one look and its bounds for any number of looks."""

    value: float
    low: float
    high: float
    always_low: float
    always_high: float


class Comparison(msgspec.Struct, frozen=True):
    """A version against the holdback over the rounds that counted both; None without enough to say."""

    version: int
    compared_with: int
    """The version that the holdback ranked with."""
    treatment_devices: int
    holdback_devices: int
    ctr: Bounded | None
    holdback_ctr: Bounded | None
    ctr_difference: Bounded | None
    clicks_retained: Bounded | None
    """Clicks a line relative to the holdback's; 1 is equal. None before enough rounds counted both."""
    offers_retained: Bounded | None
    """Offers a line, likewise."""
    sample_ratio_p: float
    verdict: Verdict


def compare(
    version: int,
    treatment: ArmSums,
    holdback: ArmSums,
    *,
    compared_with: int = 0,
    clicks: Estimate | None = None,
    offers: Estimate | None = None,
    sample_ratio_p: float = 1.0,
    level: float = 0.95,
) -> Comparison:
    """Judge ``treatment``, the sums of one version, against ``holdback``.

    ``clicks`` and ``offers`` are those a line, relative to the holdback's; ``level`` is the confidence of every bound.
    A click guardrail asks for a loss of more than a tenth, the rate for
    any loss: a version meant to offer less may lose a few clicks.
    """
    ours, theirs = statistics.click_through(treatment), statistics.click_through(holdback)
    gap = None if ours is None or theirs is None else statistics.difference(ours, theirs)
    return Comparison(
        version=version,
        compared_with=compared_with,
        treatment_devices=treatment.n,
        holdback_devices=holdback.n,
        ctr=_bounded(ours, level),
        holdback_ctr=_bounded(theirs, level),
        ctr_difference=_bounded(gap, level),
        clicks_retained=_bounded(clicks, level),
        offers_retained=_bounded(offers, level),
        sample_ratio_p=sample_ratio_p,
        verdict=_verdict(treatment, holdback, gap, clicks, sample_ratio_p, level),
    )


SMALLEST_CLICKS_RETAINED = 0.9
"""Guardrail: clicks a line may fall to this share of the holdback's before a version counts as harmful."""


def _verdict(
    treatment: ArmSums,
    holdback: ArmSums,
    gap: Estimate | None,
    clicks: Estimate | None,
    sample_ratio_p: float,
    level: float,
) -> Verdict:
    if sample_ratio_p < SAMPLE_RATIO_ALARM:
        return Verdict.SAMPLE_RATIO
    if gap is None or not (treatment.enough and holdback.enough):
        return Verdict.TOO_EARLY
    low, high = gap.sequence(level)
    if high < 0:
        return Verdict.CTR_DROPPED
    if clicks is not None and clicks.sequence(level)[1] < SMALLEST_CLICKS_RETAINED:
        return Verdict.CLICKS_DROPPED
    if low > 0 and (clicks is None or clicks.value >= 1):
        return Verdict.BETTER
    return Verdict.UNDECIDED


def compare_over_rounds(
    version: int,
    rounds: Sequence[Mapping[str, int]],
    holdback_share: float,
    *,
    compared_with: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Sum the counters of the rounds that asked for ``version`` and for the holdback's, and compare.

    Parameters
    ----------
    rounds
        The counters of each opened sum, by name (:func:`federated_protocol.plan.counter_names`).
    holdback_share
        Share of devices assigned to the holdback.
    """
    treatment, holdback = ArmSums(), ArmSums()
    smallest_p, looks = 1.0, 0
    usage: list[tuple[ArmUsage, ArmUsage]] = []
    for sums in rounds:
        usages = {(found.arm, found.version): found for found in usage_by_arm(sums)}
        if not {(TREATMENT, version), (CONTROL, compared_with)} <= usages.keys():
            continue
        usage.append((usages[TREATMENT, version], usages[CONTROL, compared_with]))
        treatment += usage[-1][0].moments
        holdback += usage[-1][1].moments
        looks += 1
        sizes = sums.get(f"devices/{TREATMENT}", 0), sums.get(f"devices/{CONTROL}", 0)
        smallest_p = min(smallest_p, sample_ratio(*sizes, holdback_share))
    # Every round is a test of its own (Bonferroni): the same devices come again, so their counts cannot be pooled.
    return compare(
        version,
        treatment,
        holdback,
        compared_with=compared_with,
        clicks=_retained(usage, lambda row: row.clicks, treatment.n, holdback.n),
        offers=_retained(usage, lambda row: row.offers, treatment.n, holdback.n),
        sample_ratio_p=min(1.0, smallest_p * max(looks, 1)),
        level=level,
    )


def _retained(
    usage: Sequence[tuple[ArmUsage, ArmUsage]], what: Callable[[ArmUsage], int], *devices: int
) -> Estimate | None:
    """What a line brings under the version, relative to the holdback."""
    ours, theirs = (
        statistics.clustered_rate([what(row[arm]) for row in usage], [row[arm].lines for row in usage], devices[arm])
        for arm in (0, 1)
    )
    return None if ours is None or theirs is None else statistics.ratio(ours, theirs)


def _bounded(estimate: Estimate | None, level: float) -> Bounded | None:
    if estimate is None:
        return None
    return Bounded(estimate.value, *estimate.interval(level), *estimate.sequence(level))
