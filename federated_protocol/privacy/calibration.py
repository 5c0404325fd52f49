"""From a wish for privacy to the noise in a plan, and from a plan to what it costs: both ends compute the same.

The cohort's sum is charged as if it held the fewest devices that may ever be opened, of which a stated share lies about
its noise: ``smallest_aggregate - floor(corrupt_fraction * largest_cohort)`` devices' noise is counted on.
"""

from __future__ import annotations

import math

from federated_protocol.errors import CodecError
from federated_protocol.plan import (
    NO_DP_GUARANTEE,
    AggregationSetting,
    CodecSetting,
    MetricSetting,
    Plan,
    PrivacySetting,
    TaskKind,
    counter_names,
)
from federated_protocol.privacy.discrete_gaussian import LARGEST_SIXTEENTHS, SIXTEENTHS
from federated_protocol.privacy.estimates import estimated_names
from federated_protocol.privacy.zcdp import rounded_norm_bound, sum_rho


def noisy_devices(aggregation: AggregationSetting, corrupt_fraction: float) -> int:
    """How many devices' noise is certainly in any sum that is opened.

    Raises:
        CodecError: none would be.
    """
    certain = aggregation.smallest_aggregate - math.floor(corrupt_fraction * aggregation.largest_cohort)
    if certain < 1:
        raise CodecError(
            "so many devices may be corrupt that none is left whose noise counts: raise the smallest aggregate"
        )
    return certain


def noise_sixteenths_for(clip_steps: float, dimension: int, noise_multiplier: float, devices: int) -> int:
    """The scale of one device's noise, in 1/16 of a step, rounded up.

    Args:
        clip_steps: clip / step.
        dimension: coordinates that travel.
        noise_multiplier: z, the scale of the sum's noise over the sensitivity of one device, > 0.
        devices: from :func:`noisy_devices`.

    Raises:
        CodecError: more than the sampler gives: take a larger step.
    """
    sigma = noise_multiplier * rounded_norm_bound(clip_steps, dimension) / math.sqrt(devices)
    sixteenths = max(SIXTEENTHS // 2, math.ceil(sigma * SIXTEENTHS))
    if sixteenths > LARGEST_SIXTEENTHS:
        raise CodecError(f"the noise would span more than {LARGEST_SIXTEENTHS // SIXTEENTHS} steps: take a larger step")
    return sixteenths


def charge(codec: CodecSetting, aggregation: AggregationSetting, privacy: PrivacySetting) -> float:
    """rho of the one sum that a round with this plan releases."""
    return sum_rho(
        rounded_norm_bound(codec.clip / codec.step, codec.sent),
        codec.sent,
        codec.noise_sixteenths / SIXTEENTHS,
        noisy_devices(aggregation, privacy.corrupt_fraction),
    )


def privacy_label(privacy: PrivacySetting | None, rho: float = 0.0) -> str:
    """What devices and dashboards show for a plan."""
    if privacy is None:
        return NO_DP_GUARANTEE
    return f"differential privacy of the device: rho {rho:.3g} a round"


def check_privacy(plan: Plan) -> float:
    """What taking part in ``plan`` costs this device: rho, or 0 for a plan that guarantees nothing and says so.

    Raises:
        CodecError: label, noise and fields do not fit together, so that the plan promises more than it keeps.
    """
    privacy, codec = plan.noise, plan.codec
    if privacy is None:
        if codec.noise_sixteenths or plan.privacy != NO_DP_GUARANTEE:
            raise CodecError(f"a plan without a privacy setting adds no noise and is labelled {NO_DP_GUARANTEE!r}")
        return 0.0
    if not (0 < privacy.delta <= 1e-3 and 0 <= privacy.corrupt_fraction < 1 and codec.noise_sixteenths):
        raise CodecError("a private plan adds noise, and states delta up to 0.001 and a corrupt fraction in [0, 1)")
    if counter_names(plan.metrics):
        raise CodecError("a private plan has no exact counters: everything lies inside the clipped, noised vector")
    names = estimated_names(plan.metrics)
    whole = codec.sent == codec.dimension == len(names)
    if bool(names) != (plan.kind is TaskKind.ANALYTICS) or (names and not whole):
        raise CodecError("a private plan counts usage in analytics alone, where the vector is that of the usage")
    rho = charge(codec, plan.aggregation, privacy)
    if plan.privacy != privacy_label(privacy, rho):
        raise CodecError("the plan's label does not say what its noise gives")
    return rho


def nothing_counted(metrics: MetricSetting) -> MetricSetting:
    """The metrics of a private task that trains: none."""
    return MetricSetting(slots=(), score_edges=(), propensity_scale=metrics.propensity_scale, exact=False)
