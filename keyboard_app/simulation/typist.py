"""The simulated typist: who would tap what, from a seed.

No data set says whether *this* person would tap *this* query; the typist is a model of it. Everything random is a
function of (seed, person, line or topic), never of what was offered, so that two methods meet the same people with the
same whims (common random numbers), and every probability is exposed, so that expected clicks can be summed instead of
drawn ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np

from keyboard_app.simulation.relevance import best_relevance
from keyboard_app.simulation.replay import ReplayLine
from keyboard_app.simulation.splits import hash_fraction


class TypistError(ValueError):
    """A typist file cannot be used; the message says what is wrong with it."""


Strength = Literal["mild", "strong"]

_TASTES: dict[str, tuple[float, float]] = {"mild": (2.0, 1.0), "strong": (0.5, 0.5)}


class TypistSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every constant of the typist; ``--typist FILE`` overrides any of them (a JSON object with these names)."""

    tap_ceiling: float = 0.7
    """Tap probability at full relevance and full taste."""
    relevance_floor: float = 0.3
    """Relevance up to which there is no interest."""
    slip: float = 0.002
    """Probability of a tap for no reason, added to every examination."""
    taste: Strength = "mild"
    """Prior of a person's taste for a topic: ``mild`` Beta(2, 1), ``strong`` Beta(0.5, 0.5)."""
    taste_alpha: float | None = None
    """With ``taste_beta``: a Beta prior of one's own instead of ``taste``."""
    taste_beta: float | None = None
    dwell_s: float = 0.3
    """How long a query must have been visible when the line is sent to be examined, in seconds."""
    slot_probabilities: tuple[float, ...] = (1.0, 0.6)
    """Probability that the query in slot 0, 1, ... of the strip is examined."""
    key_interval_s: float = 0.19
    """Median time between two keys, in seconds; people differ around it."""
    send_pause_s: float = 0.7
    """Median time between the last key and sending, in seconds."""
    seed: int = 0

    def prior(self) -> tuple[float, float]:
        """(alpha, beta) of the taste's Beta distribution."""
        alpha, beta = _TASTES[self.taste]
        return (
            alpha if self.taste_alpha is None else self.taste_alpha,
            beta if self.taste_beta is None else self.taste_beta,
        )


def load_typist_setting(path: Path | str | None, seed: int | None = None) -> TypistSetting:
    """Read a setting from a JSON file; None gives the defaults. ``seed`` overrides the one in the file.

    Raises:
        TypistError: no such file, not JSON, an unknown name, or a value out of range.
    """
    setting = TypistSetting()
    if path is not None:
        try:
            setting = msgspec.json.decode(Path(path).read_bytes(), type=TypistSetting)
        except OSError as error:
            raise TypistError(f"the typist file {path} cannot be read: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise TypistError(f"the typist file {path} does not fit: {error}") from error
    if seed is not None:
        setting = msgspec.structs.replace(setting, seed=seed)
    alpha, beta = setting.prior()
    if not (alpha > 0 and beta > 0 and 0 <= setting.relevance_floor < 1 and setting.key_interval_s > 0):
        raise TypistError("typist: the Beta prior and key_interval_s must be above 0, relevance_floor in [0, 1)")
    probabilities = (setting.slip, setting.tap_ceiling, *setting.slot_probabilities)
    if not all(0 <= p <= 1 for p in probabilities) or setting.dwell_s < 0 or setting.send_pause_s < 0:
        raise TypistError("typist: probabilities must be in [0, 1], times not negative")
    return setting


class Typist:
    """Taps and key times of simulated people. Stateless between lines; safe to share."""

    def __init__(self, setting: TypistSetting | None = None) -> None:
        self.setting = setting or TypistSetting()
        self._seed = str(self.setting.seed)
        self.taste = lru_cache(maxsize=None)(self._draw_taste)

    def _draw_taste(self, user: str, topic: str) -> float:
        """How much this person cares for queries on this topic, in [0, 1]; drawn once from the Beta prior."""
        alpha, beta = self.setting.prior()
        key = int(hash_fraction("taste", self._seed, user, topic) * 2**53)
        return float(np.random.default_rng(key).beta(alpha, beta))

    def relevance(self, query: str, line: ReplayLine) -> float:
        """Content-word F1 against the best of what is wanted now and soon, in [0, 1]."""
        return best_relevance(query, line.wanted + line.soon)

    def tap_probability(self, query: str, line: ReplayLine) -> float:
        """Probability that the line's author taps this query once they examine it."""
        setting = self.setting
        interest = (self.relevance(query, line) - setting.relevance_floor) / (1 - setting.relevance_floor)
        if interest <= 0:
            return setting.slip
        interest = min(interest, 1.0)
        return min(setting.tap_ceiling * interest * self.taste(line.user, line.topic) + setting.slip, 1.0)

    def taps(self, query: str, line: ReplayLine) -> bool:
        """Whether they tap it: one uniform draw a line, whatever is offered, against :meth:`tap_probability`."""
        return self._draw("tap", line) < self.tap_probability(query, line)

    def examination_probability(self, visible_s: float, slot: int = 0) -> float:
        """Probability that a query which has been visible for ``visible_s`` seconds in ``slot`` is examined."""
        slots = self.setting.slot_probabilities
        return slots[slot] if visible_s >= self.setting.dwell_s and slot < len(slots) else 0.0

    def examines(self, line: ReplayLine, visible_s: float, slot: int = 0) -> bool:
        """Whether the query in ``slot`` is examined when the line is sent."""
        return self._draw("look", line) < self.examination_probability(visible_s, slot)

    def key_interval_s(self, line: ReplayLine, key: int) -> float:
        """Time between two keys of this line, in seconds: log-normal around the person's own pace."""
        pace = self.setting.key_interval_s * math.exp(0.25 * _normal(hash_fraction("pace", self._seed, line.user)))
        return pace * math.exp(0.35 * _normal(hash_fraction("key", self._seed, line.user, str(line.number), str(key))))

    def send_pause_s(self, line: ReplayLine) -> float:
        """Time between the last key and sending, in seconds."""
        return self.setting.send_pause_s * math.exp(0.5 * _normal(self._draw("pause", line)))

    def _draw(self, what: str, line: ReplayLine) -> float:
        """One uniform draw in [0, 1) for (person, line), independent of anything the keyboard does."""
        return hash_fraction(what, self._seed, line.user, str(line.number))


def _normal(uniform: float) -> float:
    """A standard normal draw from a uniform one."""
    return NormalDist().inv_cdf(min(max(uniform, 1e-9), 1 - 1e-9))
