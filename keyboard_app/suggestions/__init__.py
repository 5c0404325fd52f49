"""What is offered while typing: context -> candidates -> ranked -> offered -> tapped or ignored.

- `engine`: :class:`SuggestionEngine` finds and ranks; its model can be swapped between two key presses
- `exploration`: the small share of lines that chance decides, and the propensities that follow
- `conversation`: what a session remembers of each conversation, in memory only
- `preferences`: what the person wants: queries or none, corrections or none, what was refused for good
- `field`, `line`: what a session shows and tells; the line being composed and what is visible on it
- `session`: :class:`TypingSession`, the face of the keyboard, the same for a window and for a simulated typist
"""

from keyboard_app.suggestions.engine import Decision, ModelInUse, SuggestionEngine
from keyboard_app.suggestions.exploration import Branch, Exploration
from keyboard_app.suggestions.field import FieldKind, SearchCard, SentLine, Strip, Trouble
from keyboard_app.suggestions.preferences import Preferences, Refusal
from keyboard_app.suggestions.session import TypingSession

__all__ = [
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
