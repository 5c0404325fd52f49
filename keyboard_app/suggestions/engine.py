"""From a context to the one query worth offering: candidates, features, ranker, threshold.

The model behind it can be swapped at any moment from another thread (the federated client's): scoring and the version
it is booked under are read under one lock, so that a decision never mixes two models, and the key press after a swap is
ranked by the new one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from data_logging import Impression, ImpressionLog, Outcome
from keyboard_app.suggestions.exploration import Branch, Exploration, RandomSource
from suggestion_model.bundle import Bundle
from suggestion_model.features import Featurizer, Habits
from suggestion_model.personalization import adjust
from suggestion_model.runtime import Ranker
from suggestion_model.scoring import RankerScorer, Scorer, TriggerScorer
from suggestion_model.types import Candidate, CandidateSource, Context, Head

TREATMENT = "treatment"
HOLDBACK = "holdback"
"""The arm that stays on one version (0 at first), so that versions can be compared with it at the same time."""
CANDIDATES = 8
"""Candidates asked of the catalog per key press; those put away are dropped, and the best that is left is scored."""


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """What ranks the next key press."""

    version: int
    threshold: float
    """A logit; the top candidate is offered above it."""
    arm: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The top candidate of one moment, as ranked."""

    context: Context
    candidate: Candidate
    features: tuple[float, ...]
    """Dense features, names in ``suggestion_model.features.DENSE_NAMES``."""
    score: float
    """The model's logit, moved by this person's taste."""
    passes: bool
    """Whether the score exceeds the threshold."""
    model: ModelInUse


class SuggestionEngine:
    """Finds and ranks queries for one person. Safe to call from several threads.

    Parameters
    ----------
    bundle
        The release: tokenizer, model file, version 0's weights and threshold.
    catalog
        Proposes candidates.
    log
        Where this person's habits come from; None for a person without history.
    clock
        Unix time in seconds.
    rng
        Draws the exploration.
    exploration
        Shares of lines decided by chance.
    sensitive_allowed
        Sensitive categories the person has switched on; the others are never offered.
    timezone
        Zone of hour and weekday features; None for the machine's own.
    ranker
        An interpreter of its own is made when None.
    featurizer
        Made when None; stateless, so engines of one bundle may share one.

    Raises
    ------
    BundleError
        When the bundle does not fit this program.
    """

    def __init__(
        self,
        bundle: Bundle,
        catalog: CandidateSource,
        log: ImpressionLog | None = None,
        clock: Callable[[], float] = time.time,
        rng: RandomSource | None = None,
        *,
        arm: str = TREATMENT,
        exploration: Exploration | None = None,
        sensitive_allowed: Collection[str] = (),
        timezone: tzinfo | None = None,
        ranker: Ranker | None = None,
        featurizer: Featurizer | None = None,
    ) -> None:
        self.clock = clock
        self.exploration = Exploration() if exploration is None else exploration
        self._bundle = bundle
        self._catalog = catalog
        self._log = log
        self._rng: RandomSource = random.SystemRandom() if rng is None else rng
        self._timezone = timezone
        self._sensitive_allowed = frozenset(sensitive_allowed)
        self._featurizer = Featurizer(bundle) if featurizer is None else featurizer
        self._scorers: dict[Head, Scorer] = {
            Head.RANKER: RankerScorer(Ranker(bundle) if ranker is None else ranker),
            Head.TRIGGER: TriggerScorer(self._featurizer, bundle.architecture.hash_buckets),
        }
        self._scorer = self._scorers[Head.RANKER]
        self._lock = threading.Lock()
        self._model = ModelInUse(0, bundle.threshold0, arm)
        self._tastes: dict[str, float] = {}
        self._habits = Habits()
        self._habits_of = -1
        self._read_habits()

    # -- the model -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> ModelInUse:
        """What ranks the next key press."""
        return self._model

    def use_model(
        self,
        version: int,
        weights: NDArray[np.float32],
        threshold: float,
        arm: str | None = None,
        tastes: Mapping[str, float] = MappingProxyType({}),
        head: Head = Head.RANKER,
    ) -> None:
        """Rank with these weights from the next key press on.

        Parameters
        ----------
        version
            Model version, booked with every impression and line.
        weights
            float32[d] of ``head``.
        threshold
            Trigger threshold, a logit.
        arm
            Changes the arm when given. The holdback is passed the version it stays on, and has no tastes.
        tastes
            How much more often than the model foresees this person taps, by category
            (:mod:`suggestion_model.personalization`).
        head
            Which of the bundle's models the weights belong to.

        Raises
        ------
        RankerInputError
            When the weights do not fit; the model in use then stays.
        """
        with self._lock:
            arm = self._model.arm if arm is None else arm
            if arm == HOLDBACK:
                tastes = {}
            self._scorers[head].set_weights(weights)
            self._scorer = self._scorers[head]
            self._model = ModelInUse(version, float(threshold), arm)
            self._tastes = dict(tastes)

    # -- decisions -------------------------------------------------------------------------------------------------

    def draw(self) -> Branch:
        """Draw who decides about the next line; once a line."""
        return self.exploration.draw(self._rng)

    def suggest(
        self,
        context: Context,
        *,
        away: Collection[str] = frozenset(),
        away_categories: Collection[str] = frozenset(),
        at: float | None = None,
    ) -> Decision | None:
        """Find the best candidate of a context and score it.

        The catalog orders the candidates, the model decides whether the best one is worth showing: a trigger, as in
        arXiv 1812.02903, section 3. Logs hold the top candidate alone, and a model that learned from them orders the
        eight no better by itself; docs/results.md says what a mix of both scores would bring.

        Parameters
        ----------
        context
            What is being typed, and what the conversation holds.
        away
            Queries not to be offered.
        away_categories
            Categories not to be offered.
        at
            Unix time of the key press; now when None.

        Returns
        -------
        Decision | None
            The top candidate; None, the common answer, when there is no candidate at all.
        """
        candidates = [
            candidate
            for candidate in self._catalog.candidates(context, CANDIDATES)
            if candidate.query not in away
            and candidate.category not in away_categories
            and (not candidate.sensitive or candidate.category in self._sensitive_allowed)
        ]
        if not candidates:
            return None
        self._follow_deletions()
        when = datetime.fromtimestamp(self.clock() if at is None else at, self._timezone)
        inputs = self._featurizer.inputs(context, candidates[:1], self._habits, when)
        with self._lock:
            score = self._scorer.score(inputs, candidates[0])
            if self._tastes:
                score = float(adjust(np.array([score]), [candidates[0].category], self._tastes)[0])
            model = self._model
        return Decision(
            context=context,
            candidate=candidates[0],
            features=tuple(inputs.dense[0].tolist()),
            score=score,
            passes=score > model.threshold,
            model=model,
        )

    # -- habits ----------------------------------------------------------------------------------------------------

    def learn(self, impression: Impression, outcome: Outcome) -> None:
        """Let the person's habits follow one resolved impression at once."""
        if not self._follow_deletions() and impression.shown:
            self._habits.observe(impression.category, outcome is Outcome.TAPPED, impression.created_at)

    def forget(self) -> None:
        """Read the habits anew, after another process deleted rows of the log."""
        self._read_habits()

    def _follow_deletions(self) -> bool:
        """Read the habits anew when rows of the log were deleted since; True when it did."""
        if self._log is None or self._log.deletions == self._habits_of:
            return False
        self._read_habits()
        return True

    def _read_habits(self) -> None:
        if self._log is None:
            self._habits = Habits()
            return
        self._habits_of = self._log.deletions
        self._habits = Habits.from_log(self._log.impressions())
