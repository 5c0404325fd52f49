"""The ranker on the device: one model file that scores, explains its head's inputs, and trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import BundleError, RankerInputError
from .head_trainer import HEAD_SIGNATURES, HeadRows, HeadTrainer
from .model_file import ModelFile, check, padded
from .types import Example, RankerInputs

SIGNATURES = ("infer", "train_step", "evaluate", "get_weights", "set_weights", "head_inputs", *HEAD_SIGNATURES)

PAIR_INPUTS = tuple(field.name for field in fields(RankerInputs))
"""What the model file takes of a (context, candidate) pair."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for ``train_step`` and ``evaluate``; B is :attr:`Ranker.train_batch`, rows of weight 0 are padding."""

    context_ids: NDArray[np.int32]
    """[B, CONTEXT_TOKENS]"""
    candidate_ids: NDArray[np.int32]
    """[B, CANDIDATE_TOKENS]"""
    dense: NDArray[np.float32]
    """[B, DENSE_FEATURES]"""
    label: NDArray[np.float32]
    """[B], 0 or 1."""
    weight: NDArray[np.float32]
    """[B], >= 0."""


class Ranker:
    """p(tap | context, candidate, history) as logits, trainable in place.

    Args:
        bundle: the release whose model file to run. Its weights are set to the bundle's version 0.
        threads: threads inside one call; one is fastest for a model this small.

    Raises:
        BundleError: the model file cannot be loaded or lacks a signature.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        try:
            self._file = ModelFile(bundle.ranker, SIGNATURES, threads)
        except BundleError as problem:
            raise BundleError(f"{bundle.name}/ranker.tflite: {problem}") from None
        self.vocabulary = bundle.architecture.vocabulary
        self.dimension = bundle.dimension
        self.infer_batch = self._file.inputs("infer")["dense"][1][0]
        self.train_batch = self._file.inputs("train_step")["dense"][1][0]
        self.head = HeadTrainer(self._file)
        """Trains the head; the ranker's own weights are not touched by it."""
        self.set_weights(bundle.weights0)

    def scores(self, inputs: RankerInputs) -> NDArray[np.float32]:
        """Logits of n (context, candidate) pairs.

        Args:
            inputs: any n; more than :attr:`infer_batch` takes several calls.

        Returns:
            float32[n].

        Raises:
            RankerInputError: a wrong dtype, rank or dimension, or a piece id outside the vocabulary.
        """
        scores = np.empty(len(inputs.dense), np.float32)
        for start, answer in self._by_parts("infer", inputs, self.infer_batch):
            scores[start : start + self.infer_batch] = answer["logit"][: len(scores) - start]
        return scores

    def head_rows(self, examples: Sequence[Example]) -> HeadRows:
        """What the head sees of n >= 0 examples: the frozen part of the model, computed once.

        Raises:
            RankerInputError: an example does not fit the model file.
        """

        def stacked(name: str) -> NDArray[Any]:
            kind, shape = self._file.inputs("head_inputs")[name]
            rows = [getattr(example, name) for example in examples]
            return np.stack(rows) if rows else np.zeros((0, *shape[1:]), kind)

        inputs = RankerInputs(**{name: stacked(name) for name in PAIR_INPUTS})
        parts = {name: [np.zeros((0, *shape[1:]), kind)] for name, (kind, shape) in self.head.inputs.items()}
        for start, answer in self._by_parts("head_inputs", inputs, self.train_batch):
            for name, values in answer.items():
                parts[name].append(values[: len(examples) - start])
        return HeadRows(
            {name: np.concatenate(values) for name, values in parts.items()},
            np.array([e.label for e in examples], np.float32),
            np.array([e.weight for e in examples], np.float32),
        )

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        """One step of stochastic gradient descent on the weighted mean cross-entropy of ``batch``.

        Args:
            batch: exactly :attr:`train_batch` rows, padded with weight 0.
            learning_rate: > 0.

        Returns:
            the loss before the step.

        Raises:
            RankerInputError: a wrong dtype, rank or dimension, or a piece id outside the vocabulary.
        """
        if not (np.isfinite(learning_rate) and learning_rate > 0):
            raise RankerInputError(f"learning_rate is {learning_rate}, expected a positive number.")
        arrays: dict[str, Any] = self._checked_batch("train_step", batch)
        arrays["learning_rate"] = np.float32(learning_rate)
        return float(self._file.call("train_step", arrays)["loss"])

    def evaluate(self, batch: Batch) -> tuple[float, NDArray[np.float32]]:
        """Summed weighted cross-entropy of ``batch`` and its logits, float32[train_batch]; changes nothing.

        Raises:
            RankerInputError: as :meth:`train_step`.
        """
        answer = self._file.call("evaluate", self._checked_batch("evaluate", batch))
        return float(answer["loss_sum"]), np.array(answer["logit"])

    def weights(self) -> NDArray[np.float32]:
        """A copy of the trainable weights, float32[dimension]."""
        return np.array(self._file.call("get_weights", {})["weights"])

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Replace the trainable weights.

        Args:
            weights: float32[dimension], finite.

        Raises:
            RankerInputError: a wrong dtype or shape, or a value that is not finite.
        """
        check("weights", weights, *self._file.inputs("set_weights")["weights"])
        if not np.isfinite(weights).all():
            raise RankerInputError("weights hold values that are not finite; keep the model you have.")
        self._file.call("set_weights", {"weights": weights})

    def _checked_batch(self, signature: str, batch: Batch) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            **{name: getattr(batch, name) for name in PAIR_INPUTS},
            "label": batch.label,
            "weight": batch.weight,
        }
        for key, array in arrays.items():
            check(key, array, *self._file.inputs(signature)[key])
        self._check_ids(batch)
        return arrays

    def _by_parts(
        self, signature: str, inputs: RankerInputs, size: int
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Run ``signature`` on ``size`` rows at a time, the last ones padded; yields the first row and the answer."""
        n = len(inputs.dense)
        arrays = {name: getattr(inputs, name) for name in PAIR_INPUTS}
        for key, array in arrays.items():
            dtype, shape = self._file.inputs(signature)[key]
            check(key, array, dtype, (n, *shape[1:]))
        self._check_ids(inputs)
        for start in range(0, n, size):
            yield (
                start,
                self._file.call(
                    signature, {key: padded(array[start : start + size], size) for key, array in arrays.items()}
                ),
            )

    def _check_ids(self, rows: RankerInputs | Batch) -> None:
        # One comparison finds both ends: a negative id is huge as an unsigned number.
        for ids in (rows.context_ids, rows.candidate_ids):
            if ids.size and int(ids.view(np.uint32).max()) >= self.vocabulary:
                raise RankerInputError(
                    f"piece ids must lie in 0..{self.vocabulary - 1}; use the bundle's own tokenizer."
                )
