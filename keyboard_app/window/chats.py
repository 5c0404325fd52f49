"""The chats of the demo: who there is to talk to, what was said, and what came in meanwhile. In memory only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from keyboard_app.window.partner import PARTNER_FOLDER, ScriptedPartner

FIRST = "robin"
"""Whose chat stands first."""
MOST_LINES = 200


@dataclass(slots=True)
class Chat:
    """One conversation: a partner, or none for notes to oneself."""

    name: str
    about: str
    key: str
    """Key of the conversation for the typing session: the name, and when it was opened."""
    partner: ScriptedPartner | None
    lines: list[tuple[str, bool]] = field(default_factory=list)
    """(text, own), oldest first."""
    missed: list[str] = field(default_factory=list)
    """Lines that came in while another chat was open; the session has not heard them yet."""
    draft: str = ""

    def add(self, text: str, own: bool) -> None:
        """Something was said while the chat is open."""
        self.lines.append((text, own))
        del self.lines[:-MOST_LINES]

    def miss(self, text: str) -> None:
        """The partner said something while another chat is open."""
        self.add(text, False)
        self.missed.append(text)

    def catch_up(self) -> list[str]:
        """What came in meanwhile; nothing is missed from now on."""
        missed, self.missed = self.missed, []
        return missed

    @property
    def newest(self) -> str:
        """The line said last; what the chat is about while it is empty."""
        return self.lines[-1][0] if self.lines else self.about


def chat_with(partner: ScriptedPartner | None, opened: str = "") -> Chat:
    """A chat with a partner, who says hello at once; without one, notes to oneself."""
    if partner is None:
        return Chat("Notes", "notes to yourself", f"Notes @ {opened}" if opened else "", None)
    chat = Chat(partner.name, partner.about, f"{partner.name} @ {opened}" if opened else "", partner)
    for line in partner.opening:
        chat.miss(line)
    return chat


def all_chats(opened: datetime, folder: Path = PARTNER_FOLDER) -> list[Chat]:
    """A chat for every script in ``folder``, and one for notes.

    Raises:
        PartnerError: a script cannot be used.
    """
    scripts = sorted(folder.glob("*.json"), key=lambda path: (path.stem != FIRST, path.stem))
    moment = f"{opened:%Y-%m-%dT%H:%M:%S}"
    return [chat_with(partner, moment) for partner in (*map(ScriptedPartner, scripts), None)]
