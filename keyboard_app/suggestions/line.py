"""The line being composed: which query is visible on it, since when, and what would have been seen otherwise.

Who decides about a line, threshold or chance, is drawn once. What either would have shown is followed for both, as the
record of the line holds the probability with which its query was shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_logging import Impression, Outcome
from keyboard_app.suggestions.engine import Decision
from keyboard_app.suggestions.exploration import NO_EXPLORATION, Branch, Exploration
from suggestion_model.features import context_text


@dataclass(slots=True)
class Line:
    """The line being composed."""

    branch: Branch | None = None
    decision: Decision | None = None
    by_threshold: tuple[str, float] | None = None
    """The query that is visible when the threshold decides, and since when."""
    by_offer: tuple[str, float] | None = None
    """The same when chance offers."""
    private: bool = False
    """Some of it was typed in a field that must not be logged."""
    settled: tuple[Impression, Outcome] | None = None
    """Its query was tapped or dismissed: the line shows no other."""

    def rank(self, decision: Decision | None, at: float) -> None:
        """Note what one key press decided: since when its query is visible under each way of deciding."""
        self.decision = decision
        query = None if decision is None else decision.candidate.query
        self.by_threshold = _since(self.by_threshold, query if decision is not None and decision.passes else None, at)
        self.by_offer = _since(self.by_offer, query, at)

    def visible(self) -> tuple[str, float] | None:
        """The query on the strip and since when it is there."""
        if self.decision is None or self.branch is None:
            return None
        if self.branch is Branch.THRESHOLD or self.decision.candidate.sensitive:
            return self.by_threshold
        return self.by_offer if self.branch is Branch.OFFER else None

    def hide(self) -> None:
        """No query is visible."""
        self.decision = self.by_threshold = self.by_offer = None

    def impression(
        self,
        decision: Decision,
        exploration: Exploration,
        conversation: str,
        at: float,
        *,
        shown: bool,
        by_threshold: bool,
        by_offer: bool,
    ) -> Impression:
        """The record of a decision about this line.

        Parameters
        ----------
        decision
            What is recorded.
        exploration
            Shares of lines decided by chance; a sensitive query is never offered by chance.
        conversation
            Key of the conversation.
        at
            Unix time in seconds.
        shown
            Whether the query was visible.
        by_threshold, by_offer
            Whether it would have been, had the threshold or chance decided.
        """
        sensitive = decision.candidate.sensitive
        drawn = NO_EXPLORATION if sensitive else exploration
        shown_probability = drawn.shown_probability(by_threshold=by_threshold, by_offer=by_offer)
        return Impression(
            created_at=at,
            conversation=conversation,
            context=context_text(decision.context),
            candidate=decision.candidate.query,
            category=decision.candidate.category,
            baseline_score=decision.candidate.score,
            features=decision.features,
            score=decision.score,
            slot=0,
            shown=shown,
            explored=not sensitive and self.branch is not Branch.THRESHOLD,
            propensity=shown_probability if shown else 1.0 - shown_probability,
            model_version=decision.model.version,
            arm=decision.model.arm,
            entity_types=decision.candidate.entity_types,
        )


def _since(seen: tuple[str, float] | None, query: str | None, at: float) -> tuple[str, float] | None:
    """Keep the time at which ``query`` became visible, or note that it did now."""
    if query is None:
        return None
    return seen if seen is not None and seen[0] == query else (query, at)


def is_about(seen: tuple[str, float] | None, decision: Decision) -> bool:
    return seen is not None and seen[0] == decision.candidate.query
