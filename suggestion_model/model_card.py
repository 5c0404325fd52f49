"""The model card as a page: what a bundle holds, what it was made from, and how well it was measured to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .bundle import Bundle
from .errors import BundleError

_METRICS = ("auc", "log_loss", "ctr_at_90", "impressions_retained", "offers_on_chat")
_SLICED = ("auc", "ctr_at_90", "clicks_retained")


def as_markdown(bundle: Bundle, measured: Mapping[str, Any] | None = None) -> str:
    """The card of ``bundle``.

    Args:
        bundle: gives everything but the figures.
        measured: the JSON of ``python -m benchmarks learning``; without it the card says that nothing was measured.
    """
    card = bundle.card
    shape = card.architecture
    lines = [
        f"# Model card: {card.name}",
        "",
        f"Made by `suggestion-model card --markdown`. Digest `{bundle.digest}`.",
        "",
    ]
    for title, text in (
        ("Intended use", card.intended_use),
        ("Out of scope", card.out_of_scope),
        ("How it was made", card.how_made),
        ("Labels seen", card.labels_seen),
        ("Threshold", f"Logit {card.threshold.logit:.4f}. {card.threshold.method}"),
        (
            "Weights",
            f"Ranker: {shape.dimension} trainable float32 on a frozen int8 embedding of {shape.vocabulary} pieces by "
            f"{shape.embedding_dimensions}. Trigger: {shape.hash_buckets} hashed.",
        ),
        ("Licence", card.licence),
    ):
        lines += [f"## {title}", "", text, ""]
    lines += ["## Data", "", "| source | licence | used for |", "| --- | --- | --- |"]
    lines += [f"| {source.name} | {source.licence} | {source.used_for} |" for source in card.data]
    lines += ["", "## Sizes", "", "| file | bytes |", "| --- | ---: |"]
    lines += [f"| {name} | {size:,} |" for name, size in card.sizes_bytes.items()]
    return "\n".join([*lines, "", "## Measured quality", "", *_quality(measured), ""])


def read_measured(path: Path) -> Mapping[str, Any]:
    """Read a laboratory's JSON.

    Raises:
        BundleError: it cannot be read, or holds no methods.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise BundleError(f"{path}: not a readable JSON file; make it with `python -m benchmarks learning`.") from None
    if not isinstance(found, dict) or not isinstance(found.get("methods"), dict):
        raise BundleError(f"{path}: holds no methods; make it with `python -m benchmarks learning --json`.")
    return found


def _quality(measured: Mapping[str, Any] | None) -> Iterator[str]:
    if measured is None:
        yield (
            "None given. `python -m benchmarks learning --json > FILE`, then "
            "`suggestion-model card --markdown --measured FILE`."
        )
        return
    yield "Simulated people, on lines no device trained on; means over seeds. Compare methods, expect no such rates."
    yield ""
    yield "| method | " + " | ".join(_METRICS) + " |"
    yield "| --- |" + " ---: |" * len(_METRICS)
    for name, figures in measured["methods"].items():
        cells = [figures.get(metric) for metric in _METRICS]
        means = [cell.get("mean") if isinstance(cell, dict) else cell for cell in cells]
        yield f"| {name} | " + " | ".join("" if mean is None else f"{mean:.4g}" for mean in means) + " |"
    yield from _by_slice(measured)


def _by_slice(measured: Mapping[str, Any]) -> Iterator[str]:
    slices = measured.get("slices", {})
    for name in (name for name in ("v0", "fedavg") if name in slices):
        yield ""
        yield f"By slice, `{name}`, all slices at one threshold:"
        yield ""
        yield "| slice | lines | " + " | ".join(_SLICED) + " |"
        yield "| --- | ---: |" + " ---: |" * len(_SLICED)
        for by, parts in slices[name].items():
            for part, figures in parts.items():
                cells = ["" if figures[key] is None else f"{figures[key]:.3g}" for key in _SLICED]
                yield f"| {by}: {part} | {figures['lines']:.0f} | " + " | ".join(cells) + " |"
    if topics := measured.get("recall", {}).get("by_topic"):
        yield ""
        yield "Candidates, before any ranking, on lines that want something:"
        yield ""
        yield "| topic | lines | recall@8 | as good |"
        yield "| --- | ---: | ---: | ---: |"
        for topic, part in topics.items():
            yield f"| {topic} | {part['lines']} | {part['recall_at_8']:.3f} | {part['recall_at_8_f1']:.3f} |"
