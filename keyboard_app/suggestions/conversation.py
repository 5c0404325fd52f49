"""What a session remembers of its conversations: recent lines, and queries that stay away. In memory only."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from suggestion_model.earlier_matches import KEPT_MATCHES
from suggestion_model.types import Context, Match

EARLIER_LINES = 12
"""Lines of a conversation, both sides, that the next decision sees."""
IGNORED_OFFERS = 2
"""After this many ignored offers a query stays away for the conversation."""
KEPT_CONVERSATIONS = 256


@dataclass(slots=True)
class Conversation:
    """One conversation."""

    key: str
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=EARLIER_LINES))
    away: set[str] = field(default_factory=set)
    """Queries not to be offered again here."""
    ignored: Counter[str] = field(default_factory=Counter)
    matches: deque[Match] = field(default_factory=lambda: deque(maxlen=KEPT_MATCHES))
    """Best candidates of the lines typed here, oldest first."""

    @property
    def topic(self) -> str:
        """Name of the chat, without the moment at which it was opened: what "this chat" means to the person."""
        return self.key.partition("@")[0].strip()

    def context(self, composed: str) -> Context:
        """What a decision about ``composed`` sees of the conversation."""
        return Context(composed, tuple(self.lines), tuple(self.matches))

    def remember(self, match: Match) -> None:
        """Note what the line typed last came to."""
        self.matches.append(match)

    def send_away(self, query: str) -> None:
        """Never offer ``query`` again in this conversation."""
        self.away.add(query)

    def ignore(self, query: str) -> None:
        """Note one ignored offer."""
        self.ignored[query] += 1
        if self.ignored[query] >= IGNORED_OFFERS:
            self.away.add(query)


class Conversations:
    """The conversations of one session, the least recently opened forgotten first."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, Conversation] = OrderedDict()
        self._deletions = 0

    def open(self, key: str) -> Conversation:
        """Find or begin the conversation ``key``."""
        conversation = self._by_key.get(key)
        if conversation is None:
            conversation = self._by_key[key] = Conversation(key)
            if len(self._by_key) > KEPT_CONVERSATIONS:
                self._by_key.popitem(last=False)
        else:
            self._by_key.move_to_end(key)
        return conversation

    def follow_deletions(self, deletions: int) -> None:
        """Forget what was found and tapped in all of them when rows of the log were deleted since the last call."""
        if deletions != self._deletions:
            self._deletions = deletions
            for conversation in self._by_key.values():
                conversation.matches.clear()
