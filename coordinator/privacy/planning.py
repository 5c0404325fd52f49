"""From the settings to the noise in a plan, and the label that follows from it."""

from __future__ import annotations

import msgspec

from coordinator.settings import Settings
from federated_protocol.plan import AggregationSetting, CodecSetting, Plan, PrivacySetting
from federated_protocol.privacy import charge, estimated_names, noise_sixteenths_for, privacy_label
from federated_protocol.privacy.calibration import noisy_devices, nothing_counted
from federated_protocol.randomness import ByteSource
from federated_protocol.update_codec import solve_codec

SEED_BYTES = 32
USAGE_STEPS = 64
"""Quantisation levels in the norm of one device's usage: rounding adds three percent to what is charged."""


def plan_noise(settings: Settings, sent: int, aggregation: AggregationSetting) -> int:
    """Scale of each device's noise, in 1/16 of a step; 0 when the task guarantees nothing.

    Parameters
    ----------
    sent
        Coordinates that travel.

    Raises
    ------
    CodecError
        when the noise cannot be had with these settings.
    """
    privacy, codec = settings.privacy, settings.codec
    if privacy.noise_multiplier == 0:
        return 0
    devices = noisy_devices(aggregation, privacy.corrupt_fraction)
    return noise_sixteenths_for(codec.clip / codec.step, sent, privacy.noise_multiplier, devices)


def usage_codec(settings: Settings, names: int, aggregation: AggregationSetting, rng: ByteSource) -> CodecSetting:
    """The codec of an analytics round with noise: ``names`` counts of usage are the vector.

    Raises
    ------
    CodecError
        when the noise cannot be had with these settings.
    """
    privacy, clip = settings.privacy, settings.metrics.usage_norm
    devices = noisy_devices(aggregation, privacy.corrupt_fraction)
    return solve_codec(
        dimension=names,
        clip=clip,
        step=clip / USAGE_STEPS,
        rotation_seed=rng(SEED_BYTES),
        weight_levels=1,
        largest_cohort=aggregation.largest_cohort,
        noise_sixteenths=noise_sixteenths_for(USAGE_STEPS, names, privacy.noise_multiplier, devices),
    )


def plan_usage_privacy(settings: Settings, plan: Plan, rng: ByteSource) -> Plan:
    """An analytics plan whose counts lie under the noise; as it is where the task guarantees nothing."""
    if settings.privacy.noise_multiplier == 0:
        return plan
    metrics = msgspec.structs.replace(plan.metrics, exact=False)
    codec = usage_codec(settings, len(estimated_names(metrics)), plan.aggregation, rng)
    return _labelled(settings, msgspec.structs.replace(plan, codec=codec, metrics=metrics))


def plan_privacy(settings: Settings, plan: Plan) -> Plan:
    """The plan with its label; one with noise states its assumptions and counts nothing exactly."""
    if not plan.codec.noise_sixteenths:
        return plan
    return _labelled(settings, msgspec.structs.replace(plan, metrics=nothing_counted(plan.metrics)))


def _labelled(settings: Settings, plan: Plan) -> Plan:
    noise = PrivacySetting(delta=settings.privacy.delta, corrupt_fraction=settings.privacy.corrupt_fraction)
    label = privacy_label(noise, charge(plan.codec, plan.aggregation, noise))
    return msgspec.structs.replace(plan, noise=noise, privacy=label)
