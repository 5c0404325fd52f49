"""Train the SentencePiece tokenizer, reproducibly."""

from __future__ import annotations

import io
from collections.abc import Iterable

import sentencepiece

from ..tokenizer import PAD_ID, UNKNOWN_ID


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 8000) -> bytes:
    """Train a unigram model of ``vocabulary_size`` pieces on ``texts``.

    The text is normalised and casefolded (``nmt_nfkc_cf``); there are no begin and end pieces, id 0 pads and id 1 is
    the unknown piece. One thread and no shuffling, so that the same texts give the same bytes.

    Returns:
        the serialised model.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=(line for line in (" ".join(text.split()) for text in texts) if line),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary_size,
        normalization_rule_name="nmt_nfkc_cf",
        pad_id=PAD_ID,
        unk_id=UNKNOWN_ID,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        shuffle_input_sentence=False,
        input_sentence_size=0,
        split_digits=True,
        byte_fallback=False,
        character_coverage=0.9999,
        minloglevel=2,
    )
    return model.getvalue()
