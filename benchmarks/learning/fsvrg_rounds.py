"""FSVRG as the coordinator's rounds run it: its settings, its codec, a cohort drawn anew for each of the three sums.

The masks are left out: they cancel, and a vector is the same under them (tests hold that). What is left of a sum is
what the codec makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.descents import FSVRG_ROUNDS, Gap
from coordinator.rounds.planning import make_codec
from coordinator.settings import CodecTarget, FsvrgSettings
from federated_protocol.plan import CodecSetting
from federated_protocol.update_codec import decode_sum, encode, layout
from suggestion_model.algorithms.fsvrg import Fsvrg, Spread, count_vector
from suggestion_model.sparse import Floats, SparseRows, gradient_sum

COHORT = 60


def in_rounds(
    devices: Sequence[SparseRows],
    start: Floats,
    setting: FsvrgSettings | None = None,
    cohort: int = COHORT,
    seed: int = 0,
) -> dict[str, Any]:
    """Gaps by version at the settings' own step: everybody, in the clear and through the codec, and cohorts."""
    setting, gap = setting or FsvrgSettings(), Gap.at(start, SparseRows.join(devices))
    cohort = min(cohort, len(devices))
    found: dict[str, Any] = {"step": setting.step, "devices": len(devices), "cohort": cohort}
    for name, size, coded in (
        ("everybody_in_the_clear", len(devices), False),
        ("everybody", len(devices), True),
        ("cohorts", cohort, True),
    ):
        weights, gaps = start, []
        rounds = _Rounds(devices, size, setting, coded, np.random.default_rng(seed))
        for version in range(FSVRG_ROUNDS):
            if setting.recount_every and version % setting.recount_every == 0:
                rounds.count(len(start))
            weights = rounds.next_version(weights)
            gaps.append(gap(weights))
        found[name] = {"gaps": gaps, "gap_after_12": gaps[-1], "bytes": rounds.bytes if coded else None}
    return found


class _Rounds:
    def __init__(
        self,
        devices: Sequence[SparseRows],
        size: int,
        setting: FsvrgSettings,
        coded: bool,
        rng: np.random.Generator,
    ) -> None:
        self._devices, self._size, self._setting, self._coded, self._rng = devices, size, setting, coded, rng
        self._algorithm = Fsvrg(setting.step, setting.l2)
        self.bytes: dict[str, int] = {}
        """Of one device's vector, by what is summed."""

    def count(self, dimension: int) -> None:
        counted = np.sum([count_vector(rows, dimension) for rows in self._cohort()], axis=0)
        self._spread = Spread.of(counted)

    def next_version(self, weights: Floats) -> Floats:
        setting = self._setting
        gradients = [(rows, gradient_sum(weights, rows) / len(rows)) for rows in self._cohort()]
        gradient = self._mean("gradient", gradients, setting.gradient_clip, setting.gradient_step)
        gradient = gradient + setting.l2 * weights
        updates = [
            (rows, self._algorithm.update(weights, gradient, rows, self._spread.share, self._rng))
            for rows in self._cohort()
        ]
        mean = self._mean("descent", updates, setting.update_clip, setting.update_step)
        return self._algorithm.step_by_mean(weights, mean, self._spread).astype(np.float32).astype(np.float64)

    def _cohort(self) -> list[SparseRows]:
        chosen = self._rng.permutation(len(self._devices))[: self._size]
        return [self._devices[number] for number in chosen]

    def _mean(self, name: str, vectors: list[tuple[SparseRows, Floats]], clip: float, step: float) -> Floats:
        cap = self._setting.weight_cap
        weighted = [(min(len(rows), cap) / cap, vector) for rows, vector in vectors]
        if not self._coded:
            total = sum((weight * vector for weight, vector in weighted), np.zeros(len(weighted[0][1])))
            return np.asarray(total / sum(weight for weight, _ in weighted), np.float64)
        target = msgspec.structs.replace(CodecTarget(), clip=clip, step=step)
        codec = make_codec(target, len(weighted[0][1]), len(weighted), self._rng.bytes)
        self.bytes[name] = layout(codec, 0).packed_bytes
        summed = self._sum(codec, weighted)
        return decode_sum(summed, codec, len(weighted)).mean_update()

    def _sum(self, codec: CodecSetting, weighted: list[tuple[float, Floats]]) -> NDArray[np.uint32]:
        shape = layout(codec, 0)
        total = np.zeros(shape.length, np.uint32)
        for weight, vector in weighted:
            total += encode(vector, weight, [], codec, rng=self._rng.bytes)
        shape.reduce(total)
        return total
