"""From the settings to the noise in a plan, and the label that follows from it."""

from __future__ import annotations

import msgspec

from coordinator.settings import Settings
from federated_protocol.plan import AggregationSetting, Plan, PrivacySetting
from federated_protocol.privacy import charge, noise_sixteenths_for, privacy_label
from federated_protocol.privacy.calibration import noisy_devices, nothing_counted


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


def plan_privacy(settings: Settings, plan: Plan) -> Plan:
    """The plan with its label; one with noise states its assumptions and counts nothing exactly."""
    if not plan.codec.noise_sixteenths:
        return plan
    noise = PrivacySetting(delta=settings.privacy.delta, corrupt_fraction=settings.privacy.corrupt_fraction)
    return msgspec.structs.replace(
        plan,
        noise=noise,
        privacy=privacy_label(noise, charge(plan.codec, plan.aggregation, noise)),
        metrics=nothing_counted(plan.metrics),
    )
