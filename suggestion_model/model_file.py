"""A LiteRT file in memory: its signatures, guarded by checks and a lock.

LiteRT accepts arrays of wrong shape without a word, and some of them end the process: every call here compares names,
dtype, rank and each dimension with the file's own input details first. An interpreter shared by threads corrupts what
it holds, so a file serves one call at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from .errors import BundleError, RankerInputError


class ModelFile:
    """Runs the signatures of one ``.tflite`` file.

    Args:
        content: the file.
        signatures: those that must be in it.
        threads: threads inside one call; one is fastest for models this small.

    Raises:
        BundleError: LiteRT cannot load it, or a signature is missing.
    """

    def __init__(self, content: bytes, signatures: Iterable[str], threads: int = 1) -> None:
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._runners = {name: self._interpreter.get_signature_runner(name) for name in signatures}
        except (ValueError, RuntimeError, KeyError):
            raise BundleError("LiteRT cannot run this model file. Install it again.") from None
        self._expected: dict[str, dict[str, tuple[np.dtype[Any], tuple[int, ...]]]] = {
            name: {
                key: (np.dtype(detail["dtype"]), tuple(int(n) for n in detail["shape"]))
                for key, detail in runner.get_input_details().items()
            }
            for name, runner in self._runners.items()
        }
        self._lock = threading.Lock()

    def inputs(self, signature: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """dtype and shape of each input of ``signature``."""
        return self._expected[signature]

    def call(self, signature: str, arrays: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Run ``signature``; returns copies.

        Raises:
            RankerInputError: a missing or unknown input, a wrong dtype, rank or dimension.
        """
        expected = self._expected[signature]
        if arrays.keys() != expected.keys():
            raise RankerInputError(f"{signature} takes {', '.join(sorted(expected))}; got {', '.join(sorted(arrays))}.")
        for key, (dtype, shape) in expected.items():
            check(key, arrays[key], dtype, shape)
        with self._lock:
            answer: dict[str, NDArray[Any]] = self._runners[signature](**arrays)
            return answer


def check(name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse whatever is not an array of this dtype and shape.

    Raises:
        RankerInputError: it is not.
    """
    # Dtypes of the machine's own byte order are single objects; comparing them costs ten times as much, and a
    # training of a few steps makes dozens of these checks.
    if type(array) is np.ndarray and array.dtype is dtype and array.shape == shape:
        return
    if not isinstance(array, np.ndarray | np.generic) or array.dtype != dtype or array.shape != shape:
        seen = f"{array.dtype}{list(array.shape)}" if hasattr(array, "dtype") else type(array).__name__
        raise RankerInputError(f"{name} is {seen}, expected {dtype.name}{list(shape)}.")


def padded(rows: NDArray[Any], length: int) -> NDArray[Any]:
    """``rows`` with zeros after them, [length, ...]."""
    if len(rows) == length:
        return np.ascontiguousarray(rows)
    out = np.zeros((length, *rows.shape[1:]), rows.dtype)
    out[: len(rows)] = rows
    return out
