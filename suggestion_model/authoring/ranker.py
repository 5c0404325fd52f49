"""The ranker as a TensorFlow module: frozen features of a moment, and a linear head that learns on the device.

    raw   = [ z, 0.8 h(line, earlier), 0.2 c, 0.2 line * c, form(line), bins ]
    logit = skip * z[baseline score] + bias + linear . (raw P + p)

z are standardised dense features, ``line``, ``earlier`` and ``c`` pooled embeddings of the line, the line before it
and the candidate, h the self-supervised encoder (:mod:`.encoder`). The form says which of the language's commonest
pieces the line holds (:mod:`.form`): how it is put, whatever it is about. Bins say which tenth each piece of the
matcher's evidence falls into, so that the linear head follows curves, not slopes alone. P and p centre and decorrelate
the raw features on unlabelled text, so that few and small steps of plain gradient descent, on a handful of taps a
device, go in every useful direction at once.

Version 0 has ``linear = 0``: its logit is an affine function of the baseline score, and it has seen no label.

All trainable weights live in one flat variable, in the order of the head's blocks (:mod:`.heads`). ``train_step`` is
the plain step on whole examples; devices train through ``head_inputs`` and ``train_head``, which compute the same
with the frozen part computed once an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .. import features
from .binning import Bins
from .encoder import OUTPUTS, encode, pool
from .form import form
from .heads import Head, HeadTraining, LinearHead, dimension, join, split

INFER_BATCH = 8
DENSE_LIMIT = 4.0
"""Standardised dense features are clipped to this before they meet the linear head."""
ENCODER_SCALE = 0.8
CANDIDATE_SCALE = 0.2


@dataclass(frozen=True, slots=True)
class Frozen:
    """What the model file holds and never trains."""

    embedding: NDArray[np.int8]
    """[vocabulary, K], row 0 is padding and zero."""
    embedding_scale: float
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]
    """The encoder, see :class:`.encoder.Encoder`."""
    dense_mean: NDArray[np.float32]
    """[DENSE_FEATURES]"""
    dense_deviation: NDArray[np.float32]
    """[DENSE_FEATURES], > 0"""
    projection: NDArray[np.float32]
    """P, [raw, raw]"""
    offset: NDArray[np.float32]
    """p, [raw]"""
    bins: Bins
    form_pieces: NDArray[np.int32]
    """[m], ids of the pieces that say how a line is put."""

    @property
    def raw_features(self) -> int:
        """Width of the raw feature row."""
        return raw_width(self.embedding.shape[1], self.bins, self.form_pieces)


def raw_width(dimensions: int, bins: Bins, form_pieces: NDArray[np.int32]) -> int:
    """Width of the raw feature row for an embedding of ``dimensions`` columns."""
    return features.DENSE_FEATURES + OUTPUTS + 2 * dimensions + len(form_pieces) + len(bins.columns)


def head_of(frozen: Frozen) -> Head:
    """The head that learns on these frozen features: its inputs are the baseline score and the decorrelated row."""
    return LinearHead(1 + frozen.raw_features)


def initial_weights(frozen: Frozen, slope: float, intercept: float) -> NDArray[np.float32]:
    """Version 0: logit = slope * baseline score + intercept.

    Args:
        frozen: gives mean and deviation of the baseline score.
        slope: logit per unit of baseline score.
        intercept: logit at baseline score 0.

    Returns:
        float32[d].
    """
    at = features.BASELINE_INDEX
    weights = np.zeros(dimension(head_of(frozen)), np.float64)
    weights[0] = slope * float(frozen.dense_deviation[at])
    weights[1] = intercept + slope * float(frozen.dense_mean[at])
    return weights.astype(np.float32)


class FrozenFeatures(tf.Module):  # type: ignore[misc]
    """From model inputs to the standardised baseline score and the raw features; trains nothing."""

    def __init__(self, frozen: Frozen) -> None:
        super().__init__()
        self._embedding = tf.constant(frozen.embedding)
        self._scale = tf.constant(frozen.embedding_scale, tf.float32)
        self._encoder = tuple(
            tf.constant(a) for a in (frozen.hidden, frozen.hidden_bias, frozen.output, frozen.output_bias)
        )
        self._bin_columns = tf.constant(frozen.bins.columns)
        self._bin_tenths = tf.constant(frozen.bins.tenths)
        self._form_pieces = tf.constant(frozen.form_pieces)
        self._mean = tf.constant(frozen.dense_mean)
        self._inverse_deviation = tf.constant((1.0 / frozen.dense_deviation).astype(np.float32))

    def _pooled(self, ids: tf.Tensor) -> tf.Tensor:
        return pool(tf.cast(tf.gather(self._embedding, ids), tf.float32) * self._scale)

    def raw(self, context_ids: tf.Tensor, candidate_ids: tf.Tensor, dense: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Standardised baseline score [n, 1] and raw features [n, raw]."""
        z = (dense - self._mean) * self._inverse_deviation
        line_ids = context_ids[:, : features.LINE_TOKENS]
        line = self._pooled(line_ids)
        earlier = self._pooled(context_ids[:, features.LINE_TOKENS :])
        candidate = self._pooled(candidate_ids) * CANDIDATE_SCALE
        tenths = tf.round(tf.gather(dense, self._bin_columns, axis=1) * 10.0)
        raw = tf.concat(
            [
                tf.minimum(tf.maximum(z, -DENSE_LIMIT), DENSE_LIMIT),
                encode(line, earlier, *self._encoder) * ENCODER_SCALE,
                candidate,
                line * candidate,
                form(line_ids, self._form_pieces),
                tf.cast(tf.equal(tenths, self._bin_tenths), tf.float32),
            ],
            axis=1,
        )
        at = features.BASELINE_INDEX
        return z[:, at : at + 1], raw


class RankerModule(tf.Module):  # type: ignore[misc]
    """The signatures of the model file, on top of one flat variable."""

    def __init__(self, frozen: Frozen, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self._head = head_of(frozen)
        if weights.shape != (dimension(self._head),):
            raise ValueError(f"{weights.shape} weights, the head has {dimension(self._head)}.")
        self.weights = tf.Variable(weights, dtype=tf.float32, name="weights")
        self.training = HeadTraining(self._head)
        self._features = FrozenFeatures(frozen)
        self._projection = tf.constant(frozen.projection)
        self._offset = tf.constant(frozen.offset)

    def head_inputs(self, **pairs: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the head sees of :data:`TRAIN_BATCH` pairs; no weight changes it."""
        score, raw = self._features.raw(**pairs)
        return {"inputs": tf.concat([score, tf.linalg.matmul(raw, self._projection) + self._offset], axis=1)}

    def _logits(self, pairs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._head.logits(split(self._head, self.weights.read_value()), self.head_inputs(**pairs))

    def infer(self, **pairs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits of :data:`INFER_BATCH` pairs."""
        return {"logit": self._logits(pairs)}

    def evaluate(self, label: tf.Tensor, weight: tf.Tensor, **pairs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Summed weighted cross-entropy and logits."""
        logit = self._logits(pairs)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
        return {"loss_sum": tf.reduce_sum(losses * weight), "logit": logit}

    def train_step(
        self, label: tf.Tensor, weight: tf.Tensor, learning_rate: tf.Tensor, **pairs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One step of gradient descent on the weighted mean cross-entropy; returns the loss before it."""
        rows = self.head_inputs(**pairs)
        weights = self.weights.read_value()
        parts = split(self._head, weights)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parts)
            logit = self._head.logits(parts, rows)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
            loss = tf.reduce_sum(losses * weight) / (tf.reduce_sum(weight) + 1e-12)
        self.weights.assign(weights - learning_rate * join(tape.gradient(loss, parts)))
        return {"loss": loss}

    def get_weights(self) -> dict[str, tf.Tensor]:
        """The flat weights."""
        return {"weights": tf.identity(self.weights.read_value())}

    def set_weights(self, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        """Replace the flat weights."""
        self.weights.assign(weights)
        return {"size": tf.size(weights)}
