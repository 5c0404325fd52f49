"""What is offered while typing: context -> candidates -> ranked -> offered -> tapped or ignored.

- `engine`: :class:`SuggestionEngine` finds and ranks; its model can be swapped between two key presses
- `exploration`: the small share of lines that chance decides, and the propensities that follow
- `conversation`: what a session remembers of each conversation, in memory only
- `preferences`: what the person wants: queries or none, corrections or none, what was refused for good
- `line`: the line being composed: which query is visible on it and since when, and the record that follows
- `offers`: :class:`QueryOffers` decides at every key what is offered on a line, and what became of it
- `search`: what a tapped query opens
- `values`: what a session is told and tells: the kind of field, the strip, a sent line, troubles
- `session`: :class:`TypingSession`, the face of the keyboard, the same for a window and for a simulated typist
"""

from keyboard_app.suggestions.engine import Decision, ModelInUse, SuggestionEngine
from keyboard_app.suggestions.exploration import Branch, Exploration
from keyboard_app.suggestions.preferences import Preferences, Refusal
from keyboard_app.suggestions.search import SEARCH_ADDRESS, SearchCard
from keyboard_app.suggestions.session import TypingSession
from keyboard_app.suggestions.values import FieldKind, SentLine, Strip, Trouble

__all__ = [
    "SEARCH_ADDRESS",
    "Branch",
    "Decision",
    "Exploration",
    "FieldKind",
    "ModelInUse",
    "Preferences",
    "Refusal",
    "SearchCard",
    "SentLine",
    "Strip",
    "SuggestionEngine",
    "Trouble",
    "TypingSession",
]
