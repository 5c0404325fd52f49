"""What a device needs to learn from its log, made when a round or the owner wants it and dropped afterwards.

A ranker and a tokenizer are a few MiB that nobody needs between two trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_logging.records import LoggedImpression, Outcome
from suggestion_model.types import Head

if TYPE_CHECKING:
    from data_logging import ImpressionLog
    from keyboard_app.device.model_store import StoredModel
    from suggestion_model.bundle import Bundle
    from suggestion_model.features import Featurizer
    from suggestion_model.head_trainer import HeadRows
    from suggestion_model.runtime import Ranker
    from suggestion_model.types import Example

LABELLED = (Outcome.TAPPED, Outcome.DISMISSED, Outcome.IGNORED)
_FEATURISED_AT_ONCE = 128
"""Offers between two looks at whether to stop: a few milliseconds."""


class TrainingStoppedError(Exception):
    """Training was cancelled before its end."""


class Workbench:
    """The labelled offers of one log, as examples, and the ranker they are scored and trained with.

    Args:
        bundle: the release on this device.
        log: its local log.
        most_examples: only the newest so many labelled offers are used.
        ranker: shared by several devices of one thread; by default a bench makes its own.
    """

    def __init__(
        self, bundle: Bundle, log: ImpressionLog, most_examples: int = 4_000, ranker: Ranker | None = None
    ) -> None:
        self._bundle = bundle
        self._log = log
        self._most_examples = most_examples
        self._shared = ranker
        self._own: Ranker | None = None
        self._featurizer: Featurizer | None = None

    @property
    def ranker(self) -> Ranker:
        """For training and scoring; its weights mean nothing."""
        if self._shared is not None:
            return self._shared
        if self._own is None:
            from suggestion_model.runtime import Ranker

            self._own = Ranker(self._bundle)
        return self._own

    def newest(self) -> list[LoggedImpression]:
        """The newest labelled offers, oldest first; rows that an older version logged with other features left out.

        Raises:
            LogError: the log cannot be read.
        """
        from suggestion_model.features import is_labelled

        rows = self._log.impressions(outcomes=LABELLED, newest_first=True, limit=self._most_examples)[::-1]
        return [row for row in rows if is_labelled(row)]

    def featurized(self, rows: list[LoggedImpression]) -> list[tuple[Example, LoggedImpression]]:
        """Labelled offers as examples; rows an older version logged with other features are passed over."""
        if not rows:
            return []
        from suggestion_model.features import Featurizer, is_labelled

        if self._featurizer is None:
            self._featurizer = Featurizer(self._bundle)
        featurizer = self._featurizer
        return [(featurizer.example(row), row) for row in rows if is_labelled(row)]

    def head_rows(
        self, rows: list[LoggedImpression], should_stop: Callable[[], bool], rest: Callable[[], None]
    ) -> HeadRows:
        """Offers as the model's head sees them.

        Args:
            rows: what :meth:`newest` returned.
            should_stop: asked every few milliseconds.
            rest: called as often.

        Raises:
            TrainingStoppedError: it was cancelled.
        """
        from suggestion_model.head_trainer import HeadRows

        parts = [self.ranker.head_rows(some) for some in self._by_parts(rows, should_stop, rest)]
        return HeadRows.join([self.ranker.head_rows([]), *parts])

    def examples(
        self, rows: list[LoggedImpression], should_stop: Callable[[], bool], rest: Callable[[], None]
    ) -> list[Example]:
        """Offers as examples; arguments and errors as of :meth:`head_rows`."""
        return [example for some in self._by_parts(rows, should_stop, rest) for example in some]

    def offer_logits(
        self, model: StoredModel, rows: list[LoggedImpression], should_stop: Callable[[], bool]
    ) -> NDArray[np.float32]:
        """Scores of offers under ``model``, float32[n]; errors as of :meth:`head_rows`."""
        parts = [self.logits(model, some) for some in self._by_parts(rows, should_stop, lambda: None)]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def logits(self, model: StoredModel, examples: list[Example]) -> NDArray[np.float32]:
        """Scores of examples under ``model``, float32[n]."""
        if not examples:
            return np.zeros(0, np.float32)
        if model.head is Head.TRIGGER:
            from suggestion_model.sparse import SparseRows, logits

            return logits(model.weights.astype(np.float64), SparseRows.of(examples)).astype(np.float32)
        return self.ranker.head.logits(model.weights, self.ranker.head_rows(examples))

    def _by_parts(
        self, rows: list[LoggedImpression], should_stop: Callable[[], bool], rest: Callable[[], None]
    ) -> Iterator[list[Example]]:
        for start in range(0, len(rows), _FEATURISED_AT_ONCE):
            rest()
            if should_stop():
                raise TrainingStoppedError
            yield [example for example, _ in self.featurized(rows[start : start + _FEATURISED_AT_ONCE])]

    def release(self) -> None:
        """Drop what can be made again."""
        self._own = None
        self._featurizer = None
