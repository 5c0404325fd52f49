"""Self-supervised pre-training: a small network that foresees the other side's answer.

What makes a line search-worthy shows in what is answered next ("I found two restaurants ...", "which city?"). So the
embedding and a small encoder are trained to predict which frequent pieces the next answer will hold, from the line and
the line before it. No label of any kind is involved. The prediction layer is thrown away; the encoder's 32 outputs
become frozen features on which a linear head learns from a handful of taps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..features import EARLIER_TOKENS, LINE_TOKENS
from ..tokenizer import Tokenizer
from .corpus import Turn

HIDDEN = 128
OUTPUTS = 32
TARGET_PIECES = 1000
"""Most frequent pieces of answers, each predicted as present or not."""
EPOCHS = 5
BATCH = 256
STEP_SIZE = 2e-3
PIECE_DROPOUT = 0.1


@dataclass(frozen=True, slots=True)
class Encoder:
    """Trained arrays, all float32. Outputs are ``tanh(max(0, x W1 + b1) W2 + b2)`` of x = [line, earlier, product]."""

    embedding: NDArray[np.float32]
    """[vocabulary, K], row 0 (padding) is zero."""
    hidden: NDArray[np.float32]
    """W1, [3K, HIDDEN]"""
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    """W2, [HIDDEN, OUTPUTS]"""
    output_bias: NDArray[np.float32]


def pool(rows: tf.Tensor) -> tf.Tensor:
    """Direction of the sum of embedding rows: [n, T, K] -> [n, K], of length sqrt(K), or 0 when there are none."""
    total = tf.reduce_sum(rows, axis=1)
    width = float(rows.shape[2])
    return total * tf.math.rsqrt(tf.reduce_sum(total * total, axis=1, keepdims=True) / width + 1e-6)


def encode(
    line: tf.Tensor, earlier: tf.Tensor, hidden: tf.Tensor, hidden_bias: tf.Tensor, output: tf.Tensor, bias: tf.Tensor
) -> tf.Tensor:
    """The encoder's outputs [n, OUTPUTS] from two pooled lines [n, K]."""
    x = tf.concat([line, earlier, line * earlier], axis=1)
    return tf.tanh(tf.linalg.matmul(tf.maximum(tf.linalg.matmul(x, hidden) + hidden_bias, 0.0), output) + bias)


def pretrain(
    turns: tuple[Turn, ...],
    tokenizer: Tokenizer,
    embedding: NDArray[np.float32],
    seed: int,
    report: Callable[[str], None] = lambda line: None,
) -> Encoder:
    """Train embedding and encoder on the turns that were answered.

    Args:
        turns: unlabelled lines with what came before and after.
        tokenizer: for all of them.
        embedding: float32[vocabulary, K], where to start (:mod:`.embedding`).
        seed: of weights, order and dropout; the same seed and text give the same arrays.
        report: hears one line an epoch.
    """
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    answered = [turn for turn in turns if turn.following]
    line = np.stack([tokenizer.padded(t.text, LINE_TOKENS, keep="last") for t in answered])
    earlier = np.stack(
        [tokenizer.padded(t.earlier[-1] if t.earlier else "", EARLIER_TOKENS, keep="last") for t in answered]
    )
    answers = tokenizer.ids_of_all([t.following for t in answered])
    target, rate = _targets(answers, tokenizer.vocabulary_size)

    rng = np.random.default_rng(seed)
    width = embedding.shape[1]
    table = tf.Variable(embedding)
    hidden = tf.Variable(_draw(rng, 3 * width, HIDDEN, 1.0))
    hidden_bias = tf.Variable(np.zeros(HIDDEN, np.float32))
    output = tf.Variable(_draw(rng, HIDDEN, OUTPUTS, 1.0))
    output_bias = tf.Variable(np.zeros(OUTPUTS, np.float32))
    guess = tf.Variable(_draw(rng, OUTPUTS, TARGET_PIECES, 0.5))
    guess_bias = tf.Variable(np.log(rate / (1 - rate)).astype(np.float32))
    variables = [table, hidden, hidden_bias, output, output_bias, guess, guess_bias]
    optimizer = tf.keras.optimizers.Adam(STEP_SIZE)

    def pooled(ids: tf.Tensor) -> tf.Tensor:
        return pool(tf.gather(table, ids) * tf.cast(ids > 0, tf.float32)[:, :, None])

    @tf.function  # type: ignore[untyped-decorator]
    def step(line_ids: tf.Tensor, earlier_ids: tf.Tensor, pieces: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            features = encode(pooled(line_ids), pooled(earlier_ids), hidden, hidden_bias, output, output_bias)
            logits = tf.linalg.matmul(features, guess) + guess_bias
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=pieces, logits=logits)
            loss = tf.reduce_mean(tf.reduce_sum(losses, axis=1))
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    for epoch in range(EPOCHS):
        order = rng.permutation(len(answered))
        losses = []
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            dense_target = np.zeros((BATCH, TARGET_PIECES), np.float32)
            for row, index in enumerate(chosen):
                dense_target[row, target[int(index)]] = 1.0
            losses.append(float(step(_thinned(line[chosen], rng), _thinned(earlier[chosen], rng), dense_target)))
        report(f"encoder: epoch {epoch + 1} of {EPOCHS}, {np.mean(losses) if losses else 0.0:.2f} nats an answer")
    rows = table.numpy()
    rows[0] = 0.0
    return Encoder(rows, hidden.numpy(), hidden_bias.numpy(), output.numpy(), output_bias.numpy())


def _targets(answers: list[list[int]], vocabulary: int) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    """Which of the :data:`TARGET_PIECES` each answer holds, and how often each is held."""
    held = [np.unique(np.asarray(ids, np.int64)) for ids in answers]
    frequency = np.bincount(np.concatenate([*held, np.zeros(0, np.int64)]), minlength=vocabulary)
    column = np.full(vocabulary, -1, np.int64)
    column[np.argsort(-frequency, kind="stable")[:TARGET_PIECES]] = np.arange(min(TARGET_PIECES, vocabulary))
    targets = [column[ids][column[ids] >= 0] for ids in held]
    count = np.bincount(np.concatenate([*targets, np.zeros(0, np.int64)]), minlength=TARGET_PIECES)
    return targets, np.asarray((count + 0.5) / (len(answers) + 1.0), np.float64)


def _draw(rng: np.random.Generator, rows: int, columns: int, gain: float) -> NDArray[np.float32]:
    return np.asarray(rng.standard_normal((rows, columns)) * gain / np.sqrt(rows), np.float32)


def _thinned(ids: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """Drop a few pieces at random."""
    return np.where(rng.random(ids.shape) < PIECE_DROPOUT, 0, ids).astype(np.int32)
