"""The text being composed, and the words that go with it.

- `composition`: the line, its cursor, the word at the cursor
- `tokens`: words of a text
- `language`, `word_list`: what ships for each language (`make_wordlists` makes `words/`)
- `completion`: words that begin like this one
- `correction`: the word that was meant; optional and loaded late
- `next_word`: words that often follow
- `memory`: what this person writes, kept on the device under the same rules as the log
- `words`: all of it together, as the strip shows it
- `line_editor`: what keys do to the line with the help of words: corrections, chosen words, taking them back
"""

from keyboard_app.text.composition import Composition
from keyboard_app.text.language import Language, available_languages, load_language
from keyboard_app.text.line_editor import LineEditor
from keyboard_app.text.memory import LearnedWord, WordMemory
from keyboard_app.text.word_list import WordList, WordListError, shipped_words
from keyboard_app.text.words import Suggested, WordSuggester

__all__ = [
    "Composition",
    "Language",
    "LearnedWord",
    "LineEditor",
    "Suggested",
    "WordList",
    "WordListError",
    "WordMemory",
    "WordSuggester",
    "available_languages",
    "load_language",
    "shipped_words",
]
