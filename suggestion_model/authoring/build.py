"""The authoring command: data directory in, release bundle out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import bundle as files
from .. import features
from ..tokenizer import Tokenizer
from ..types import CandidateSource
from . import convert as conversion
from . import ranker
from .binning import choose_bins
from .calibration import CENTRE_LOGIT, OFFER_SHARE, TAP_SHARE, Calibration, Sample, calibrate, draw_sample
from .corpus import QUERIES, REPLAYS, UTTERANCES, Corpus, read_corpus
from .embedding import embed_pieces
from .encoder import Encoder, pretrain
from .form import common_pieces
from .frozen_parts import FrozenParts
from .heads import TRAIN_BATCH
from .pieces import train_tokenizer
from .trigger import SparseHead
from .whitening import raw_features, whiten

VOCABULARY = 8000
EMBEDDING_DIMENSIONS = 48
CALIBRATION_LINES = 20_000
HASH_BUCKETS = 4096
"""Of the trigger: a few kilobytes a round, and few of the words that matter share an index."""
SEED = 20170406
"""Every draw of the command comes from here (the date of the post this project follows)."""


def build_bundle(
    data: Path,
    out: Path,
    source: CandidateSource,
    report: Callable[[str], None] = lambda line: None,
    learned_by: files.Bundle | None = None,
) -> str:
    """Make every file of a bundle but the catalog, which must already lie in ``out``, and the manifest.

    Args:
        data: directory with the text files the card names.
        out: the bundle directory.
        source: the shipped catalog; it proposes the candidates features are calibrated on.
        report: hears one line per step.
        learned_by: take tokenizer, embedding and encoder from this bundle, as they are, in place of training them.

    Returns:
        the bundle's digest (hex).

    Raises:
        CorpusError: text is missing or damaged.
        BundleError: the catalog is missing in ``out``, or ``learned_by`` was built otherwise.
    """
    corpus = read_corpus(data)
    report(f"read {len(corpus.turns)} lines, {len(corpus.utterances)} utterances, {len(corpus.queries)} queries")
    if learned_by is not None:
        model, encoder = learned_by.tokenizer, encoder_of(learned_by)
        report(f"tokenizer, embedding and encoder of {learned_by.name}")
    else:
        model, encoder = _train(corpus, report)
    sample = draw_sample(corpus.turns, source, Tokenizer(model), CALIBRATION_LINES, np.random.default_rng(SEED))
    return write_bundle(out, model, encoder, sample, report)


def _train(corpus: Corpus, report: Callable[[str], None]) -> tuple[bytes, Encoder]:
    """Tokenizer, and embedding with encoder."""
    model = train_tokenizer(corpus.texts(), VOCABULARY)
    tokenizer = Tokenizer(model)
    report(f"tokenizer: {tokenizer.vocabulary_size} pieces, {len(model)} bytes")
    rows = embed_pieces(corpus, tokenizer, EMBEDDING_DIMENSIONS, np.random.default_rng(SEED))
    report(f"embedding: {rows.shape[0]} x {rows.shape[1]}")
    return model, pretrain(corpus.turns, tokenizer, rows, SEED, report)


def encoder_of(bundle: files.Bundle) -> Encoder:
    """Embedding and encoder of a bundle, to the embedding's common scale: pooling keeps directions only.

    Raises:
        BundleError: its model file is built otherwise than this version builds.
    """
    parts = FrozenParts(bundle)
    embedding = parts.embedding.astype(np.float32) / np.float32(127)
    return Encoder(embedding, parts.hidden, parts.hidden_bias, parts.output, parts.output_bias)


def freeze(encoder: Encoder, sample: Sample) -> tuple[ranker.Frozen, Calibration]:
    """The frozen part of the model from its learned parts."""
    found = calibrate(sample.inputs.dense, sample.best_scores)
    quantised, scale = quantise(encoder.embedding)
    bins = choose_bins(sample.inputs.dense)
    form_pieces = common_pieces(sample.inputs.context_ids[:, : features.LINE_TOKENS], len(quantised))
    width = ranker.raw_width(quantised.shape[1], bins, form_pieces)
    frozen = ranker.Frozen(
        quantised,
        scale,
        encoder.hidden,
        encoder.hidden_bias,
        encoder.output,
        encoder.output_bias,
        found.mean,
        found.deviation,
        np.eye(width, dtype=np.float32),
        np.zeros(width, np.float32),
        bins,
        form_pieces,
    )
    raw = raw_features(ranker.FrozenFeatures(frozen), sample.inputs)
    projection, offset = whiten(raw, np.random.default_rng(SEED))
    return replace(frozen, projection=projection, offset=offset), found


def write_bundle(
    out: Path, tokenizer: bytes, encoder: Encoder, sample: Sample, report: Callable[[str], None] = lambda line: None
) -> str:
    """Convert and write the bundle from its learned parts; returns its digest (hex)."""
    frozen, found = freeze(encoder, sample)
    report(f"threshold: baseline score {found.threshold_score:.4f}, logit {found.threshold_logit:.4f}")
    weights = ranker.initial_weights(frozen, found.slope, found.intercept)
    model = conversion.convert(ranker.RankerModule(frozen, weights))
    out.mkdir(parents=True, exist_ok=True)
    (out / files.TOKENIZER).write_bytes(tokenizer)
    (out / files.RANKER).write_bytes(model)
    (out / files.TRIGGER).write_bytes(conversion.convert_head(SparseHead(HASH_BUCKETS)))
    np.save(out / files.WEIGHTS, weights, allow_pickle=False)
    sizes = {
        name: (out / name).stat().st_size for name in (files.RANKER, files.TRIGGER, files.WEIGHTS, files.TOKENIZER)
    }
    card = _card(found, len(weights), frozen.embedding.shape, sizes)
    (out / files.CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    return files.write_manifest(out)


def quantise(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Rows as int8 and their common scale. Pooling keeps directions only, so the largest rows may be clipped."""
    scale = float(np.quantile(np.abs(rows), 0.9995)) / 127.0
    return np.clip(np.rint(rows / scale), -127, 127).astype(np.int8), scale


def _card(found: Calibration, dimension: int, table: tuple[int, ...], sizes: dict[str, int]) -> files.Card:
    share_alike = "CC BY-SA 4.0"
    return files.Card(
        format_version=files.FORMAT_VERSION,
        name="query-suggestion ranker, version 0",
        intended_use=(
            "Starting point of federated training: scores query candidates beside a demo keyboard. Offers a candidate "
            "when its logit exceeds the threshold."
        ),
        out_of_scope="Anything but suggesting searches; text that is not English; decisions about people.",
        how_made=(
            "Tokenizer: SentencePiece unigram, casefolded (nmt_nfkc_cf). Embedding: co-occurrence of pieces within a "
            "line and with the answer that followed, positive pointwise mutual information, truncated SVD; then "
            "trained on, with an encoder, to foresee the pieces of the next answer; int8 and frozen. Features are "
            "centred and decorrelated on unlabelled text; which pieces say how a line is put is counted there. Nobody "
            f"tapped on it: {TAP_SHARE:.0%} of the earlier matches of a conversation stand as tapped, by chance, for "
            "the spread of that input alone. The trainable head is linear; all its weights but the baseline score's "
            "are zero, so the logit is an affine function of the matcher's baseline score. The trigger, a file of its "
            "own, is a logistic regression over sparse, hashed features with the same start."
        ),
        labels_seen=(
            "None. Only text fields were read: no wanted or soon queries, no taps, nothing derived from them. Slope, "
            "intercept and threshold come from the spread of the baseline score on unlabelled lines. Of replays, the "
            "held-out fifth of the people and the last four days were not read at all."
        ),
        threshold=files.Threshold(
            logit=found.threshold_logit,
            baseline_score=found.threshold_score,
            offer_share=OFFER_SHARE,
            method=(
                f"Quantile of the best candidate's baseline score over {CALIBRATION_LINES} unlabelled lines, so that "
                f"{OFFER_SHARE:.0%} of them draw an offer; its logit is set to {CENTRE_LOGIT}."
            ),
        ),
        baseline_logit=files.BaselineLogit(found.slope, found.intercept),
        architecture=files.Architecture(
            dimension=dimension,
            line_tokens=features.LINE_TOKENS,
            earlier_tokens=features.EARLIER_TOKENS,
            candidate_tokens=features.CANDIDATE_TOKENS,
            dense_names=features.DENSE_NAMES,
            infer_batch=ranker.INFER_BATCH,
            train_batch=TRAIN_BATCH,
            vocabulary=table[0],
            embedding_dimensions=table[1],
            hash_buckets=HASH_BUCKETS,
            summary=" ".join((ranker.__doc__ or "").split()),
        ),
        data=(
            files.DataSource(
                "self_dialogue_corpus (BSD-3-Clause) and schema-guided dialogue",
                REPLAYS,
                share_alike,
                "tokenizer, embedding, encoder, spread of features; text of lines and answers only",
            ),
            files.DataSource(
                "SNIPS NLU benchmark (CC0 1.0), NLU Evaluation Data (CC BY 4.0), TREC CAsT (MIT)",
                UTTERANCES,
                "see name",
                "tokenizer, embedding",
            ),
            files.DataSource(
                "WebQuestions, query-wellformedness, NQ-open, WANDS, Qulac",
                QUERIES,
                "CC BY 4.0, CC BY-SA 4.0, CC BY-SA 3.0, MIT, MIT",
                "tokenizer, embedding",
            ),
        ),
        licence=f"{share_alike}: the strictest of its sources",
        sizes_bytes=sizes,
    )
