"""Heads over sparse, hashed features: the trigger alone, and the trigger beside the frozen features.

The second is the wide-and-deep form of Cheng et al. (arXiv 1606.07792): a wide, linear part remembers words and bins,
a deep part, here frozen, understands what was never seen. Both learn as one convex problem.
"""

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
        return hashed_rows(n)

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        return tf.reduce_sum(_picked(parts[0], rows["hashed_ids"], self.buckets) * rows["hashed_values"], axis=1)


@dataclass(frozen=True, slots=True)
class WideAndDeepHead:
    """The trigger's logit plus a linear function of frozen features."""

    buckets: int
    width: int
    """Frozen features of an example."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """hashed, linear: the trigger's weights come first."""
        return Part("hashed", (self.buckets,)), Part("linear", (self.width,))

    def rows(self, n: int) -> dict[str, tf.TensorSpec]:
        """The trigger's, and ``inputs`` float32[n, width]."""
        return {"inputs": tf.TensorSpec([n, self.width], tf.float32, "inputs"), **hashed_rows(n)}

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        hashed, linear = parts
        wide = SparseHead(self.buckets).logits([hashed], rows)
        return wide + tf.squeeze(tf.linalg.matmul(rows["inputs"], tf.expand_dims(linear, 1)), axis=1)


def hashed_rows(n: int) -> dict[str, tf.TensorSpec]:
    """Specifications of the sparse inputs of n examples."""
    return {
        "hashed_ids": tf.TensorSpec([n, HASHED_FEATURES], tf.int32, "hashed_ids"),
        "hashed_values": tf.TensorSpec([n, HASHED_FEATURES], tf.float32, "hashed_values"),
    }


def _picked(weights: tf.Tensor, ids: tf.Tensor, buckets: int) -> tf.Tensor:
    """``weights[ids]``, with a gradient that LiteRT has: a scatter that adds up."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def pick(w: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def back(slope: tf.Tensor) -> tf.Tensor:
            return tf.scatter_nd(tf.reshape(ids, [-1, 1]), tf.reshape(slope, [-1]), [buckets])

        return tf.gather(w, ids), back

    return pick(weights)
