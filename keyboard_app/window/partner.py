"""The other side of the demo chat: a scripted partner who gives a newcomer something to answer. Offline, no model.

A script is a JSON file in ``partners/``: ``name``, ``about`` (a few words for the list of chats), ``opening`` lines,
``answers`` (lists of words and what is said to them), ``questions`` (said to an unmatched question) and ``otherwise``.
Each list is walked in turn, so that the same conversation always goes the same way. Adding a partner is adding a file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

PARTNER_FOLDER = Path(__file__).parent / "partners"


class PartnerError(ValueError):
    """A partner's script cannot be used; the message names the file."""


class ScriptedPartner:
    """Answers by keyword; pure apart from remembering what was said last.

    Raises:
        PartnerError: the script is absent or lacks a part.
    """

    def __init__(self, path: Path = PARTNER_FOLDER / "robin.json") -> None:
        try:
            script = json.loads(path.read_text(encoding="utf-8"))
            self.name = str(script["name"])
            self.about = str(script.get("about", ""))
            self.opening = tuple(str(line) for line in script["opening"])
            self._answers = [(frozenset(rule["when"]), tuple(rule["say"])) for rule in script["answers"]]
            self._questions = tuple(script["questions"])
            self._otherwise = tuple(script["otherwise"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PartnerError(f"{path} is not a partner's script ({error!r}); restore the file") from error
        self._said: Counter[tuple[str, ...]] = Counter()

    def answer(self, line: str) -> str:
        """What the partner says to ``line``."""
        words = set(re.findall(r"[^\W\d_]+", line.casefold()))
        for when, say in self._answers:
            if words & when:
                return self._next(say)
        return self._next(self._questions if line.rstrip().endswith("?") else self._otherwise)

    def _next(self, lines: tuple[str, ...]) -> str:
        said = self._said[lines]
        self._said[lines] += 1
        return lines[said % len(lines)]
