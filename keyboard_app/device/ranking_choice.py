"""Which of the models on a device ranks the next key press.

The newest one, or the one the owner rolled back to; in the holdback arm version 0, or what was rolled out to all arms;
and, where that is worth it, on top of it what was learned about the owner alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keyboard_app.device.identity import HOLDBACK
from keyboard_app.device.model_store import ModelStore, StoredModel
from keyboard_app.device.personal_model import PersonalModelFile
from keyboard_app.device.preferences import PreferenceFile
from suggestion_model.types import Head


class ModelUser(Protocol):
    """Whatever ranks with the model: :class:`keyboard_app.suggestions.SuggestionEngine`."""

    def use_model(
        self,
        version: int,
        weights: NDArray[np.float32],
        threshold: float,
        arm: str,
        tastes: Mapping[str, float],
        head: Head,
    ) -> None:
        """Rank with these weights of a head, and the owner's tastes by category, from the next key press on."""
        ...


class RankingChoice:
    """Chooses, and tells the engine.

    Args:
        store: the shared models.
        personal: what was learned about the owner.
        preferences: whether the owner wants that one.
        arm: experiment arm of this device.
        engine: told of every choice; None where nothing ranks.
    """

    def __init__(
        self,
        store: ModelStore,
        personal: PersonalModelFile,
        preferences: PreferenceFile,
        arm: str,
        engine: ModelUser | None,
    ) -> None:
        self._store = store
        self._personal = personal
        self._preferences = preferences
        self.arm = arm
        self._engine = engine
        self.version = 0
        """Version of the shared model that ranks."""
        self.is_personal = False
        """Whether the owner's own taste ranks with it."""
        self.apply()

    @property
    def may_be_personal(self) -> bool:
        """Whether a model of the owner's own would be used at all."""
        return self.arm != HOLDBACK and self._preferences.current.personalises

    @property
    def is_pinned(self) -> bool:
        """Whether the owner rolled back to an older model."""
        return self.arm != HOLDBACK and self._store.pinned is not None

    @property
    def shared(self) -> StoredModel:
        """The shared model chosen."""
        return self._store.holdback if self.arm == HOLDBACK else self._store.in_use

    def apply(self) -> None:
        """Choose again and tell the engine: the very next key press follows."""
        chosen, own = self.shared, self._personal.current
        self.is_personal = self.may_be_personal and own is not None and own.kept and own.grew_from(chosen)
        tastes = own.tastes if self.is_personal and own is not None else {}
        self.version = chosen.version
        if self._engine is not None:
            self._engine.use_model(chosen.version, chosen.weights, chosen.threshold, self.arm, tastes, chosen.head)
