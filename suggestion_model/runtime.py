"""The ranker on the device: one LiteRT interpreter, its signatures guarded by checks and a lock.

LiteRT accepts arrays of wrong shape without a word, and a wrong ``set_weights`` ends the process: every call here
compares dtype, rank and each dimension with the model file's own input details first. An interpreter shared by
threads corrupts its weights, so each :class:`Ranker` serves one call at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import BundleError, RankerInputError
from .types import RankerInputs

SIGNATURES = ("infer", "train_step", "evaluate", "get_weights", "set_weights")


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
            self._interpreter = Interpreter(model_content=bundle.ranker, num_threads=threads)
            self._runners = {name: self._interpreter.get_signature_runner(name) for name in SIGNATURES}
        except (ValueError, RuntimeError, KeyError):
            raise BundleError(f"{bundle.name}/ranker.tflite: LiteRT cannot run it. Install it again.") from None
        self._expected: dict[str, dict[str, tuple[Any, tuple[int, ...]]]] = {
            name: {
                key: (detail["dtype"], tuple(int(n) for n in detail["shape"]))
                for key, detail in runner.get_input_details().items()
            }
            for name, runner in self._runners.items()
        }
        self._lock = threading.Lock()
        self.vocabulary = bundle.architecture.vocabulary
        self.dimension = bundle.dimension
        self.infer_batch = self._expected["infer"]["dense"][1][0]
        self.train_batch = self._expected["train_step"]["dense"][1][0]
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
        n = len(inputs.dense)
        expected = self._expected["infer"]
        arrays = {"context_ids": inputs.context_ids, "candidate_ids": inputs.candidate_ids, "dense": inputs.dense}
        for key, array in arrays.items():
            dtype, shape = expected[key]
            _check(key, array, dtype, (n, *shape[1:]))
        self._check_ids(inputs.context_ids)
        self._check_ids(inputs.candidate_ids)
        scores = np.empty(n, np.float32)
        for start in range(0, n, self.infer_batch):
            rows = {
                key: _padded(array[start : start + self.infer_batch], self.infer_batch) for key, array in arrays.items()
            }
            part = self._call("infer", rows)["logit"]
            scores[start : start + self.infer_batch] = part[: n - start]
        return scores

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
        return float(self._call("train_step", arrays)["loss"])

    def evaluate(self, batch: Batch) -> tuple[float, NDArray[np.float32]]:
        """Summed weighted cross-entropy of ``batch`` and its logits, float32[train_batch]; changes nothing.

        Raises:
            RankerInputError: as :meth:`train_step`.
        """
        answer = self._call("evaluate", self._checked_batch("evaluate", batch))
        return float(answer["loss_sum"]), np.array(answer["logit"])

    def weights(self) -> NDArray[np.float32]:
        """A copy of the trainable weights, float32[dimension]."""
        return np.array(self._call("get_weights", {})["weights"])

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Replace the trainable weights.

        Args:
            weights: float32[dimension], finite.

        Raises:
            RankerInputError: a wrong dtype or shape, or a value that is not finite.
        """
        _check("weights", weights, *self._expected["set_weights"]["weights"])
        if not np.isfinite(weights).all():
            raise RankerInputError("weights hold values that are not finite; keep the model you have.")
        self._call("set_weights", {"weights": weights})

    def _checked_batch(self, signature: str, batch: Batch) -> dict[str, NDArray[Any]]:
        expected = self._expected[signature]
        arrays: dict[str, NDArray[Any]] = {
            "context_ids": batch.context_ids,
            "candidate_ids": batch.candidate_ids,
            "dense": batch.dense,
            "label": batch.label,
            "weight": batch.weight,
        }
        for key, array in arrays.items():
            _check(key, array, *expected[key])
        self._check_ids(batch.context_ids)
        self._check_ids(batch.candidate_ids)
        return arrays

    def _check_ids(self, ids: NDArray[np.int32]) -> None:
        # One comparison finds both ends: a negative id is huge as an unsigned number.
        if ids.size and int(ids.view(np.uint32).max()) >= self.vocabulary:
            raise RankerInputError(f"piece ids must lie in 0..{self.vocabulary - 1}; use the bundle's own tokenizer.")

    def _call(self, signature: str, arrays: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        with self._lock:
            answer: dict[str, NDArray[Any]] = self._runners[signature](**arrays)
            return answer


def _check(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        seen = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise RankerInputError(f"{name} is {seen}, expected {np.dtype(dtype).name}{list(shape)}.")


def _padded(rows: NDArray[Any], length: int) -> NDArray[Any]:
    if len(rows) == length:
        return np.ascontiguousarray(rows)
    out = np.zeros((length, *rows.shape[1:]), rows.dtype)
    out[: len(rows)] = rows
    return out
