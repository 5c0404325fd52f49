"""A linear head as one matrix: scores and whole-batch gradients of many rows, without the model file.

Every head that ships so far is linear in its weights: ``logit = X w`` with one row of X an example. What the file sees
of an example (its head's inputs) gives that row, and :func:`linear_head` believes it only after the file's own logits
agree for random weights.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.population import Index
from suggestion_model.head_trainer import HeadRows, HeadTrainer

_KEPT = 4
_WORTH_KEEPING = 1000
_CHECKED = 64


class LinearHead:
    """X, float32[n, d], of all rows: a dense and a sparse block of columns, either may be missing.

    Args:
        sparse: a SciPy CSR matrix [n, s] or None; its weights come first.
        dense: float32[n, m] or None.
    """

    def __init__(self, sparse: Any | None, dense: NDArray[np.float32] | None) -> None:
        self._sparse, self._dense = sparse, dense
        self._split = 0 if sparse is None else sparse.shape[1]
        self._kept: OrderedDict[bytes, LinearHead] = OrderedDict()

    def take(self, rows: Index) -> LinearHead:
        """Some of the rows; large selections that come again and again are kept."""
        if len(rows) < _WORTH_KEEPING:
            return self._taken(rows)
        name = rows.tobytes()
        found = self._kept.pop(name, None) or self._taken(rows)
        self._kept[name] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def _taken(self, rows: Index) -> LinearHead:
        return LinearHead(
            None if self._sparse is None else self._sparse[rows], None if self._dense is None else self._dense[rows]
        )

    def times(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """X w, float32[n]."""
        parts = []
        if self._sparse is not None:
            parts.append(self._sparse @ weights[: self._split])
        if self._dense is not None:
            parts.append(self._dense @ weights[self._split :])
        return np.asarray(sum(parts), np.float32)

    def transposed_times(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """X^T v, float64[d]."""
        parts = []
        if self._sparse is not None:
            parts.append(self._sparse.T @ values)
        if self._dense is not None:
            parts.append(self._dense.T @ values)
        return np.concatenate(parts).astype(np.float64)


def linear_head(head: HeadTrainer, rows: HeadRows) -> LinearHead | None:
    """The matrix of a head, or None if the head is not linear in its weights in a way that is known here."""
    dense = rows.inputs.get("inputs")
    columns = None if dense is None else np.asarray(dense, np.float32)
    sparse = None
    if "hashed_ids" in rows.inputs:
        width = head.dimension - (0 if columns is None else columns.shape[1])
        sparse = _csr(rows.inputs["hashed_ids"], rows.inputs["hashed_values"], width)
    elif columns is not None:
        # The bias is a weight of its own here, behind that of the baseline score.
        columns = np.concatenate([columns[:, :1], np.ones((len(columns), 1), np.float32), columns[:, 1:]], axis=1)
    if len(rows.inputs) > 3 or (columns is None and sparse is None):
        return None
    found = LinearHead(sparse, columns)
    few, rng = np.arange(min(_CHECKED, len(rows))), np.random.default_rng(0)
    for weights in rng.normal(size=(3, head.dimension)).astype(np.float32):
        known = sum(0 if block is None else block.shape[1] for block in (sparse, columns))
        if known != head.dimension:
            return None
        if not np.allclose(head.logits(weights, rows.take(few)), found.take(few).times(weights), rtol=1e-3, atol=1e-3):
            return None
    return found


def _csr(ids: NDArray[Any], values: NDArray[Any], width: int) -> Any:
    from scipy.sparse import csr_matrix

    n, places = ids.shape
    # A copy: dropping zeros packs the arrays in place, and the rows are still needed as they are.
    columns = (np.array(values).ravel(), np.array(ids).ravel(), np.arange(0, n * places + 1, places))
    found = csr_matrix(columns, shape=(n, width))
    found.eliminate_zeros()
    return found
