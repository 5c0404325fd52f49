"""Learning for the owner alone: when it is due, and what becomes of it. Nothing of it is ever sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from data_logging.errors import LogError
from data_logging.records import Outcome
from keyboard_app.device.local_training import LocalTrainer
from keyboard_app.device.personal_model import PersonalModel, PersonalModelFile
from keyboard_app.device.ranking_choice import RankingChoice
from keyboard_app.device.workbench import LABELLED, TrainingStoppedError, Workbench
from suggestion_model.errors import SuggestionModelError

if TYPE_CHECKING:
    from data_logging import ImpressionLog

Knowledge = tuple[int, str, int]
"""Version and digest of a shared model, and the newest labelled offer: what one training can learn from."""


class PersonalTraining:
    """Keeps the owner's model in step with the log and with the shared model.

    Args:
        log: the local log.
        bench: the offers of the log, and the model file.
        trainer: forgets what it had reached when everything is forgotten.
        file: where the result is kept.
        choice: says which shared model to start from, and uses the result at once.
        interval_s: shortest time between two trainings.
        clock: Unix time in seconds.
        note_problem: hears what went wrong, in a sentence without anything typed.
    """

    def __init__(
        self,
        log: ImpressionLog,
        bench: Workbench,
        trainer: LocalTrainer,
        file: PersonalModelFile,
        choice: RankingChoice,
        interval_s: float,
        clock: Callable[[], float],
        note_problem: Callable[[str], None],
    ) -> None:
        self._log = log
        self._bench = bench
        self._trainer = trainer
        self._file = file
        self._choice = choice
        self._interval_s = interval_s
        self._clock = clock
        self._note_problem = note_problem
        self._due_at = -float("inf")
        self._tried: Knowledge | None = None
        self.running = False

    def is_due(self, now: float) -> bool:
        """Whether the owner wants it and there is something new to learn at monotonic time ``now`` in seconds."""
        return self._choice.may_be_personal and now >= self._due_at and self._to_learn_from() != self._tried

    def train(self, now: float, should_stop: Callable[[], bool], begun: Callable[[], None]) -> None:
        """Train once and use the result, if it is worth it.

        Args:
            now: monotonic time in seconds.
            should_stop: asked between chunks of work; True cancels.
            begun: called once :attr:`running` is true.

        Raises:
            TrainingStoppedError: it was cancelled; it stays due.
        """
        knowledge = self._to_learn_from()
        self.running = True
        try:
            begun()
            model = self._inferred(should_stop)
            if model is not None and self._choice.may_be_personal:
                self._file.put(model)
        except TrainingStoppedError:
            raise
        except (LogError, OSError, SuggestionModelError) as problem:
            self._note_problem(f"the personal model was not kept ({type(problem).__name__})")
        finally:
            self.running = False
            self._bench.release()
        self._tried = knowledge
        self._due_at = now + self._interval_s
        self._choice.apply()

    def _inferred(self, should_stop: Callable[[], bool]) -> PersonalModel | None:
        """What the log says of its owner under the shared model; None without any offer."""
        from suggestion_model.personalization import infer_taste

        shared, offers = self._choice.shared, self._bench.newest()
        if not offers:
            return None
        logits = self._bench.offer_logits(shared, offers, should_stop)
        tapped = np.array([offer.outcome is Outcome.TAPPED for offer in offers])
        taste = infer_taste(logits, tapped, [offer.impression.category for offer in offers])
        return PersonalModel(
            base_version=shared.version,
            base_digest=shared.digest,
            examples=taste.examples,
            newest=offers[-1].id,
            loss_shared=taste.loss_shared,
            loss_personal=taste.loss_personal,
            evidence=taste.evidence,
            trained_at=self._clock(),
            tastes=dict(taste.multipliers) if taste.kept else {},
        )

    def rest(self, until: float) -> None:
        """Begin nothing before monotonic time ``until``: the owner stopped it."""
        self._due_at = until

    def forget(self) -> None:
        """Delete the owner's model and rank with the shared one.

        Raises:
            OSError: the file cannot be deleted.
        """
        self._file.erase()
        self._trainer.forget()
        self._tried = None
        self._choice.apply()

    def _to_learn_from(self) -> Knowledge | None:
        try:
            newest = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=1)
        except LogError as problem:
            self._note_problem(str(problem))
            return self._tried
        base = self._choice.shared
        return (base.version, base.digest, newest[0].id if newest else 0)
