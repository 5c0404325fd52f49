"""The whole ranker, embedding and encoder too, trained along a seeded random subspace: weights = w0 + A z, z travels.

The model file is made here from the shipped one's constants, by the same converter, and trains in LiteRT like the
shipped head: its one flat variable is z. With the identity in the place of A every weight moves for itself; that is
the training that would send float32.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated_protocol.plan import SubsetBlock
from federated_protocol.update_codec.subspace import Subspace
from suggestion_model.authoring.frozen_parts import FrozenParts
from suggestion_model.bundle import Bundle
from suggestion_model.features import BASELINE_INDEX, CANDIDATE_TOKENS, CONTEXT_TOKENS, DENSE_FEATURES
from suggestion_model.runtime import PAIR_INPUTS
from suggestion_model.types import Example, RankerInputs

Weights = NDArray[np.float32]
SCORED_AT_ONCE = 64
TRAINED_AT_ONCE = 16


def _learned_parts(frozen: FrozenParts) -> list[Weights]:
    """What learns beside the head: embedding (to its common scale, which pooling ignores) and encoder."""
    scale = np.float32(1.0 / 127.0)
    arrays = (frozen.embedding * scale, frozen.hidden, frozen.hidden_bias, frozen.output, frozen.output_bias)
    return [np.ascontiguousarray(array, np.float32) for array in arrays]


def whole_size(bundle: Bundle) -> int:
    """Number of weights of the whole ranker: embedding, encoder and head."""
    return sum(part.size for part in _learned_parts(FrozenParts(bundle))) + bundle.dimension


class WholeRanker:
    """Trains and scores; its weights are z, and z = 0 is version 0.

    Args:
        bundle: the shipped release.
        moved: coordinates of z that move the embedding and the encoder; None for the identity. The head moves as it is.
        seed: 32 bytes, of the subspace.
    """

    def __init__(self, bundle: Bundle, moved: tuple[int, int] | None, seed: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        frozen = FrozenParts(bundle)
        table, *encoder = _learned_parts(frozen)
        lengths = table.size, sum(part.size for part in encoder)
        chosen = lengths if moved is None else moved
        blocks = [SubsetBlock(length, count) for length, count in zip(lengths, chosen, strict=True)]
        blocks.append(SubsetBlock(bundle.dimension, bundle.dimension))
        self.subspace = Subspace(seed, blocks)
        self.start: Weights = np.zeros(self.subspace.size, np.float32)
        self.whole = self.subspace.dimension
        content = _model_file(frozen, bundle.weights0, self.subspace)
        interpreter = Interpreter(model_content=content, num_threads=1)
        names = ("infer", "train_step", "get_weights", "set_weights")
        self._run = {name: interpreter.get_signature_runner(name) for name in names}
        self._interpreter = interpreter

    def scores(self, weights: Weights, inputs: RankerInputs) -> NDArray[np.float32]:
        """Logits of n pairs, float32[n]."""
        self._run["set_weights"](weights=weights)
        n = len(inputs.dense)
        found = np.empty(n, np.float32)
        for at in range(0, n, SCORED_AT_ONCE):
            rows = {
                name: _padded(getattr(inputs, name)[at : at + SCORED_AT_ONCE], SCORED_AT_ONCE) for name in PAIR_INPUTS
            }
            found[at : at + SCORED_AT_ONCE] = self._run["infer"](**rows)["logit"][: n - at]
        return found

    def train(
        self,
        weights: Weights,
        examples: Sequence[Example],
        epochs: int,
        learning_rate: float,
        proximal: float,
        rng: np.random.Generator,
    ) -> Weights:
        """ClientUpdate from ``weights``: the change of z, float32[m]."""
        self._run["set_weights"](weights=weights)
        pull = np.float32(min(learning_rate * proximal, 1.0))
        for _ in range(epochs):
            order = rng.permutation(len(examples))
            for at in range(0, len(order), TRAINED_AT_ONCE):
                rows = [examples[int(i)] for i in order[at : at + TRAINED_AT_ONCE]]
                weight = np.zeros(TRAINED_AT_ONCE, np.float32)
                weight[: len(rows)] = [row.weight for row in rows]
                rows += [rows[0]] * (TRAINED_AT_ONCE - len(rows))
                self._run["train_step"](
                    **{name: np.stack([getattr(row, name) for row in rows]) for name in PAIR_INPUTS},
                    label=np.array([row.label for row in rows], np.float32),
                    weight=weight,
                    learning_rate=np.float32(learning_rate),
                )
                if pull:
                    now = self._weights()
                    self._run["set_weights"](weights=now - pull * (now - weights))
        return self._weights() - weights

    def _weights(self) -> Weights:
        return np.array(self._run["get_weights"]()["weights"], np.float32)


def _padded(rows: NDArray[Any], size: int) -> NDArray[Any]:
    if len(rows) == size:
        return np.ascontiguousarray(rows)
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])


def _model_file(frozen: FrozenParts, head: Weights, subspace: Subspace) -> bytes:
    """Convert the ranker whose only variable is z."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from suggestion_model.authoring.encoder import encode, pool
    from suggestion_model.authoring.form import form
    from suggestion_model.authoring.ranker import CANDIDATE_SCALE, DENSE_LIMIT, ENCODER_SCALE
    from suggestion_model.features import LINE_TOKENS

    table, *encoder = _learned_parts(frozen)
    cells = table.size
    sizes = [part.size for part in encoder] + [head.size]
    # A z, coordinate by coordinate: a sign and scale, and the coordinate of z it belongs to.
    bucket, entry = subspace.columns()
    table_bucket = tf.constant(bucket[:cells].reshape(table.shape).astype(np.int32))
    table_entry = tf.constant(entry[:cells].reshape(table.shape).astype(np.float32))
    rest_bucket = tf.constant(bucket[cells:].astype(np.int32))
    rest_entry = tf.constant(entry[cells:].astype(np.float32))
    rest = tf.constant(np.concatenate([part.reshape(-1) for part in (*encoder, head)]))
    rows_of = tf.constant(table)
    mean, inverse = tf.constant(frozen.mean), tf.constant(1.0 / frozen.deviation)
    projection, offset = tf.constant(frozen.projection), tf.constant(frozen.offset)

    def logits(z: Any, context_ids: Any, candidate_ids: Any, dense: Any) -> Any:
        def pooled(ids: Any) -> Any:
            rows = tf.gather(rows_of, ids) + tf.gather(table_entry, ids) * tf.gather(z, tf.gather(table_bucket, ids))
            return pool(rows * tf.cast(ids > 0, tf.float32)[:, :, None])  # the padding's row stays zero

        moved = tf.split(rest + rest_entry * tf.gather(z, rest_bucket), sizes)
        layers = [tf.reshape(flat, part.shape) for flat, part in zip(moved, encoder, strict=False)]
        skip, bias, linear = tf.split(moved[-1], [1, 1, head.size - 2])
        line_ids = context_ids[:, :LINE_TOKENS]
        line, earlier = pooled(line_ids), pooled(context_ids[:, LINE_TOKENS:])
        candidate = pooled(candidate_ids) * CANDIDATE_SCALE
        standard = (dense - mean) * inverse
        known = tf.minimum(tf.maximum(standard, -DENSE_LIMIT), DENSE_LIMIT)
        seen = encode(line, earlier, *layers) * ENCODER_SCALE
        tenths = tf.round(tf.gather(dense, frozen.bin_columns, axis=1) * 10.0)
        bins = tf.cast(tf.equal(tenths, frozen.bin_tenths), tf.float32)
        put = form(line_ids, frozen.form_pieces)
        raw = tf.concat([known, seen, candidate, line * candidate, put, bins], axis=1)
        x = tf.linalg.matmul(raw, projection) + offset
        return (
            tf.squeeze(tf.linalg.matmul(x, tf.expand_dims(linear, 1)), axis=1)
            + skip * standard[:, BASELINE_INDEX]
            + bias
        )

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.z = tf.Variable(np.zeros(subspace.size, np.float32))

        def infer(self, **inputs: Any) -> dict[str, Any]:
            return {"logit": logits(self.z.read_value(), **inputs)}

        def train_step(self, label: Any, weight: Any, learning_rate: Any, **inputs: Any) -> dict[str, Any]:
            z = self.z.read_value()
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(z)
                logit = logits(z, **inputs)
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit)
                loss = tf.reduce_sum(losses * weight) / (tf.reduce_sum(weight) + 1e-12)
            gradient = tf.convert_to_tensor(tape.gradient(loss, z))
            self.z.assign(z - learning_rate * gradient)
            return {"loss": loss}

        def get_weights(self) -> dict[str, Any]:
            return {"weights": tf.identity(self.z.read_value())}

        def set_weights(self, weights: Any) -> dict[str, Any]:
            self.z.assign(weights)
            return {"size": tf.size(weights)}

    def pairs(n: int) -> dict[str, Any]:
        return {
            "context_ids": tf.TensorSpec([n, CONTEXT_TOKENS], tf.int32, "context_ids"),
            "candidate_ids": tf.TensorSpec([n, CANDIDATE_TOKENS], tf.int32, "candidate_ids"),
            "dense": tf.TensorSpec([n, DENSE_FEATURES], tf.float32, "dense"),
        }

    named = partial(tf.TensorSpec, dtype=tf.float32)
    labelled = {name: named([TRAINED_AT_ONCE], name=name) for name in ("label", "weight")}
    shapes: dict[str, dict[str, Any]] = {
        "infer": pairs(SCORED_AT_ONCE),
        "train_step": {**pairs(TRAINED_AT_ONCE), **labelled, "learning_rate": named([], name="learning_rate")},
        "get_weights": {},
        "set_weights": {"weights": named([subspace.size], name="weights")},
    }
    module = Module()
    functions = {name: tf.function(getattr(module, name)).get_concrete_function(**s) for name, s in shapes.items()}
    with tempfile.TemporaryDirectory(prefix="whole-ranker-") as folder:
        saved = str(Path(folder) / "saved_model")
        tf.saved_model.save(module, saved, signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        return bytes(converter.convert())
