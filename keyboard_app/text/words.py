"""The three words of the strip: what completes, corrects or follows what is typed, likeliest first.

Four sources say how likely a word is here: how often the language uses it, what often follows the word before
(shipped pairs), what this person writes, and what this person wrote after the very words before. They are mixed with
fixed weights (linear interpolation; Jurafsky and Martin, "Speech and Language Processing", N-gram models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keyboard_app.text.completion import KEPT, Completer, in_case_of
from keyboard_app.text.correction import Corrector
from keyboard_app.text.language import Language, load_language
from keyboard_app.text.memory import START, WordMemory
from keyboard_app.text.next_word import ShippedPairs
from keyboard_app.text.tokens import last_words
from keyboard_app.text.word_list import WordList, shipped_words

WORDS = 3
_FAR_MORE_LIKELY = 30.0
"""A correction takes the centre from a completion when it is this many times as likely: "teh" -> "the"."""
_OWN_WORD = 2
"""A word that is in no list counts as one of the person's own after so many uses."""

_BY_FREQUENCY, _BY_PAIR, _BY_PERSON, _BY_PERSONS_PAIR, _BY_PERSONS_RUN = 0.24, 0.40, 0.08, 0.16, 0.12
_HELD_BACK = 4.0
"""Added to the person's counts below the line: a word written once is not yet certain."""
_HELD_BACK_WORDS = 60.0


@dataclass(frozen=True, slots=True)
class Suggested:
    """Words for the strip."""

    words: tuple[str, ...] = ()
    """Up to three, best first."""
    correction: str | None = None
    """What a space would put in place of the word at the cursor; then it is the first of the words, and what was
    typed is the second."""


class WordSuggester:
    """Suggests up to three words for the word at the cursor.

    Parameters
    ----------
    words
        The word list.
    language
        Openers and, where no pairs ship, what often follows.
    memory
        What this person writes; None to know nothing of it.
    correction
        Whether mistakes are corrected. The dictionary is loaded by ``corrector.load()`` or ``load_in_background()``;
        until then there are completions alone.
    """

    def __init__(
        self, words: WordList, language: Language, memory: WordMemory | None = None, *, correction: bool = True
    ) -> None:
        self.language = language.code
        self.memory = memory
        self._words = words
        self._openers = language.openers
        self._completer = Completer(words)
        self._pairs = ShippedPairs(words, language)
        self.corrector: Corrector | None = Corrector(words) if correction else None

    @classmethod
    def shipped(
        cls, language: str = "en", memory: WordMemory | None = None, *, correction: bool = True
    ) -> WordSuggester:
        """Suggester over the shipped list of a language.

        Raises
        ------
        WordListError
            When there is no list for the language.
        """
        return cls(shipped_words(language), load_language(language), memory, correction=correction)

    def suggest(self, word: str, before: str = "") -> Suggested:
        """Up to three words, best first; the window puts the best in the centre.

        Parameters
        ----------
        word
            What is typed of the word at the cursor; "" after a space.
        before
            The line before that word.
        """
        at = last_words(before)
        likely = self._likelihood(at)
        if not word:
            return Suggested(self._next(at, likely))
        found = self._completions(word, at, likely)
        correction, sure = self._correction(word, found, likely)
        if correction is None:
            return Suggested(tuple(found[:WORDS]))
        if sure:
            others = [other for other in found if other not in (correction, word)]
            return Suggested((correction, word, *others)[:WORDS], correction)
        return Suggested((correction, *(other for other in found if other != correction))[:WORDS])

    # -- how likely a word is here ---------------------------------------------------------------------------------

    def _likelihood(self, at: Sequence[str]) -> Callable[[str], float]:
        """Lower-case word -> probability after the words ``at``."""
        pairs = self._pairs.following(at[-1] if at else "")
        memory, language = self.memory, self.language
        own: list[tuple[float, Mapping[str, int], float]] = []
        if memory is not None:
            last = (at[-1],) if at else (START,)
            run = tuple(at) if len(at) > 1 else (START, *at) if at else ()
            own.append((_BY_PERSON, memory.following(language, ()), memory.total(language) + _HELD_BACK_WORDS))
            own.append((_BY_PERSONS_PAIR, memory.following(language, last), memory.total(language, last) + _HELD_BACK))
            if run:
                own.append((_BY_PERSONS_RUN, memory.following(language, run), memory.total(language, run) + 1.0))
        count = self._words.count

        def likely(word: str) -> float:
            mixed = _BY_FREQUENCY * count(word) * 1e-9 + _BY_PAIR * pairs.get(word, 0.0)
            for weight, counts, total in own:
                mixed += weight * counts.get(word, 0) / total
            return mixed

        return likely

    def _next(self, at: Sequence[str], likely: Callable[[str], float]) -> tuple[str, ...]:
        candidates = {word.lower() for word in self._completer.complete("", KEPT)} if at else set()
        candidates |= self._pairs.following(at[-1] if at else "", KEPT * 2).keys()
        candidates |= self._own(at)
        best = self._best(candidates, likely)
        if not at:
            written = [*best, *(opener for opener in self._openers if opener.lower() not in {w.lower() for w in best})]
            return tuple(word[:1].upper() + word[1:] for word in written[:WORDS])
        return tuple(best[:WORDS])

    def _completions(self, word: str, at: Sequence[str], likely: Callable[[str], float]) -> list[str]:
        folded = word.lower().replace("’", "'")
        candidates = {found.lower() for found in self._completer.complete(folded, KEPT)}
        for source in (self._pairs.following(at[-1] if at else ""), self._own(at), self._own_words(folded)):
            candidates |= {found for found in source if found.startswith(folded)}
        found = [in_case_of(word, written) for written in self._best(candidates, likely)]
        return [other for other in found if other != word]

    def _best(self, candidates: set[str], likely: Callable[[str], float]) -> list[str]:
        """Candidates that may be shown, likeliest first, as they are written."""
        memory = self.memory
        shown = [
            word
            for word in candidates
            if word not in self._words.unsuggested
            and not (memory is not None and memory.is_unwanted(self.language, word))
        ]
        shown.sort(key=lambda word: (-likely(word), word))
        return [self._written(word) for word in shown[: WORDS + 1]]

    def _own(self, at: Sequence[str]) -> set[str]:
        if self.memory is None:
            return set()
        following = self.memory.following(self.language, (at[-1],) if at else (START,))
        return {word for word in following if word in self._words or self._is_own(word)}

    def _own_words(self, prefix: str) -> set[str]:
        if self.memory is None:
            return set()
        mine = self.memory.following(self.language, ())
        return {
            word
            for word, count in mine.items()
            if word.startswith(prefix) and (count >= _OWN_WORD or word in self._words)
        }

    def _is_own(self, word: str) -> bool:
        return self.memory is not None and self.memory.count(self.language, word) >= _OWN_WORD

    def _written(self, word: str) -> str:
        if word in self._words:
            return self._words.written(word)
        own = self.memory.written(self.language, word) if self.memory is not None else None
        return own or word

    # -- correction ------------------------------------------------------------------------------------------------

    def _correction(self, word: str, completions: list[str], likely: Callable[[str], float]) -> tuple[str | None, bool]:
        """A correction, unless something likely begins like the word: half a word is no mistake."""
        memory = self.memory
        if self.corrector is None or self._is_own(word.lower()):
            return None, False
        to_beat = _FAR_MORE_LIKELY * likely(completions[0].lower()) if completions else 0.0

        def allowed(term: str) -> bool:
            return memory is None or not (
                memory.is_unwanted(self.language, term) or memory.is_unwanted(self.language, term, word)
            )

        found = self.corrector.correct(word, one_edit=bool(completions), probability=likely, allowed=allowed)
        if found is None or likely(found.word) < to_beat:
            return None, False
        return in_case_of(word, self._words.written(found.word)), found.sure
