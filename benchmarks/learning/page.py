"""Tables and plots from the laboratory's results: ``python -m benchmarks.learning.page RESULTS.json --name NAME``.

Prints Markdown for docs/results.md and writes ``docs/images/results-NAME-*.svg``. Nothing is computed here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.learning.cache import ROOT
from benchmarks.learning.plots import line_chart

_COLUMNS = (
    ("auc", "AUC", 4),
    ("log_loss", "log loss", 4),
    ("ctr_at_90", "CTR@90", 3),
    ("impressions_retained", "impressions kept", 3),
    ("clicks_retained", "clicks kept", 3),
    ("offers_on_chat", "offers on chat", 4),
)
_DRAWN = ("v0", "popularity", "centralised", "fedsgd", "fedavg", "fedavg_private")


def page(found: Mapping[str, Any], name: str, folder: Path) -> str:
    """Markdown for one run; its charts go to ``folder``."""
    return "\n\n".join(
        part
        for part in (
            _methods(found),
            _gains(found),
            _charts(found, name, folder),
            _slices(found),
            _recall(found),
            _studies(found),
        )
        if part
    )


def _interval(value: Mapping[str, float | None] | None, digits: int) -> str:
    if value is None or value["mean"] is None:
        return "not reached"
    mean, half = value["mean"], ((value["high"] or 0) - (value["low"] or 0)) / 2
    return f"{mean:.{digits}f}" if half == 0 else f"{mean:.{digits}f} ± {half:.{digits}f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _methods(found: Mapping[str, Any]) -> str:
    rows = [
        [f"`{method}`", *(_interval(values[key], digits) for key, _, digits in _COLUMNS)]
        for method, values in found["methods"].items()
    ]
    return _table(["method", *(title for _, title, _ in _COLUMNS)], rows)


def _gains(found: Mapping[str, Any]) -> str:
    rows = []
    for method, gains in found["gains"].items():
        rounds, size = found["rounds_to_target"].get(method), found["bytes_to_target"].get(method)
        megabytes = "" if size is None else "not reached"
        if size is not None and size["auc"]["mean"] is not None:
            megabytes = f"{size['auc']['mean'] / 1e6:.1f}"
        rows.append(
            [
                f"`{method}`",
                _interval(gains["auc_gain"], 3),
                _interval(gains["ctr_gain"], 3),
                "" if rounds is None else _interval(rounds["auc"], 0),
                "" if rounds is None else _interval(rounds["ctr_at_90"], 0),
                megabytes,
            ]
        )
    if not rows:
        return ""
    return _table(
        ["method", "AUC gain", "CTR gain", "rounds to 95 % (AUC)", "rounds to 95 % (CTR)", "MB to 95 % (AUC)"], rows
    )


def _charts(found: Mapping[str, Any], name: str, folder: Path) -> str:
    curves = {
        method: [(point["clicks_retained"], point["ctr_at_90"]) for point in found["curves"][method]]
        for method in _DRAWN
        if method in found["curves"]
    }
    rounds = {
        method: [(point["round"], point["auc"]) for point in points]
        for method, points in found["by_round"].items()
        if method in ("fedavg", "fedavg_plain", "fedavg_adam", "fedsgd", "fedavg_private")
    }
    shown = []
    for what, title, across, up, lines in (
        ("trade-off", "What a threshold trades", "share of the clicks kept", "expected CTR of the offers", curves),
        ("rounds", "Learning, round by round", "rounds", "AUC on lines nobody trained on", rounds),
    ):
        if any(lines.values()):
            file = folder / f"results-{name}-{what}.svg"
            file.write_text(line_chart(title, across, up, lines), encoding="utf-8")
            shown.append(f"![{title.lower()}](images/{file.name})")
    return "\n\n".join(shown)


def _studies(found: Mapping[str, Any]) -> str:
    studies, parts = found.get("studies", {}), []
    if "selection_bias" in studies:
        rows = [
            [title, *(f"{studies['selection_bias'][key][metric]:.4f}" for metric in ("auc", "log_loss", "ctr_at_90"))]
            for key, title in (("with_propensities", "with 1 / propensity"), ("without", "without"))
        ]
        parts.append(_table(["trained on version 0's own log", "AUC", "log loss", "CTR@90"], rows))
    if "personalisation" in studies:
        parts.append(_personalisation(studies["personalisation"]))
    if "unseen_topics" in studies:
        parts.append(_unseen_topics(studies["unseen_topics"]))
    if "hashed_rounds" in studies:
        values = studies["hashed_rounds"]
        rows = [
            [
                f"`{method}`",
                f"{values[method]['step']:.3g}",
                "yes" if values[method]["step_inside_grid"] else "no",
                *(str(n) if n is not None else "never" for n in values[method]["rounds_to"].values()),
            ]
            for method, value in values.items()
            if isinstance(value, dict) and "rounds_to" in value
        ]
        parts.append(_table(["hashed trigger", "step", "inside its grid", *values["fedavg"]["rounds_to"]], rows))
    if "fsvrg" in studies:
        values = studies["fsvrg"]
        rows = [
            [
                "gradient descent, 60 rounds",
                f"{values['descent']['step']:.3g}",
                f"{values['descent']['gap_after_60']:.4f}",
            ]
        ]
        rows += [
            [f"{title}, 12 rounds", f"{values[key]['step']:.3g}", f"{values[key]['gap_after_12']:.4f}"]
            for key, title in (("fsvrg", "FSVRG"), ("without_A", "without A"), ("without_S", "without S"))
        ]
        parts.append(_table(["hashed trigger, everybody in each round", "step", "relative gap to the optimum"], rows))
        rounds = values["in_rounds"]
        rows = [
            [title, f"{rounds[key]['gap_after_12']:.4f}"]
            for key, title in (
                ("everybody_in_the_clear", f"everybody ({rounds['devices']}), sums in the clear"),
                ("everybody", "everybody, sums through the codec"),
                ("cohorts", f"{rounds['cohort']} devices drawn anew for each sum, through the codec"),
            )
        ]
        parts.append(_table([f"FSVRG as rounds run it, step {rounds['step']:g}", "gap after 12 versions"], rows))
    return "\n\n".join(parts)


def _personalisation(worlds: Mapping[str, Any]) -> str:
    rows = []
    for world, values in worlds.items():
        for title, part in (("each night", values), ("once", values["inferred_once"])):
            if part["people"]:
                shares = [part[f"share_of_perfect_{metric}"] for metric in ("auc", "log_loss")]
                changes = [part[f"relative_change_{metric}"] for metric in ("auc", "log_loss")]
                worse = [part[f"people_worse_{metric}"] for metric in ("auc", "log_loss")]
                no_way = world == "without_tastes"
                rows.append(
                    [
                        f"{world.replace('_', ' ')}, inferred {title}",
                        str(part["people"]),
                        *("" if no_way or share is None else f"{share:.1%}" for share in shares),
                        *(f"{change:+.2%}" for change in changes),
                        *(f"{share:.1%}" for share in worse),
                    ]
                )
    measured = ("of perfect", "change", "people worse by 0.02")
    heads = [f"{what} ({metric})" for what in measured for metric in ("AUC", "log loss")]
    return _table(["typist", "people", *heads], rows)


def _unseen_topics(values: Mapping[str, Any]) -> str:
    folds = [(", ".join(fold["topics"]), fold) for fold in values["folds"]]
    if "together" in values:
        folds.append(("all of them", values["together"]))
    rows = [
        [
            title,
            *(f"{part[model]['auc']:.4f}" for model in ("v0", "unseen", "seen")),
            _kept(part["auc_gain_kept"]),
            *(f"{part[model]['ctr_at_90']:.3f}" for model in ("v0", "unseen", "seen")),
            _kept(part["ctr_gain_kept"]),
        ]
        for title, part in folds
    ]
    heads = [f"{what}{model}" for what in ("AUC ", "CTR@90 ") for model in ("v0", "never seen", "seen", "gain kept")]
    return _table(["topics left out", *heads], rows)


def _kept(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _slices(found: Mapping[str, Any]) -> str:
    """The best federated model beside version 0, part by part."""
    slices = found.get("slices", {})
    if not {"v0", "fedavg"} <= slices.keys():
        return ""
    rows = []
    for by, parts in slices["fedavg"].items():
        for name, part in parts.items():
            before = slices["v0"].get(by, {}).get(name)
            if before is None:
                continue
            rows.append(
                [
                    f"{by}: {name}",
                    f"{part['lines']:,.0f}",
                    *(_figure(each["auc"], 3) for each in (before, part)),
                    *(_figure(each["ctr_at_90"], 3) for each in (before, part)),
                    *(_figure(each["clicks_retained"], 2) for each in (before, part)),
                ]
            )
    heads = [f"{what}, {model}" for what in ("AUC", "CTR", "clicks kept") for model in ("v0", "fedavg")]
    return _table(["slice", "lines", *heads], rows)


def _recall(found: Mapping[str, Any], most: int = 12) -> str:
    topics = found.get("recall", {}).get("by_topic", {})
    rows = [
        [name, f"{part['lines']:,}", *(f"{part[key]:.3f}" for key in ("recall_at_8", "recall_at_8_f1", "top_1"))]
        for name, part in list(topics.items())[:most]
    ]
    return _table(["topic", "lines that want", "recall@8", "as good", "first"], rows) if rows else ""


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def main() -> None:
    """Print the page's part for one file of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="what `python -m benchmarks learning --json` printed")
    parser.add_argument("--name", required=True, help="of the charts")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    print(page(json.loads(options.results.read_text(encoding="utf-8")), options.name, options.images))


if __name__ == "__main__":
    main()
