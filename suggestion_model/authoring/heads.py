"""Trainable heads, and the training loop that goes into the model file with them.

A head turns the frozen features of an example into a logit. Only the head learns on a device, so the frozen features
are computed once an example, and all steps of an epoch run inside one call: a WHILE op around gather, gradient and
step. The order of the examples comes from the caller, who alone draws.

The loop's state is the head's blocks, not the flat vector: slicing a flat vector has a gradient that LiteRT lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

TRAIN_BATCH = 16
"""B, examples a step."""
ROWS = 256
"""Examples one call can hold; the last row is padding and always has weight 0."""
STEPS = 64
"""Steps one call can do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named block of the flat weight vector."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape))


class Head(Protocol):
    """What learns: any differentiable function of its blocks that converts to builtin ops."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Blocks of the flat weight vector, in order."""
        ...

    def rows(self, n: int) -> dict[str, tf.TensorSpec]:
        """Inputs for n examples by name; the first dimension of each is n."""
        ...

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        ...


@dataclass(frozen=True, slots=True)
class LinearHead:
    """``skip * inputs[0] + bias + linear . inputs[1:]``; the first input is the standardised baseline score."""

    width: int
    """Inputs of an example, the baseline score included."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """skip, bias, linear."""
        return Part("skip", (1,)), Part("bias", (1,)), Part("linear", (self.width - 1,))

    def rows(self, n: int) -> dict[str, tf.TensorSpec]:
        """One float32[n, width]."""
        return {"inputs": tf.TensorSpec([n, self.width], tf.float32, "inputs")}

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        skip, bias, linear = parts
        column = tf.expand_dims(tf.concat([skip, linear], axis=0), 1)
        return tf.squeeze(tf.linalg.matmul(rows["inputs"], column), axis=1) + bias


@dataclass(frozen=True, slots=True)
class DenseHead:
    """One hidden layer of rectified linear units."""

    width: int
    hidden: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """hidden, hidden_bias, output, bias: (width + 2) * hidden + 1 weights."""
        return (
            Part("hidden", (self.width, self.hidden)),
            Part("hidden_bias", (self.hidden,)),
            Part("output", (1, self.hidden)),
            Part("bias", (1,)),
        )

    def rows(self, n: int) -> dict[str, tf.TensorSpec]:
        """One float32[n, width]."""
        return {"inputs": tf.TensorSpec([n, self.width], tf.float32, "inputs")}

    def logits(self, parts: Sequence[tf.Tensor], rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits, float32[n]."""
        hidden, hidden_bias, output, bias = parts
        # The gradient of tf.maximum is a builtin op, that of tf.nn.relu is not.
        active = tf.maximum(tf.linalg.matmul(rows["inputs"], hidden) + hidden_bias, 0.0)
        # A row times a row, summed: the gradient of a product of matrices would be transposed at each step.
        return tf.reduce_sum(active * output, axis=1) + bias


def dimension(head: Head) -> int:
    """Number d of weights."""
    return sum(part.size for part in head.parts)


def split(head: Head, weights: tf.Tensor) -> list[tf.Tensor]:
    """The blocks of a flat vector, float32[d]."""
    flat = tf.split(weights, [part.size for part in head.parts])
    return [tf.reshape(block, part.shape) for block, part in zip(flat, head.parts, strict=True)]


def join(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Invert :func:`split`."""
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


def descent(
    head: Head,
    parts: Sequence[tf.Tensor],
    rows: Mapping[str, tf.Tensor],
    label: tf.Tensor,
    weight: tf.Tensor,
    rate: tf.Tensor,
) -> list[tf.Tensor]:
    """``-rate`` times the gradient of the weighted mean cross-entropy, by block.

    The derivative by the logit is written out, and the rate multiplied in there, where it meets the fewest numbers.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parts)
        logit = head.logits(parts, rows)
    error = (label - tf.sigmoid(logit)) * weight * (rate / (tf.reduce_sum(weight) + 1e-12))
    return list(tape.gradient(logit, parts, output_gradients=error))


class HeadTraining(tf.Module):  # type: ignore[misc]
    """The signatures ``train_head`` and ``head_logits``; weights come and go with each call, nothing is kept."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self._head = head

    def functions(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Concrete functions by signature name."""
        flat = [dimension(self._head)]
        rows = self._head.rows(ROWS)
        scalar = [("steps", tf.int32), ("learning_rate", tf.float32)]
        specs = {
            "head_logits": {"weights": tf.TensorSpec(flat, tf.float32, "weights"), **rows},
            "train_head": {
                "weights": tf.TensorSpec(flat, tf.float32, "weights"),
                **rows,
                "label": tf.TensorSpec([ROWS], tf.float32, "label"),
                "weight": tf.TensorSpec([ROWS], tf.float32, "weight"),
                "order": tf.TensorSpec([STEPS, TRAIN_BATCH], tf.int32, "order"),
                **{name: tf.TensorSpec([], kind, name) for name, kind in scalar},
            },
        }
        return {name: tf.function(getattr(self, name)).get_concrete_function(**spec) for name, spec in specs.items()}

    def head_logits(self, weights: tf.Tensor, **rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits of :data:`ROWS` rows under ``weights``."""
        return {"logit": self._head.logits(split(self._head, weights), rows)}

    def train_head(
        self,
        weights: tf.Tensor,
        label: tf.Tensor,
        weight: tf.Tensor,
        order: tf.Tensor,
        steps: tf.Tensor,
        learning_rate: tf.Tensor,
        **rows: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """``steps`` steps of gradient descent; step i takes the examples ``order[i]``."""

        def step(at: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            chosen = tf.reshape(tf.slice(order, [at, 0], [1, TRAIN_BATCH]), [TRAIN_BATCH])
            batch = {name: tf.gather(values, chosen) for name, values in rows.items()}
            down = descent(self._head, parts, batch, tf.gather(label, chosen), tf.gather(weight, chosen), learning_rate)
            return at + 1, *(part + step for part, step in zip(parts, down, strict=True))

        _, *trained = tf.while_loop(
            lambda at, *parts: at < steps, step, (tf.constant(0), *split(self._head, weights)), parallel_iterations=1
        )
        return {"weights": join(trained)}
