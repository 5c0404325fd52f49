"""The text being composed.

- `composition`: the line, its cursor, the word at the cursor
- `word_list`: the shipped word lists (`make_wordlists` makes them, `words/` holds them)
- `completion`: words that begin like this one
- `correction`: the word that was meant; optional and loaded late
- `words`: both together, as the strip shows them
"""

from keyboard_app.text.composition import Composition
from keyboard_app.text.word_list import WordList, WordListError, shipped_words
from keyboard_app.text.words import WordSuggester

__all__ = ["Composition", "WordList", "WordListError", "WordSuggester", "shipped_words"]
