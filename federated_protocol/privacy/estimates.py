"""Usage under noise: lines, offers and clicks as the coordinates of a clipped, noised vector of their own.

In a task with differential privacy nothing is counted exactly. An analytics round of such a task sends, in the place of
a model update, one vector of the device's counts under the plan's slots, each on a scale of its own
(:data:`USAGE_SCALES`): the device clips it to the codec's L2 norm, rotates, rounds and adds its share of the noise like
any update, and the sum costs what :func:`federated_protocol.privacy.charge` says of any sum. What is opened are
estimates: a device with more to report than the clip is scaled down, and noise of known size lies on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from federated_protocol.errors import CodecError
from federated_protocol.plan import CodecSetting, MetricSetting
from federated_protocol.privacy.discrete_gaussian import SIXTEENTHS

USAGE_SCALES: Mapping[str, float] = MappingProxyType({"lines": 0.125, "offers": 1.0, "clicks": 2.0})
"""What one line, offer or click adds to its coordinate: rare counts get the finer noise, frequent ones the coarser, and
none fills the clip alone. Part of the protocol, like the order of the coordinates."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A noisy sum."""

    value: float
    variance: float
    """Of noise and rounding; the clip's effect is not in it."""


def estimated_names(metrics: MetricSetting) -> tuple[str, ...]:
    """``{arm}/{version}/{what}`` for each slot and each of :data:`USAGE_SCALES`; empty where counts are exact."""
    if metrics.exact:
        return ()
    return tuple(f"{slot.arm}/{slot.version}/{what}" for slot in metrics.slots for what in USAGE_SCALES)


def usage_vector(metrics: MetricSetting, counted: Mapping[str, int]) -> NDArray[np.float64]:
    """One device's counts by name, scaled, float64 [len(estimated_names)]; names not asked for are left out."""
    names = estimated_names(metrics)
    return np.array([counted.get(name, 0) for name in names], np.float64) * _scales(names)


def read_estimates(
    update_sum: NDArray[np.float64], metrics: MetricSetting, codec: CodecSetting, devices: int
) -> dict[str, Estimate]:
    """Sums over ``devices`` devices from a decoded vector of :func:`usage_vector`.

    Raises:
        CodecError: the vector is not one of this setting's names.
    """
    names = estimated_names(metrics)
    if update_sum.shape != (len(names),):
        raise CodecError(f"the sum has shape {update_sum.shape}, the plan's usage has {len(names)} names")
    scales = _scales(names)
    sigma = codec.noise_sixteenths / SIXTEENTHS
    variance = codec.step**2 * devices * (sigma**2 + 0.25)
    return {
        name: Estimate(float(value / scale), variance / scale**2)
        for name, value, scale in zip(names, update_sum, scales, strict=True)
    }


def _scales(names: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([USAGE_SCALES[name.rsplit("/", 1)[1]] for name in names], np.float64)
