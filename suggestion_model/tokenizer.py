"""Text to piece ids, by a SentencePiece model that casefolds and normalises (NFKC) by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from .errors import BundleError

PAD_ID = 0
UNKNOWN_ID = 1


class Tokenizer:
    """SentencePiece wrapper: ids are the vocabulary of the ranker's frozen embedding.

    Args:
        model: the serialised SentencePiece model, as a bundle holds it.

    Raises:
        BundleError: the bytes are not a SentencePiece model.
    """

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise BundleError("tokenizer.model: not a SentencePiece model. Install the release bundle again.") from None

    @property
    def vocabulary_size(self) -> int:
        """Number of pieces, padding and unknown included."""
        return int(self._processor.GetPieceSize())

    def ids(self, text: str) -> list[int]:
        """Piece ids of ``text``; never contains :data:`PAD_ID`."""
        return list(self._processor.EncodeAsIds(text))

    def ids_of_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of many texts at once."""
        return [list(ids) for ids in self._processor.EncodeAsIds(list(texts))]

    def piece(self, piece_id: int) -> str:
        """The piece as text, with U+2581 for a leading space."""
        return str(self._processor.IdToPiece(piece_id))

    def padded(self, text: str, length: int, *, keep: str = "first") -> NDArray[np.int32]:
        """Ids of ``text`` cut and padded to ``length``.

        Args:
            text: any text.
            length: size of the answer.
            keep: ``first`` or ``last``: which end survives the cut.

        Returns:
            int32[length], padded at the end with :data:`PAD_ID`.
        """
        ids = self.ids(text)
        ids = ids[-length:] if keep == "last" else ids[:length]
        out = np.zeros(length, np.int32)
        out[: len(ids)] = ids
        return out
