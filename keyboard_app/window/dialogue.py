"""The chat that is open: what is said in it, and the partner who answers after a while."""

# mypy: disallow_any_unimported=False
# Kivy ships no type information: its classes are Any to mypy.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kivy.clock import Clock

from keyboard_app.suggestions import FieldKind, TypingSession
from keyboard_app.window.chats import Chat
from keyboard_app.window.conversation import Conversation
from keyboard_app.window.header import Header

ANSWER_AFTER_S = 1.3
"""The partner's time to answer; a sign of typing stands there meanwhile."""


class Dialogue:
    """Lines go in and out of one chat at a time, and the typing session hears them.

    Args:
        chat: the one that is open at first.
        session: hears what is said.
        conversation: shows it.
        header: shows with whom.
        on_heard: called after the partner said something.
    """

    def __init__(
        self,
        chat: Chat,
        session: TypingSession,
        conversation: Conversation,
        header: Header,
        on_heard: Callable[[], None],
    ) -> None:
        self.chat = chat
        self.unread: Callable[[], int] = lambda: 0
        """Lines that wait in other chats."""
        self._session = session
        self._conversation = conversation
        self._header = header
        self._on_heard = on_heard
        self._answers: list[Any] = []

    def open(self, chat: Chat) -> None:
        """Turn to a chat: its lines, its partner, what came in meanwhile. An unsent line waits in the one left."""
        logged = self._session.field_kind is FieldKind.TEXT
        if chat is not self.chat and logged:
            self.chat.draft = self._session.composed
        self.chat = chat
        if chat.key:
            self._session.open_conversation(chat.key)
        for line in chat.catch_up():
            self._session.receive(line)
        draft, chat.draft = chat.draft, ""
        if draft and logged:
            self._session.paste(draft)
        self._conversation.show_lines(chat.lines)
        self._header.show_partner(chat.name, self.unread())

    def say(self, line: str, *, answered: bool = True) -> None:
        """Put an own line into the chat, and let the partner answer it."""
        chat = self.chat
        chat.add(line, own=True)
        self._conversation.add_line(line, own=True)
        if chat.partner is not None and answered:
            self._conversation.show_waiting(True)
            answer = chat.partner.answer(line)
            self._answers = [timer for timer in self._answers if timer.is_triggered]
            self._answers.append(Clock.schedule_once(lambda _dt: self.arrive(chat, answer), ANSWER_AFTER_S))

    def arrive(self, chat: Chat, line: str) -> None:
        """A partner's answer is there, whatever chat is open by now."""
        if chat is self.chat:
            self.receive(line)
        else:
            chat.miss(line)
            self._header.show_partner(self.chat.name, self.unread())

    def receive(self, line: str) -> None:
        """The partner says something."""
        self._session.receive(line)
        self.chat.add(line, own=False)
        self._conversation.add_line(line, own=False)
        self._on_heard()

    def stop(self) -> None:
        """Nobody answers any more."""
        for timer in self._answers:
            timer.cancel()
        self._answers = []
