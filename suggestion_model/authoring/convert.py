"""From TensorFlow to a LiteRT file with builtin ops only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from .. import features
from .heads import TRAIN_BATCH, Head, HeadTraining
from .ranker import INFER_BATCH, RankerModule


def signatures(module: RankerModule) -> dict[str, Any]:
    """All functions of the ranker with their fixed shapes, as concrete functions by signature name."""

    def pairs(n: int) -> dict[str, tf.TensorSpec]:
        return {
            "context_ids": tf.TensorSpec([n, features.CONTEXT_TOKENS], tf.int32, "context_ids"),
            "candidate_ids": tf.TensorSpec([n, features.CANDIDATE_TOKENS], tf.int32, "candidate_ids"),
            "dense": tf.TensorSpec([n, features.DENSE_FEATURES], tf.float32, "dense"),
        }

    labels = {
        "label": tf.TensorSpec([TRAIN_BATCH], tf.float32, "label"),
        "weight": tf.TensorSpec([TRAIN_BATCH], tf.float32, "weight"),
    }
    shapes: dict[str, dict[str, tf.TensorSpec]] = {
        "infer": pairs(INFER_BATCH),
        "train_step": {
            **pairs(TRAIN_BATCH),
            **labels,
            "learning_rate": tf.TensorSpec([], tf.float32, "learning_rate"),
        },
        "evaluate": {**pairs(TRAIN_BATCH), **labels},
        "get_weights": {},
        "set_weights": {"weights": tf.TensorSpec(module.weights.shape, tf.float32, "weights")},
        "head_inputs": pairs(TRAIN_BATCH),
    }
    own = {name: tf.function(getattr(module, name)).get_concrete_function(**specs) for name, specs in shapes.items()}
    return {**own, **module.training.functions()}


def convert(module: RankerModule) -> bytes:
    """Convert the ranker; returns the bytes of the ``.tflite`` file.

    Raises:
        ConverterError: something would need a Flex or custom op.
    """
    return _convert(module, signatures(module))


def convert_head(head: Head) -> bytes:
    """A file that trains ``head`` on inputs that are given, and holds nothing else.

    Raises:
        ConverterError: something would need a Flex or custom op.
    """
    training = HeadTraining(head)
    return _convert(training, training.functions())


def _convert(module: tf.Module, functions: dict[str, Any]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="ranker-") as directory:
        saved = Path(directory) / "saved_model"
        tf.saved_model.save(module, str(saved), signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        converter.allow_custom_ops = False
        return bytes(converter.convert())
