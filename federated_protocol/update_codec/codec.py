"""Encode one device's update and counters; decode the sum of many.

Steps: clip to L2 norm ``clip`` what travels of the update (:mod:`.subset`) -> multiply by the (quantised) weight ->
rotate (:mod:`.rotation`) -> divide by ``step`` -> round stochastically (:mod:`.rounding`) -> add discrete Gaussian
noise when the plan asks for it -> modulo ``2^bits`` (:mod:`.modulus`). The decoded sum is unbiased (arXiv 1610.05492,
section 3.2). Step, clip, subset and rotation are shared by the cohort because only then do the masked integers add up;
per-device scales (DRIVE, EDEN) cannot be summed under masks.

With noise every field lies inside the clipped, noised vector: no weight and no counters travel. Every device with
examples counts the same, and the sum is divided by the number of devices in it, which the coordinator knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federated_protocol.errors import CodecError
from federated_protocol.plan import CodecSetting, SubsetBlock
from federated_protocol.privacy.discrete_gaussian import LARGEST_SIXTEENTHS, SIXTEENTHS, discrete_gaussian
from federated_protocol.randomness import ByteSource, secure_source
from federated_protocol.update_codec.modulus import solve_bits
from federated_protocol.update_codec.rotation import SEED_BYTES, rotate, rotate_back
from federated_protocol.update_codec.rounding import round_conditionally
from federated_protocol.update_codec.subset import check_blocks, chosen_coordinates
from federated_protocol.vector_layout import WIDEST_FIELD_BITS, Vector, VectorField, VectorLayout

UPDATE_FIELD, WEIGHT_FIELD, COUNTER_FIELD = "update", "weight", "counters"


@dataclass(frozen=True)
class DecodedSum:
    """What the sum over a cohort says, and nothing about anyone in it."""

    update_sum: NDArray[np.float64]
    """Σ w·Δ, float64 [d], each Δ clipped."""
    weight_sum: float
    """Σ w, a multiple of 1 / weight_levels; with noise the number of devices."""
    counters: NDArray[np.uint64]
    """Exact sums, uint64 [m], in the order of :func:`federated_protocol.plan.counter_names`."""

    def mean_update(self) -> NDArray[np.float64]:
        """Σ w·Δ / Σ w, float64 [d].

        Raises:
            CodecError: no device had any weight, so there is no mean.
        """
        if self.weight_sum <= 0:
            raise CodecError("no device contributed examples; keep the current model")
        return self.update_sum / self.weight_sum


def solve_codec(
    dimension: int,
    clip: float,
    step: float,
    rotation_seed: bytes,
    weight_levels: int,
    largest_cohort: int,
    count_bits: int = 24,
    subset: tuple[SubsetBlock, ...] = (),
    subset_seed: bytes = b"",
    noise_sixteenths: int = 0,
) -> CodecSetting:
    """Solve the widths for a cohort of at most ``largest_cohort`` devices.

    Args:
        dimension: number of model weights d.
        clip: largest L2 norm of what travels of an update, before weighting.
        step: width of a quantisation level, in units of the update.
        rotation_seed: 32 bytes, drawn freshly for the round; empty for no rotation.
        weight_levels: levels of the example weight, >= 1.
        largest_cohort: most devices whose vectors are ever added.
        count_bits: width of a counter; a device may add up to ``(2^count_bits - 1) // largest_cohort`` to each.
        subset: blocks of coordinates of which some travel; empty for all.
        subset_seed: 32 bytes, drawn freshly for the round; empty without a subset.
        noise_sixteenths: scale of each device's noise in 1/16 of a step, 0 for none; needs the rotation.

    Raises:
        CodecError: no width of at most 32 bits fits, or a value is out of range.
    """
    if len(rotation_seed) not in (0, SEED_BYTES):
        raise CodecError(f"a rotation seed has {SEED_BYTES} bytes, or none for no rotation")
    if not 2 <= count_bits <= WIDEST_FIELD_BITS:
        raise CodecError(f"count_bits must be between 2 and {WIDEST_FIELD_BITS}")
    check_blocks(subset, subset_seed, dimension)
    if not 0 <= noise_sixteenths <= LARGEST_SIXTEENTHS or (noise_sixteenths and not rotation_seed):
        raise CodecError(f"noise is 0 to {LARGEST_SIXTEENTHS} sixteenths of a step, and needs the rotation")
    sent = sum(block.chosen for block in subset) if subset else dimension
    bits = solve_bits(
        sent, clip, step, largest_cohort, rotated=bool(rotation_seed), sigma=noise_sixteenths / SIXTEENTHS
    )
    count_cap = ((1 << count_bits) - 1) // largest_cohort
    if not 1 <= weight_levels <= count_cap:
        raise CodecError(
            f"{count_bits} bits hold the sum of {largest_cohort} weights up to {count_cap} levels, "
            f"not {weight_levels}: widen count_bits or take fewer levels"
        )
    return CodecSetting(
        dimension=dimension,
        clip=float(clip),
        step=float(step),
        rotation_seed=bytes(rotation_seed),
        weight_levels=weight_levels,
        bits=bits,
        count_bits=count_bits,
        count_cap=count_cap,
        subset=tuple(subset),
        subset_seed=bytes(subset_seed),
        noise_sixteenths=noise_sixteenths,
    )


def check_setting(setting: CodecSetting, largest_cohort: int) -> None:
    """Raise :class:`CodecError` unless ``setting`` is what :func:`solve_codec` gives for this cohort.

    A device checks the plan with it before it trains: too narrow a modulus would garble the sum, too wide wastes bytes.
    """
    if setting != solve_codec(
        setting.dimension,
        setting.clip,
        setting.step,
        setting.rotation_seed,
        setting.weight_levels,
        largest_cohort,
        setting.count_bits,
        setting.subset,
        setting.subset_seed,
        setting.noise_sixteenths,
    ):
        raise CodecError("the plan's codec does not follow from its cohort size, clip and step; refuse the plan")


def layout(setting: CodecSetting, n_counters: int) -> VectorLayout:
    """Fields of the secure vector: update [m] of ``bits``; without noise weight [1] and counters of ``count_bits``.

    Raises:
        CodecError: counters beside noise.
    """
    update = VectorField(UPDATE_FIELD, setting.sent, setting.bits)
    if setting.noise_sixteenths:
        if n_counters:
            raise CodecError("a vector with noise holds no exact counters; ask for no metrics in a private task")
        return VectorLayout((update,))
    return VectorLayout(
        (
            update,
            VectorField(WEIGHT_FIELD, 1, setting.count_bits),
            VectorField(COUNTER_FIELD, n_counters, setting.count_bits),
        )
    )


def encode(
    update: NDArray[np.floating],
    weight: float,
    counters: ArrayLike,
    setting: CodecSetting,
    rng: ByteSource | None = None,
) -> Vector:
    """Encode one device's contribution.

    Args:
        update: Δ, float [d], finite; what travels of it is scaled down to norm ``setting.clip`` when it is longer.
        weight: w in [0, 1]; quantised to ``weight_levels``, and the same quantised w multiplies Δ, so that the
            weighted mean stays exact. A positive w never becomes 0. With noise, any positive w is 1.
        counters: m integers >= 0; each is capped at ``setting.count_cap``.
        setting: from the plan.
        rng: source of rounding and noise; by default AES-CTR keyed by the operating system.

    Returns:
        uint32 [layout.length], reduced; see :func:`layout`.

    Raises:
        CodecError: wrong shapes, a weight outside [0, 1], negative counters, or values that are not finite.
    """
    if update.shape != (setting.dimension,):
        raise CodecError(f"the update has shape {update.shape}, the plan wants ({setting.dimension},)")
    if not 0.0 <= weight <= 1.0:
        raise CodecError("the weight must lie in [0, 1]")
    counts = np.asarray(counters)
    if counts.ndim != 1 or (counts.size and not np.issubdtype(counts.dtype, np.integer)):
        raise CodecError("counters must be one row of integers")
    if counts.size and counts.min() < 0:
        raise CodecError("counters must not be negative")
    private = bool(setting.noise_sixteenths)
    if private and counts.size:
        raise CodecError("a vector with noise holds no exact counters; ask for no metrics in a private task")
    delta = update.astype(np.float64)
    if not math.isfinite(float(delta @ delta)):
        raise CodecError("the update is not finite; training diverged, do not take part in this round")
    if setting.subset:
        delta = delta[chosen_coordinates(setting.subset, setting.subset_seed)[0]]
    norm = math.sqrt(float(delta @ delta))

    levels = 1 if private else setting.weight_levels
    weight_level = 0 if weight == 0 else max(1, levels if private else round(weight * levels))
    scale = min(1.0, setting.clip / norm) if norm > 0 else 0.0
    delta *= scale * weight_level / levels / setting.step
    if setting.rotation_seed:
        delta = rotate(delta, setting.rotation_seed)
    source = rng if rng is not None else secure_source()
    integers = round_conditionally(delta, setting.clip / setting.step, source).astype(np.int64)
    if private:
        integers += discrete_gaussian(setting.sent, setting.noise_sixteenths, source)

    m = setting.sent
    vector = np.empty(m if private else m + 1 + len(counts), dtype=np.uint32)
    vector[:m] = integers.astype(np.uint32)  # two's complement: modulo 2^32
    vector[:m] &= np.uint32((1 << setting.bits) - 1)
    if not private:
        vector[m] = weight_level
        vector[m + 1 :] = np.minimum(counts, setting.count_cap).astype(np.uint32)
    return vector


def decode_sum(vector: NDArray[np.unsignedinteger], setting: CodecSetting, n_devices: int) -> DecodedSum:
    """Invert :func:`encode` on the sum of ``n_devices`` vectors.

    Args:
        vector: unsigned [layout.length], the opened sum modulo the fields' moduli.
        setting: the plan's, as every device used it.
        n_devices: how many vectors were added, >= 1.

    Raises:
        CodecError: the length is wrong, or weight or counters exceed what so many honest devices can add up to: the
            sum is not one to learn from.
    """
    m, private = setting.sent, bool(setting.noise_sixteenths)
    if n_devices < 1 or vector.ndim != 1 or (len(vector) != m if private else len(vector) < m + 1):
        raise CodecError(f"the sum of at least one device has {m} coordinates and the plan's other fields")
    weight_levels = n_devices * setting.weight_levels if private else int(vector[m])
    counters = vector[m + 1 :].astype(np.uint64)
    if weight_levels > n_devices * setting.weight_levels or (counters > n_devices * setting.count_cap).any():
        raise CodecError(f"the sum exceeds what {n_devices} devices can add up to; discard it and abandon the round")
    half, modulus = 1 << (setting.bits - 1), 1 << setting.bits
    coordinates = vector[:m].astype(np.int64) % modulus
    coordinates -= modulus * (coordinates >= half)
    update_sum = coordinates.astype(np.float64)
    update_sum *= setting.step
    if setting.rotation_seed:
        update_sum = rotate_back(update_sum, setting.rotation_seed)
    if setting.subset:
        where, factor = chosen_coordinates(setting.subset, setting.subset_seed)
        scattered = np.zeros(setting.dimension)
        scattered[where] = update_sum * factor
        update_sum = scattered
    return DecodedSum(
        update_sum=update_sum,
        weight_sum=weight_levels / setting.weight_levels,
        counters=counters,
    )


def largest_mean_norm(setting: CodecSetting, n_devices: int, weight_sum: float) -> float:
    """Largest L2 norm that the decoded mean update of an honest cohort has, with a wide margin.

    A weighted mean of vectors of norm <= clip has norm <= clip. Rounding and noise add to each of the m summed
    coordinates an error of variance <= n (1/4 + sigma^2) steps; five times the expected norm of that error, divided by
    the weight, is allowed on top. All of it grows by the largest factor of the subset.
    """
    sigma = setting.noise_sixteenths / SIXTEENTHS
    error = setting.step * math.sqrt(n_devices * setting.sent * (0.25 + sigma**2))
    growth = max((block.length / block.chosen for block in setting.subset), default=1.0)
    return growth * (setting.clip * (1 + 1e-6) + 5 * error / weight_sum)
