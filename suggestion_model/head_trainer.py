"""Gradient descent on a head, inside the model file: many steps a call, on inputs that are computed once an example.

What learns on a device is the head alone; what it sees of an example does not change while it trains. So the frozen
part runs once an example (``head_inputs``), and one call of ``train_head`` then does all steps of an epoch, or of all
epochs, in a WHILE op. Weights come and go with the call: nothing is left behind in the interpreter.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import RankerInputError
from .model_file import ModelFile, check, padded

HEAD_SIGNATURES = ("train_head", "head_logits")
_PER_ROW = ("label", "weight")
_FLOAT32 = np.dtype(np.float32)
_NOT_ROWS = {"weights", "label", "weight", "order", "steps", "learning_rate"}


@dataclass(frozen=True, slots=True)
class HeadRows:
    """n labelled examples as a head sees them."""

    inputs: Mapping[str, NDArray[np.generic]]
    """By name, the first dimension of each is n."""
    label: NDArray[np.float32]
    """[n], 0 or 1."""
    weight: NDArray[np.float32]
    """[n], >= 0."""

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def join(cls, parts: Sequence[HeadRows]) -> HeadRows:
        """One after the other; at least one part."""
        return cls(
            {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs},
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.weight for part in parts]),
        )

    def take(self, which: NDArray[np.integer] | slice) -> HeadRows:
        """Some of the rows."""
        return HeadRows(
            {name: values[which] for name, values in self.inputs.items()}, self.label[which], self.weight[which]
        )


class HeadTrainer:
    """Trains any head of a file with the signatures ``train_head`` and ``head_logits``.

    Args:
        file: the model file.
    """

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        expected = file.inputs("train_head")
        self.inputs = {name: expected[name] for name in expected if name not in _NOT_ROWS}
        """dtype and shape of each input of the head, by name; the first dimension is the file's own."""
        self.dimension = expected["weights"][1][0]
        """Number d of weights."""
        self.batch = expected["order"][1][1]
        """B, the most examples a step takes."""
        self.steps_a_call = expected["order"][1][0]
        """The most steps one call does."""
        self._capacity = expected["label"][1][0]
        self.rows_a_call = self._capacity - 1
        """The most examples one call holds; the last row of the file's own is padding."""
        # Filled anew by each call: fresh arrays of this size cost as much as two steps. Rows that no step names may
        # hold what an earlier call left there; the last one is never written, its weight stays 0.
        self._scratch = {
            name: _aligned(shape, kind) for name, (kind, shape) in expected.items() if name in (*self.inputs, *_PER_ROW)
        }
        self._order = np.zeros(expected["order"][1], np.int32)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, content: bytes) -> HeadTrainer:
        """From a file that holds a head and nothing else.

        Raises:
            BundleError: LiteRT cannot run it.
        """
        return cls(ModelFile(content, HEAD_SIGNATURES))

    def logits(self, weights: NDArray[np.float32], rows: HeadRows) -> NDArray[np.float32]:
        """Logits of n rows under ``weights``, float32[n].

        Raises:
            RankerInputError: weights or rows do not fit.
        """
        scores, inputs = np.empty(len(rows), np.float32), self._checked(rows)
        for start in range(0, len(rows), self._capacity):
            part = {
                name: padded(values[start : start + self._capacity], self._capacity) for name, values in inputs.items()
            }
            logit = self._file.call("head_logits", {"weights": weights, **part})["logit"]
            scores[start : start + self._capacity] = logit[: len(rows) - start]
        return scores

    def mean_loss(self, weights: NDArray[np.float32], rows: HeadRows) -> float:
        """Weighted mean cross-entropy of n rows; 0 without rows."""
        total = float(rows.weight.sum())
        if not total:
            return 0.0
        z = self.logits(weights, rows).astype(np.float64)
        losses = np.maximum(z, 0.0) - z * rows.label + np.log1p(np.exp(-np.abs(z)))
        return float((losses * rows.weight).sum() / total)

    def train(
        self,
        weights: NDArray[np.float32],
        rows: HeadRows,
        order: NDArray[np.int32],
        learning_rate: float,
    ) -> NDArray[np.float32]:
        """One step of gradient descent on the weighted mean cross-entropy for each row of ``order``, in one call.

        Args:
            weights: float32[d], where to start.
            rows: at most :attr:`rows_a_call` examples.
            order: int32[s, b], the examples each of the s <= :attr:`steps_a_call` steps takes, b <= :attr:`batch`;
                -1 for none.
            learning_rate: > 0.

        Returns:
            the weights after the steps, float32[d].

        Raises:
            RankerInputError: something does not fit, or names an example that is not there.
        """
        if not 0.0 < learning_rate < math.inf:
            raise RankerInputError(f"learning_rate {learning_rate} must be positive.")
        n, steps = len(rows), len(order)
        if n > self.rows_a_call or steps > self.steps_a_call or order.ndim != 2 or order.shape[1] > self.batch:
            raise RankerInputError(f"{n} rows and order {list(order.shape)} are more than one call can hold.")
        if order.size and not (int(order.min()) >= -1 and int(order.max()) < n):
            raise RankerInputError(f"order names examples outside 0..{n - 1}.")
        arrays = {**self._checked(rows), "label": rows.label, "weight": rows.weight}
        with self._lock:
            for name, values in arrays.items():
                self._scratch[name][:n] = values
            plan = self._order[:steps]  # the loop reads no further
            plan[:, : order.shape[1]] = order
            plan[:, order.shape[1] :] = -1
            plan[plan < 0] = self._capacity - 1
            answer = self._file.call(
                "train_head",
                {
                    **self._scratch,
                    "weights": weights,
                    "order": self._order,
                    "steps": np.int32(steps),
                    "learning_rate": np.float32(learning_rate),
                },
            )
        return answer["weights"]

    def _checked(self, rows: HeadRows) -> Mapping[str, NDArray[np.generic]]:
        if rows.inputs.keys() != self.inputs.keys():
            raise RankerInputError(f"The head sees {', '.join(self.inputs)}; got {', '.join(rows.inputs)}.")
        for name, (dtype, shape) in self.inputs.items():
            check(name, rows.inputs[name], dtype, (len(rows), *shape[1:]))
        for name, values in (("label", rows.label), ("weight", rows.weight)):
            check(name, values, _FLOAT32, (len(rows),))
        return rows.inputs


def _aligned(shape: tuple[int, ...], kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Zeros on a 64-byte boundary, as LiteRT's own tensors are.

    Some processors copy ten times slower to an address that lies 16 bytes after the source's within a page; two
    aligned addresses never do.
    """
    size = math.prod(shape) * kind.itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(kind).reshape(shape)
