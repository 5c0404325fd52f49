"""Frozen piece embedding from unlabelled conversations: factorised co-occurrence, no neural training.

Pieces are described by what stands near them in a line, and by what the other side answers next: "looking for a
table" and "find me a place to eat" draw the same answers, which is what makes a line search-worthy. Both
co-occurrence tables are turned into shifted positive pointwise mutual information and factorised together by a
truncated singular value decomposition (Levy and Goldberg, 2014), smoothed with context exponent 0.75 (Levy, Goldberg
and Dagan, 2015). Rows are scaled by the smooth inverse frequency a / (a + p) (Arora, Liang and Ma, 2017) so that a
sum of rows is a useful sentence vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..tokenizer import Tokenizer
from .corpus import Corpus

WINDOW = 4
CONTEXT_EXPONENT = 0.75
SIF_A = 1e-3
EIGEN_POWER = 0.5


def embed_pieces(
    corpus: Corpus, tokenizer: Tokenizer, dimensions: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Factorise co-occurrence counts.

    Args:
        corpus: unlabelled text.
        tokenizer: gives the rows their meaning.
        dimensions: columns of the answer.
        rng: test matrix of the randomised decomposition.

    Returns:
        float32[vocabulary, dimensions]; the padding row is zero, the mean row norm is about 1 before the inverse
        frequency scaling.
    """
    size = tokenizer.vocabulary_size
    lines = tokenizer.ids_of_all([turn.text for turn in corpus.turns])
    answers = tokenizer.ids_of_all([turn.following for turn in corpus.turns])
    others = tokenizer.ids_of_all([*corpus.utterances, *corpus.queries])

    near = np.zeros((size, size), np.float32)
    for sentence_group in (lines, answers, others):
        _count_window(near, sentence_group)
    answered = np.zeros((size, size), np.float32)
    _count_answers(answered, lines, answers)

    table = np.concatenate([_shifted_ppmi(near), _shifted_ppmi(answered)], axis=1)
    rows = _truncated_svd(table, dimensions, rng)
    rows /= np.mean(np.linalg.norm(rows[2:], axis=1)) + 1e-9

    frequency = np.bincount(np.concatenate([np.asarray(s, np.int64) for s in lines + answers + others]), minlength=size)
    share = frequency / frequency.sum()
    rows *= (SIF_A / (SIF_A + share))[:, None].astype(np.float32)
    rows[0] = 0.0
    return rows.astype(np.float32)


def _count_window(table: NDArray[np.float32], sentences: Sequence[Sequence[int]]) -> None:
    flat = np.concatenate([np.asarray([*s, -1], np.int64) for s in sentences])
    sentence = np.cumsum(flat == -1)
    for distance in range(1, WINDOW + 1):
        left, right = flat[:-distance], flat[distance:]
        same = (left >= 0) & (right >= 0) & (sentence[:-distance] == sentence[distance:])
        weight = np.float32(1.0 / distance)
        np.add.at(table, (left[same], right[same]), weight)
        np.add.at(table, (right[same], left[same]), weight)


def _count_answers(
    table: NDArray[np.float32], lines: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> None:
    for line, answer in zip(lines, answers, strict=True):
        if line and answer:
            a, b = np.unique(line), np.unique(answer)
            table[np.ix_(a, b)] += 1.0


def _shifted_ppmi(counts: NDArray[np.float32], shift: float = 0.0) -> NDArray[np.float32]:
    total = counts.sum(dtype=np.float64)
    row = counts.sum(axis=1, dtype=np.float64)
    column = counts.sum(axis=0, dtype=np.float64) ** CONTEXT_EXPONENT
    column = column / max(column.sum(), 1e-12)
    expected = (row[:, None] * column[None, :]).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(counts / np.maximum(expected, 1e-12))
    ratio[~np.isfinite(ratio)] = 0.0
    if total == 0:
        return np.zeros_like(counts)
    return np.asarray(np.maximum(ratio - np.float32(shift), 0.0), np.float32)


def _truncated_svd(table: NDArray[np.float32], dimensions: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Left singular vectors times singular values to the power :data:`EIGEN_POWER` (Halko et al., 2011)."""
    probe = rng.standard_normal((table.shape[1], dimensions + 16)).astype(np.float32)
    basis, _ = np.linalg.qr(table @ probe)
    for _ in range(4):
        basis, _ = np.linalg.qr(table @ (table.T @ basis))
    small = basis.T @ table
    left, values, _ = np.linalg.svd(small, full_matrices=False)
    vectors = (basis @ left)[:, :dimensions]
    vectors *= np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(dimensions)])
    return np.asarray(vectors * values[:dimensions] ** EIGEN_POWER, np.float32)
