"""The ranker as a TensorFlow module: a frozen piece embedding, and a small head that learns on the device.

    logit =  skip . z  +  bias                                    z: standardised dense features
           + mean over the line's pieces of bag_line[piece]       hashed bag of words
           + mean over the earlier line's pieces of bag_earlier[piece]
           + out . max(0, W x + b)                                x: pooled embeddings, their products, z

Version 0 has ``bag = out = 0`` and ``skip = 0`` but for the baseline score: its logit is an affine function of the
baseline score, and it has seen no label. ``W`` starts random, so the first gradient step reaches ``out``.

All trainable weights live in one flat variable, in the order of :func:`layout`. The training step is written with a
gradient tape where its gradients are builtin LiteRT ops, and by hand where they are not (the bag's gather).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .. import features

HIDDEN = 16
BAG_LINE = 2048
BAG_EARLIER = 1024
TRAIN_BATCH = 16
INFER_BATCH = 8
DENSE_LIMIT = 4.0
"""Standardised dense features are clipped to this before the hidden layer."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named block of the flat weight vector."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True)
class Frozen:
    """What the model file holds and never trains."""

    embedding: NDArray[np.int8]
    """[vocabulary, dimensions], row 0 is padding and zero."""
    embedding_scale: float
    dense_mean: NDArray[np.float32]
    """[DENSE_FEATURES]"""
    dense_deviation: NDArray[np.float32]
    """[DENSE_FEATURES], > 0"""


def layout(dimensions: int, dense: int = features.DENSE_FEATURES) -> tuple[Part, ...]:
    """Blocks of the flat weight vector, in order, for an embedding of ``dimensions`` columns."""
    return (
        Part("skip", (dense,)),
        Part("bias", (1,)),
        Part("bag_line", (BAG_LINE,)),
        Part("bag_earlier", (BAG_EARLIER,)),
        Part("hidden", (4 * dimensions + dense, HIDDEN)),
        Part("hidden_bias", (HIDDEN,)),
        Part("out", (HIDDEN,)),
    )


def initial_weights(
    frozen: Frozen, slope: float, intercept: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Version 0: logit = slope * baseline score + intercept.

    Args:
        frozen: gives mean and deviation of the baseline score.
        slope: logit per unit of baseline score.
        intercept: logit at baseline score 0.
        rng: draws the hidden layer, scaled as by He et al. (2015).

    Returns:
        float32[d].
    """
    parts = []
    for part in layout(frozen.embedding.shape[1]):
        values = np.zeros(part.shape, np.float64)
        if part.name == "skip":
            values[features.BASELINE_INDEX] = slope * float(frozen.dense_deviation[features.BASELINE_INDEX])
        elif part.name == "bias":
            values[0] = intercept + slope * float(frozen.dense_mean[features.BASELINE_INDEX])
        elif part.name == "hidden":
            values = rng.standard_normal(part.shape) * np.sqrt(2.0 / part.shape[0])
        parts.append(values.ravel())
    return np.concatenate(parts).astype(np.float32)


class RankerModule(tf.Module):  # type: ignore[misc]
    """The five signatures of the model file, on top of one flat variable."""

    def __init__(self, frozen: Frozen, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self._parts = layout(frozen.embedding.shape[1])
        self._sizes = [part.size for part in self._parts]
        if weights.shape != (sum(self._sizes),):
            raise ValueError(f"{weights.shape} weights, the layout has {sum(self._sizes)}.")
        self.weights = tf.Variable(weights, dtype=tf.float32, name="weights")
        self._embedding = tf.constant(frozen.embedding)
        self._scale = tf.constant(frozen.embedding_scale, tf.float32)
        self._mean = tf.constant(frozen.dense_mean)
        self._inverse_deviation = tf.constant((1.0 / frozen.dense_deviation).astype(np.float32))

    def _split(self) -> dict[str, tf.Tensor]:
        blocks = tf.split(self.weights.read_value(), self._sizes)
        return {p.name: tf.reshape(b, p.shape) for p, b in zip(self._parts, blocks, strict=True)}

    def _pool(self, ids: tf.Tensor) -> tf.Tensor:
        """Direction of the summed rows: [n, T] ids -> [n, K], length sqrt(K) or 0 when empty."""
        rows = tf.cast(tf.gather(self._embedding, ids), tf.float32) * self._scale
        total = tf.reduce_sum(rows, axis=1)
        width = float(self._embedding.shape[1])
        return total * tf.math.rsqrt(tf.reduce_sum(total * total, axis=1, keepdims=True) / width + 1e-6)

    def _frozen_part(
        self, context_ids: tf.Tensor, candidate_ids: tf.Tensor, dense: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z = (dense - self._mean) * self._inverse_deviation
        line = self._pool(context_ids[:, : features.LINE_TOKENS])
        earlier = self._pool(context_ids[:, features.LINE_TOKENS :])
        candidate = self._pool(candidate_ids)
        clipped = tf.minimum(tf.maximum(z, -DENSE_LIMIT), DENSE_LIMIT)
        return z, tf.concat([line, earlier, candidate, line * candidate, clipped], axis=1)

    @staticmethod
    def _bag_index(ids: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of the bag and the share of each: [n, T] ids -> ([n, T] in 0..size-1, [n, T])."""
        present = tf.cast(tf.minimum(ids, 1), tf.float32)
        share = present * tf.math.rsqrt(tf.reduce_sum(present, axis=1, keepdims=True) + 1.0)
        return tf.math.floormod(ids, size), share

    @staticmethod
    def _head(w: dict[str, tf.Tensor], z: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        hidden = tf.maximum(tf.linalg.matmul(x, w["hidden"]) + w["hidden_bias"], 0.0)
        linear = tf.linalg.matmul(z, tf.expand_dims(w["skip"], 1))
        total = linear + tf.linalg.matmul(hidden, tf.expand_dims(w["out"], 1))
        return tf.squeeze(total, axis=1) + w["bias"]

    def _bag(self, w: dict[str, tf.Tensor], context_ids: tf.Tensor) -> tf.Tensor:
        line, line_share = self._bag_index(context_ids[:, : features.LINE_TOKENS], BAG_LINE)
        earlier, earlier_share = self._bag_index(context_ids[:, features.LINE_TOKENS :], BAG_EARLIER)
        return tf.reduce_sum(tf.gather(w["bag_line"], line) * line_share, axis=1) + tf.reduce_sum(
            tf.gather(w["bag_earlier"], earlier) * earlier_share, axis=1
        )

    def _logit(self, context_ids: tf.Tensor, candidate_ids: tf.Tensor, dense: tf.Tensor) -> tf.Tensor:
        w = self._split()
        z, x = self._frozen_part(context_ids, candidate_ids, dense)
        return self._head(w, z, x) + self._bag(w, context_ids)

    def infer(self, context_ids: tf.Tensor, candidate_ids: tf.Tensor, dense: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits of :data:`INFER_BATCH` pairs."""
        return {"logit": self._logit(context_ids, candidate_ids, dense)}

    def evaluate(
        self, context_ids: tf.Tensor, candidate_ids: tf.Tensor, dense: tf.Tensor, label: tf.Tensor, weight: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Summed weighted cross-entropy and logits."""
        logit = self._logit(context_ids, candidate_ids, dense)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
        return {"loss_sum": tf.reduce_sum(losses * weight), "logit": logit}

    def train_step(
        self,
        context_ids: tf.Tensor,
        candidate_ids: tf.Tensor,
        dense: tf.Tensor,
        label: tf.Tensor,
        weight: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """One step of gradient descent on the weighted mean cross-entropy; returns the loss before it."""
        w = self._split()
        z, x = self._frozen_part(context_ids, candidate_ids, dense)
        taped = {name: w[name] for name in ("skip", "bias", "hidden", "hidden_bias", "out")}
        bag_logit = self._bag(w, context_ids)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(taped)
            tape.watch(bag_logit)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=self._head(taped, z, x) + bag_logit)
            loss = tf.reduce_sum(losses * weight) / (tf.reduce_sum(weight) + 1e-12)
        gradient, bag_gradient = tape.gradient(loss, (taped, bag_logit))
        gradient = dict(gradient)
        line, line_share = self._bag_index(context_ids[:, : features.LINE_TOKENS], BAG_LINE)
        earlier, earlier_share = self._bag_index(context_ids[:, features.LINE_TOKENS :], BAG_EARLIER)
        gradient["bag_line"] = _scatter(line, line_share * bag_gradient[:, None], BAG_LINE)
        gradient["bag_earlier"] = _scatter(earlier, earlier_share * bag_gradient[:, None], BAG_EARLIER)
        flat = tf.concat([tf.reshape(gradient[part.name], [-1]) for part in self._parts], axis=0)
        self.weights.assign(self.weights.read_value() - learning_rate * flat)
        return {"loss": loss}

    def get_weights(self) -> dict[str, tf.Tensor]:
        """The flat weights."""
        return {"weights": tf.identity(self.weights.read_value())}

    def set_weights(self, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        """Replace the flat weights."""
        self.weights.assign(weights)
        return {"size": tf.size(weights)}


def _scatter(index: tf.Tensor, values: tf.Tensor, size: int) -> tf.Tensor:
    return tf.scatter_nd(tf.reshape(index, [-1, 1]), tf.reshape(values, [-1]), tf.constant([size]))
