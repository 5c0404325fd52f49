"""How a line is put, whatever it is about: which of the commonest pieces of the language it holds.

"It's raining in lisbon again" and "will it rain in lisbon?" name the same things, and only one of them wants to know.
What tells them apart are the small words and marks that every text is full of. Which these are is counted on unlabelled
lines, so no language is wired in; a topic that nobody trained on puts its wishes in the same small words.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..tokenizer import PAD_ID, UNKNOWN_ID

FORM_PIECES = 128


def common_pieces(line_ids: NDArray[np.int32], vocabulary: int) -> NDArray[np.int32]:
    """The :data:`FORM_PIECES` pieces that most lines hold, the commonest first.

    Args:
        line_ids: [lines, LINE_TOKENS] piece ids, 0-padded.
        vocabulary: number of pieces; of pieces that equally many lines hold the lower id comes first.
    """
    lines = np.repeat(np.arange(len(line_ids), dtype=np.int64), line_ids.shape[1])
    held = np.unique(lines * vocabulary + line_ids.reshape(-1)) % vocabulary
    counts = np.bincount(held, minlength=vocabulary)
    counts[[PAD_ID, UNKNOWN_ID]] = -1
    return np.argsort(-counts, kind="stable")[:FORM_PIECES].astype(np.int32)


def form(line_ids: tf.Tensor, pieces: tf.Tensor) -> tf.Tensor:
    """1 where a line holds a piece, else 0: [n, T] ids and [m] pieces -> float32[n, m]."""
    return tf.reduce_max(tf.cast(tf.equal(tf.expand_dims(line_ids, 2), pieces), tf.float32), axis=1)
