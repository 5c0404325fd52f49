"""Reading back what a model file holds and never trains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import BundleError

SMALLEST_CONSTANT = 20


class FrozenParts:
    """The frozen arrays of a bundle's ranker by role; :class:`.ranker.Frozen` says what each is.

    Raises:
        BundleError: the file is built otherwise than :mod:`.ranker` builds it.
    """

    def __init__(self, bundle: Bundle) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=bundle.ranker)
        found: dict[tuple[tuple[int, ...], str], list[NDArray[Any]]] = {}
        for detail in interpreter.get_tensor_details():
            if detail["dtype"] not in (np.float32, np.int8, np.int32) or np.prod(detail["shape"]) < SMALLEST_CONSTANT:
                continue  # LiteRT dies when asked for the value of a resource
            try:
                value = interpreter.get_tensor(detail["index"])
            except ValueError:
                continue  # no constant
            if np.any(value):
                found.setdefault((value.shape, value.dtype.name), []).append(np.array(value))
        shape = bundle.architecture
        width, inputs = shape.embedding_dimensions, len(shape.dense_names)
        matrices = [array for (s, kind), (array, *_) in found.items() if len(s) == 2 and kind == "float32"]
        lists = [array for (s, kind), arrays in found.items() if len(s) == 1 and kind == "int32" for array in arrays]
        try:
            (self.embedding,) = found[(shape.vocabulary, width), "int8"]
            (hidden,) = [a for a in matrices if a.shape[1] == 3 * width]
            (output,) = [a for a in matrices if a.shape[1] == len(hidden)]
            (projection,) = [a for a in matrices if a.shape[0] == a.shape[1] == shape.dimension - 2]
            (self.hidden_bias,) = found[(len(hidden),), "float32"]
            (self.output_bias,) = found[(len(output),), "float32"]
            (self.offset,) = found[(len(projection),), "float32"]
            one, two = found[(inputs,), "float32"]
            (self.bin_columns,) = [a for a in lists if a.max() < inputs]
            (self.form_pieces,) = [a for a in lists if a.max() >= inputs]
            (self.bin_tenths,) = found[(len(self.bin_columns),), "float32"]
        except (KeyError, ValueError):
            raise BundleError(
                f"{bundle.name}/ranker.tflite: built otherwise than this version builds, its constants are not found"
            ) from None
        # Fully connected layers hold their matrices by output.
        self.hidden, self.output, self.projection = hidden.T, output.T, projection.T
        inverse, mean = (one, two) if (one > 0).all() else (two, one)
        self.mean, self.deviation = mean, 1.0 / inverse
