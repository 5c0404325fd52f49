"""What this device holds about its owner, in words, and everything the owner can do about it. No Kivy here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from data_logging import ImpressionLog, LogBusyError, LogError, LoggedImpression, Outcome
from keyboard_app.device import DeviceRuntime
from keyboard_app.device.files import write_atomically
from keyboard_app.device.history import Ending, HistoryEntry
from keyboard_app.suggestions import TypingSession
from keyboard_app.text.memory import LearnedWord, WordMemory
from suggestion_model.features import DENSE_NAMES

NEWEST = 300
"""Offers listed at most; the export holds all."""
ERASED = "Everything is erased."
BUSY = "Deleted. Another program reads the log: the last traces go with the next deletion."

_OUTCOME = {
    Outcome.TAPPED: "you tapped it",
    Outcome.DISMISSED: "you sent it away",
    Outcome.IGNORED: "you left it alone",
    Outcome.WITHHELD: "kept back, you never saw it",
    Outcome.PENDING: "still open",
}
_ENDING = {
    Ending.FINISHED: "finished",
    Ending.ABANDONED: "abandoned, nothing was opened",
    Ending.LEFT: "left before its end",
    Ending.CONTRIBUTING: "running",
}


class Holder(Protocol):
    """A keyboard as this page sees it; its parts may arrive late, and may be missing."""

    session: TypingSession
    log: ImpressionLog | None
    runtime: DeviceRuntime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is."""

    offers: int
    lines: int
    words: int
    rounds: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Something the owner never wants to see again."""

    title: str
    detail: str
    allow: Callable[[], object] = field(compare=False)
    """Takes the refusal back."""


class PrivacyCentre:
    """Everything one keyboard holds, and what can be done about it.

    What cannot be done ends in a sentence in :attr:`remark`, never in an exception.

    Args:
        keyboard: whose.
        folder: where exports are written.
        clock: Unix time in seconds.
        forget_screen: also forgets what is in memory alone: copied texts, earlier lines.
    """

    def __init__(
        self,
        keyboard: Holder,
        folder: Path,
        clock: Callable[[], float],
        forget_screen: Callable[[], object] = lambda: None,
    ) -> None:
        self._keyboard = keyboard
        self._folder = folder
        self._clock = clock
        self.forget_screen = forget_screen
        self.remark = ""
        """What came of the last thing that was asked for; empty when it went without saying."""

    @property
    def _log(self) -> ImpressionLog | None:
        return self._keyboard.log

    @property
    def _runtime(self) -> DeviceRuntime | None:
        return self._keyboard.runtime

    @property
    def _memory(self) -> WordMemory | None:
        words = self._keyboard.session.words
        return None if words is None else words.memory

    # -- what there is ---------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How much there is of everything."""
        try:
            summary = None if self._log is None else self._log.summary()
        except LogError:
            summary = None
        return Counts(
            offers=0 if summary is None else summary.impressions,
            lines=0 if summary is None else summary.lines,
            words=len(self.words()),
            rounds=len(self.rounds()),
            size_bytes=0 if summary is None else summary.size_bytes,
        )

    def offers(self) -> list[LoggedImpression]:
        """The newest logged decisions, newest first."""
        try:
            return [] if self._log is None else self._log.impressions(newest_first=True, limit=NEWEST)
        except LogError as problem:
            self.remark = str(problem)
            return []

    def words(self) -> list[LearnedWord]:
        """Learned words, the one used last first."""
        try:
            return [] if self._memory is None else self._memory.words()
        except LogError as problem:
            self.remark = str(problem)
            return []

    def unwanted(self) -> list[Unwanted]:
        """What the owner sent away for good: words, corrections, queries, categories, chats."""
        session, memory = self._keyboard.session, self._memory
        wants = session.preferences
        found: list[Unwanted] = []
        for language, typed, word in memory.unwanted() if memory is not None else ():
            title = f"{typed} → {word}" if typed else word
            allow = partial(memory.allow, language, word, typed) if memory is not None else session.apply_preferences
            found.append(Unwanted(title, "a correction you took back" if typed else "a word you sent away", allow))
        for kept, detail in (
            (wants.refused_queries, "a search you sent away"),
            (wants.refused_categories, "a kind of search you sent away"),
            (wants.quiet_conversations, "a chat without searches"),
        ):
            for name in sorted(kept):
                found.append(Unwanted(category(name), detail, partial(self._want_again, kept, name)))
        return found

    def _want_again(self, kept: set[str], name: str) -> None:
        kept.discard(name)
        self._keyboard.session.apply_preferences()

    def allow(self, unwanted: Unwanted) -> None:
        """Let it be offered again."""
        self._do(unwanted.allow)

    def rounds(self) -> list[HistoryEntry]:
        """Rounds this device took part in, newest first."""
        return [] if self._runtime is None else list(reversed(self._runtime.history))

    def privacy_spent(self) -> str:
        """Epsilon spent so far and under which assumption, or that nothing is guaranteed; empty before any round."""
        return "" if self._runtime is None or not self.rounds() else self._runtime.status.privacy.rstrip(".")

    # -- in words --------------------------------------------------------------------------------------------------

    def when(self, unix_s: float) -> str:
        """A moment, as one says it: today's by the hour, others by the day."""
        then, now = datetime.fromtimestamp(unix_s), datetime.fromtimestamp(self._clock())
        if then.date() == now.date():
            return f"today {then:%H:%M}"
        return f"{then.day} {then:%b %H:%M}"

    @staticmethod
    def outcome(offer: LoggedImpression) -> str:
        """What became of an offer."""
        return _OUTCOME[offer.outcome]

    def why(self, offer: LoggedImpression) -> tuple[str, ...]:
        """Why this was suggested, or kept back: evidence, score against the limit, chance."""
        seen = offer.impression
        evidence = dict(zip(DENSE_NAMES, seen.features, strict=False))
        *earlier, line = seen.context.split("\n")
        asked = _words(seen.candidate)
        now = [word for word in asked if word in _words(line)]
        before = [word for word in asked if word not in now and any(word in _words(other) for other in earlier)]
        said = []
        if now:
            said.append(f"In your line: {', '.join(now)}.")
        if before:
            said.append(f"Earlier in the chat: {', '.join(before)}.")
        if not now and not before:
            said.append("No word of it was said; the line was about the same thing.")
        if evidence.get("asking", 0.0) > 0.3:
            said.append("The line wants something.")
        elif evidence.get("asking", 0.0) < -0.3:
            said.append("The line sounds as if the matter were closed.")
        if evidence.get("query_times", 0.0) > 0.0:
            said.append("It fitted an earlier line of this chat too.")
        elif evidence.get("category_times", 0.0) > 0.0:
            said.append(f"Earlier in this chat, too, something about {category(seen.category)} fitted best.")
        habit = evidence.get("category_tap_habit", 0.0)
        if habit > 0.1:
            said.append(f"You have tapped searches about {category(seen.category)} before.")
        elif habit < -0.1:
            said.append(f"You usually leave searches about {category(seen.category)} alone.")
        said.append(self._score(offer))
        if seen.explored:
            said.append(
                "Chance decided about this line, not the limit. A few lines are left to chance, or nobody could tell "
                "whether the limit is right."
            )
        return tuple(said)

    def _score(self, offer: LoggedImpression) -> str:
        seen, limit = offer.impression, self._limit(offer.impression.model_version)
        told = f"Model {seen.model_version} expected a tap in {_percent(seen.score)} of such moments"
        if limit is None:
            return f"{told}."
        verdict = "enough to offer it" if seen.score > limit else "not enough to offer it"
        return f"{told}; it offers above {_percent(limit)}: {verdict}."

    def _limit(self, version: int) -> float | None:
        if self._runtime is None:
            return None
        store = self._runtime.store
        known = (store.current, store.previous, store.pinned, store.v0)
        return next((model.threshold for model in known if model is not None and model.version == version), None)

    @staticmethod
    def counted(offer: LoggedImpression) -> str:
        """Whether a secure sum holds it."""
        if offer.reported_round is not None:
            return "Counted in a sum over many devices: a shown, a tapped or not. No text went along."
        return "Not counted in any sum yet."

    @staticmethod
    def round_in_words(entry: HistoryEntry) -> str:
        """With whom, from which model, how much."""
        others = max(entry.participants - 1, 0)
        parts = [
            f"with {others} other{'' if others == 1 else 's'}" if entry.participants else _ENDING[entry.ending],
            f"from model {entry.model_version}",
            f"{entry.examples} offer{'' if entry.examples == 1 else 's'} learned from",
        ]
        if entry.bytes_up or entry.bytes_down:
            parts.append(f"{kilobytes(entry.bytes_up)} sent, {kilobytes(entry.bytes_down)} received")
        if entry.privacy:
            parts.append(entry.privacy)
        return " · ".join(parts)

    def sent_next(self) -> tuple[str, ...]:
        """What the next round would get from this device."""
        runtime = self._runtime
        if self._log is None or runtime is None:
            return ("Nothing: the local log cannot be opened.",)
        if runtime.status.alone:
            return ("Nothing. This keyboard has no coordinator to send anything to.",)
        if not runtime.preferences.learning:
            return ("Nothing, as long as learning is paused.",)
        if not runtime.preferences.sending:
            return ("Nothing: you chose to keep every update here. It only asks for new models.",)
        try:
            usage, summary = self._log.usage_unreported(), self._log.summary()
        except LogError as problem:
            return (str(problem),)
        lines, offers, taps = (sum(getattr(row, what) for row in usage) for what in ("lines", "offers", "clicks"))
        if not summary.shown and not lines:
            return ("Nothing yet: no offer was seen and no line was sent since the last round.",)
        return (
            f"One list of numbers, hidden under a mask: how the model would change after learning from the "
            f"{summary.shown} offers you have seen, and how many there were since the last round: {lines} lines, "
            f"{offers} offers, {taps} taps.",
            f"The coordinator can only open the sum over at least {runtime.policy.smallest_aggregate} devices. "
            "No word you typed, no query and no name is in it.",
        )

    # -- what can be done ------------------------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether anything is recorded and learned from."""
        try:
            recorded = self._log is not None and self._log.enabled
        except LogError:
            recorded = False
        return recorded and (self._runtime is None or self._runtime.preferences.learning)

    @property
    def sending(self) -> bool:
        """Whether updates may leave the device, masked."""
        return self._runtime is not None and self._runtime.preferences.sending

    def toggle_learning(self) -> None:
        """Pause learning, or go on."""
        self._decide(learning=not self.learning)

    def toggle_sending(self) -> None:
        """Keep every update on the device, or send again."""
        self._decide(sending=not self.sending)

    def toggle_personal(self) -> None:
        """Train the model further for this owner alone, or use the shared one."""
        if self._runtime is not None:
            self._decide(personal=not self._runtime.preferences.personal)

    def _decide(self, **decision: bool) -> None:
        self.remark = ""
        try:
            if self._runtime is not None:
                self._runtime.prefer(**decision)
            elif self._log is not None and "learning" in decision:
                self._log.set_enabled(decision["learning"])
            if self._memory is not None and "learning" in decision:
                self._memory.set_enabled(decision["learning"])
        except (LogError, OSError) as problem:
            self.remark = f"Decided, but it could not be written down: {_short(problem)}"

    def delete_offer(self, number: int) -> None:
        """Delete one row of the log, and its bytes."""
        log = self._log
        if log is not None:
            self._do(lambda: log.delete(number))

    def forget_word(self, word: str) -> None:
        """Unlearn one word."""
        memory = self._memory
        if memory is not None:
            self._do(lambda: memory.forget(word))

    def forget_round(self, session: str) -> None:
        """Delete one round from the history."""
        runtime = self._runtime
        if runtime is not None:
            self._do(lambda: runtime.forget_round(session))

    def erase_everything(self) -> None:
        """Delete log, learned words, rounds, the personal model, and what is in memory. Decisions stay."""
        remarks = []
        for erase in (
            None if self._log is None else self._log.erase,
            None if self._memory is None else self._memory.erase,
            self._forget_refusals,
            None if self._runtime is None else self._runtime.forget_everything,
            self.forget_screen,
        ):
            if erase is not None:
                self._do(erase)
                remarks.append(self.remark)
        self.remark = next(filter(None, remarks), ERASED)

    def _forget_refusals(self) -> None:
        self._keyboard.session.preferences.allow_all()
        self._keyboard.session.apply_preferences()

    def _do(self, work: Callable[[], object]) -> None:
        self.remark = ""
        try:
            work()
        except LogBusyError:
            self.remark = BUSY
        except (LogError, OSError) as problem:
            self.remark = f"That did not work: {_short(problem)}"

    def export(self) -> Path | None:
        """Write everything to a file of the owner's own; None, and a remark, when that did not work."""
        path = self._folder / f"keyboard-{datetime.fromtimestamp(self._clock()):%Y-%m-%d-%H%M%S}.json"
        try:
            write_atomically(path, json.dumps(self.everything(), ensure_ascii=False, indent=1).encode())
        except (LogError, OSError) as problem:
            self.remark = f"The export could not be written: {_short(problem)}"
            return None
        self.remark = f"Written to {path}. Only you can read it; delete it when you are done."
        return path

    def everything(self) -> dict[str, Any]:
        """Everything there is, ready for ``json.dumps``.

        Raises:
            LogError: the log cannot be read.
        """
        runtime = self._runtime
        personal = None if runtime is None else runtime.personal_model
        return {
            "log": None if self._log is None else self._log.export(),
            "learned_words": None if self._memory is None else self._memory.export(),
            "not_wanted": [{"what": one.title, "why": one.detail} for one in self.unwanted()],
            "rounds": [msgspec.to_builtins(entry) for entry in reversed(self.rounds())],
            "decisions": None if runtime is None else msgspec.to_builtins(runtime.preferences),
            "personal_model": None
            if personal is None
            else {
                "from_model": personal.base_version,
                "examples": personal.examples,
                "trained_at": personal.trained_at,
                "in_use": personal.kept,
                "tastes": personal.tastes,
            },
        }


def category(name: str) -> str:
    """A category of the catalog as one says it."""
    return name.replace("_", " ").replace(".", ", ") or "this"


def kilobytes(count: int) -> str:
    """A size in kB, or in bytes below one."""
    return f"{count / 1000:.1f} kB" if count >= 1000 else f"{count} bytes"


def _percent(logit: float) -> str:
    """A logit as a chance, with a decimal where it is small."""
    share = 100.0 / (1.0 + math.exp(-min(max(logit, -60.0), 60.0)))
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_][\w'’-]+", text.casefold()) if len(word) > 2]


def _short(problem: Exception) -> str:
    """What went wrong, without any path or content."""
    return problem.strerror or type(problem).__name__ if isinstance(problem, OSError) else str(problem)
