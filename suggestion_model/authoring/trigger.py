"""The trigger's head: logistic regression over sparse, hashed features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from ..hashed_features import HASHED_FEATURES
from .heads import Part


@dataclass(frozen=True, slots=True)
class SparseHead:
    """The trigger: ``sum(w[ids] * values)``; the bias is index 0, see :mod:`suggestion_model.hashed_features`."""

    buckets: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """One weight a bucket."""
        return (Part("hashed", (self.buckets,)),)

    def rows(self, n: int) -> dict[str, tf.TensorSpec]:
        """Indices int32[n, HASHED_FEATURES] and values float32[n, HASHED_FEATURES]."""
        return {
            "hashed_ids": tf.TensorSpec([n, HASHED_FEATURES], tf.int32, "hashed_ids"),
            "hashed_values": tf.TensorSpec([n, HASHED_FEATURES], tf.float32, "hashed_values"),
        }

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        return tf.reduce_sum(_picked(parts[0], rows["hashed_ids"], self.buckets) * rows["hashed_values"], axis=1)


def _picked(weights: tf.Tensor, ids: tf.Tensor, buckets: int) -> tf.Tensor:
    """``weights[ids]``, with a gradient that LiteRT has: a scatter that adds up."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def pick(w: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def back(slope: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(tf.reshape(ids, [-1, 1]), tf.reshape(slope, [-1]), [buckets])

        return tf.gather(w, ids), back

    return pick(weights)
