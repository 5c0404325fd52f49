"""A card for every model version: where it comes from, what people did with it, how far it went."""

from __future__ import annotations

import msgspec

from coordinator.errors import ReleaseError
from coordinator.experiments.comparison import Bounded, Comparison
from coordinator.experiments.evaluation import Evaluation
from coordinator.releases.evaluation_gate import evaluation_of
from coordinator.releases.rollout import all_rollouts
from coordinator.reports import ModelReport, Reports
from coordinator.settings import Settings
from coordinator.storage import Database


class ModelCard(msgspec.Struct, frozen=True):
    """Everything known about one version."""

    model: ModelReport
    head: str
    """Which of the bundle's models it is: ``ranker`` or ``trigger``."""
    bundle_digest: str
    """Names the release bundle and the model of it that the weights belong to; its own card says how it was made."""
    lineage: tuple[int, ...]
    """From this version back to 0."""
    rounds: tuple[int, ...]
    """Whose sums are in it, newest first."""
    state: str
    percent: float
    reason: str
    privacy: str
    comparison: Comparison | None
    """Against the holdback; None while no sum counted it."""
    evaluation: Evaluation | None = None
    """Before it went out; None for versions that no sum judged."""


def model_card(database: Database, settings: Settings, version: int) -> ModelCard:
    """The card of a version; raises :class:`ReleaseError` when there is none."""
    reports = Reports(database, settings)
    known = {model.version: model for model in reports.models()}
    if version not in known:
        raise ReleaseError(f"there is no version {version}: see `coordinator models`")
    lineage = [version]
    while lineage[-1] != 0:
        lineage.append(known[lineage[-1]].parent)
    with database.reading() as connection:
        judged = evaluation_of(connection, settings, version)
        rollout = all_rollouts(connection, settings.releases.rollout_stages[0])[version]
    from coordinator.releases import ModelStore

    bundle = next(m.bundle_digest for m in ModelStore(database).all() if m.version == version)
    return ModelCard(
        model=known[version],
        head=settings.head.value,
        bundle_digest=bundle,
        lineage=tuple(lineage),
        rounds=tuple(made for found in lineage if (made := known[found].round) is not None),
        state=rollout.state,
        percent=rollout.percent,
        reason=rollout.reason,
        privacy=reports.status(0.0).privacy,
        comparison=next((c for c in reports.comparisons() if c.version == version), None),
        evaluation=judged,
    )


def as_markdown(card: ModelCard) -> str:
    """The card for people."""
    model = card.model
    lines = [
        f"# Query suggestions, version {model.version}",
        "",
        f"- Rollout: {card.state}, {card.percent:g} % of devices ({card.reason})",
        f"- Lineage: {' ← '.join(str(version) for version in card.lineage)}",
        f"- Rounds in it: {', '.join(map(str, card.rounds)) or 'none'}",
        f"- Made from: the sum of {model.participants} devices, {model.examples} examples"
        if model.participants
        else "- Made from: the release bundle, or an earlier version published again",
        f"- Trigger threshold: {model.threshold:.3f} (logit)",
        f"- Privacy: {card.privacy}",
        f"- SHA-256: {model.digest}",
        f"- Bundle: {card.bundle_digest} ({card.head})",
        "",
        *_judged(card.evaluation),
        "## Against the holdback, at the same time",
        "",
    ]
    found = card.comparison
    if found is None:
        return "\n".join([*lines, "No sum has counted it yet.", ""])
    lines += [
        f"- Verdict: {found.verdict.value.replace('_', ' ')} "
        f"({found.treatment_devices} devices against {found.holdback_devices} on version {found.compared_with})",
        f"- Click-through: {_text(found.ctr)}; holdback {_text(found.holdback_ctr)}; "
        f"difference {_text(found.ctr_difference)}",
        f"- Clicks a line, relative to the holdback: {_text(found.clicks_retained)}",
        f"- Offers a line, relative to the holdback: {_text(found.offers_retained)}",
        f"- Sample ratio: p = {found.sample_ratio_p:.3g}",
        "",
    ]
    return "\n".join(lines)


def _judged(found: Evaluation | None) -> list[str]:
    if found is None:
        return []
    judged, baseline = found.judged, found.baseline
    return [
        "## Before it went out",
        "",
        f"- Verdict: {found.verdict.value.replace('_', ' ')}, on unseen offers of {found.devices} devices",
        f"- Area under the curve: {_number(judged.auc)}; version {found.baseline_version} {_number(baseline.auc)}",
        f"- Log loss: {_number(judged.log_loss)}; version {found.baseline_version} {_number(baseline.log_loss)}",
        f"- Calibration error: {_number(judged.calibration_error)}",
        f"- Clicks kept by its threshold: {_number(judged.clicks_kept)}",
        "",
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _text(bounded: Bounded | None) -> str:
    if bounded is None:
        return "unknown"
    return f"{bounded.value:.4f} [{bounded.low:.4f}, {bounded.high:.4f}]"
