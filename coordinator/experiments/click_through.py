"""Offers a line, clicks a line and click-through rate by arm and model version.

CTR alone is maximised by offering nothing, so it is never shown without offers a line and clicks a line beside it. The
holdback arm stays on one version (v0, until another is rolled out to all arms) while treatment moves on: the two are
compared at the same time, by sums over the same rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coordinator.experiments.statistics import ArmSums
from federated_protocol.plan import USAGE_MOMENTS, MetricSlot

_NO_SUMS = ArmSums()
_ESTIMATED = ("lines_variance", "offers_variance", "clicks_variance")
_COUNTED = frozenset(("lines", "offers", "clicks", *_ESTIMATED, *USAGE_MOMENTS))


@dataclass(frozen=True, slots=True)
class ArmUsage:
    """Sums of one (arm, version)."""

    arm: str
    version: int
    lines: int
    offers: int
    clicks: int
    moments: ArmSums = _NO_SUMS
    """The six sums at the level of devices."""
    lines_variance: int = 0
    """Of the noise on ``lines``, in a task with noise: the counts are estimates then, and may be below zero."""
    offers_variance: int = 0
    clicks_variance: int = 0

    @property
    def offers_per_line(self) -> float | None:
        """How often a line came with an offer; None without lines."""
        return self.offers / self.lines if self.lines > 0 else None

    @property
    def clicks_per_line(self) -> float | None:
        """How often a line ended in a tap; None without lines."""
        return self.clicks / self.lines if self.lines > 0 else None

    @property
    def click_through_rate(self) -> float | None:
        """Taps per offer; None without offers."""
        return self.clicks / self.offers if self.offers > 0 else None

    @property
    def click_through_noise(self) -> float | None:
        """Standard deviation that noise gives the click-through rate (delta method); None where counts are exact."""
        rate = self.click_through_rate
        if rate is None or not self.offers_variance:
            return None
        return math.sqrt(self.clicks_variance + rate**2 * self.offers_variance) / self.offers


def usage_by_arm(sums: Mapping[str, int]) -> list[ArmUsage]:
    """Read the counters named by :func:`federated_protocol.plan.counter_names`; by arm, then version."""
    found: dict[tuple[str, int], dict[str, int]] = {}
    for name, value in sums.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[2] in _COUNTED:
            found.setdefault((parts[0], int(parts[1])), {})[parts[2]] = value
    return [
        ArmUsage(
            arm,
            version,
            counts.get("lines", 0),
            counts.get("offers", 0),
            counts.get("clicks", 0),
            ArmSums(*(counts.get(name, 0) for name in USAGE_MOMENTS)),
            *(counts.get(name, 0) for name in _ESTIMATED),
        )
        for (arm, version), counts in sorted(found.items())
    ]


def metric_slots(current_version: int, newest: int, holdback: int = 0) -> tuple[MetricSlot, ...]:
    """The slots a plan counts: the holdback on its version and treatment on the newest versions, oldest first."""
    first = max(0, current_version - newest + 1)
    treatment = (MetricSlot(arm="treatment", version=version) for version in range(first, current_version + 1))
    return (MetricSlot(arm="holdback", version=holdback), *treatment)


def total_usage(usages: Iterable[ArmUsage], arm: str) -> ArmUsage:
    """One arm over all its versions; the version of the result is the newest."""
    chosen = [usage for usage in usages if usage.arm == arm]
    return ArmUsage(
        arm=arm,
        version=max((usage.version for usage in chosen), default=0),
        lines=sum(usage.lines for usage in chosen),
        offers=sum(usage.offers for usage in chosen),
        clicks=sum(usage.clicks for usage in chosen),
        moments=sum((usage.moments for usage in chosen), ArmSums()),
        lines_variance=sum(usage.lines_variance for usage in chosen),
        offers_variance=sum(usage.offers_variance for usage in chosen),
        clicks_variance=sum(usage.clicks_variance for usage in chosen),
    )
