"""Word suggestions from the shipped list."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from keyboard_app.text import WordList, WordListError, WordSuggester, shipped_words
from keyboard_app.text.completion import KEPT, Completer


@pytest.fixture(scope="module")
def suggester() -> WordSuggester:
    suggester = WordSuggester.shipped()
    assert suggester.corrector is not None
    suggester.corrector.load()
    return suggester


def test_the_shipped_list_is_large_and_sorted_by_frequency() -> None:
    words = shipped_words()
    assert 30_000 <= len(words.words) <= 60_000
    assert list(words.counts) == sorted(words.counts, reverse=True)
    assert len(set(map(str.lower, words.words))) == len(words.words)


def test_the_shipped_list_is_what_its_script_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keyboard_app.text import make_wordlists

    shipped = make_wordlists.FOLDER / "en.txt.gz"
    monkeypatch.setattr(make_wordlists, "FOLDER", tmp_path)
    made = make_wordlists.make("en")
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(shipped.read_bytes())


def test_a_missing_or_damaged_list_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WordListError, match="install"):
        shipped_words("xx")
    (tmp_path / "en.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(WordListError, match="install"):
        WordList.read(tmp_path / "en.txt.gz")
    (tmp_path / "en.txt.gz").write_bytes(gzip.compress(b"the\tmany\n"))
    with pytest.raises(WordListError, match="install"):
        WordList.read(tmp_path / "en.txt.gz")


@pytest.mark.parametrize("prefix", ["", "t", "th", "the", "ther", "restau", "xq", "Zzz", "i'", "résu"])
def test_completions_are_the_most_frequent_words_that_begin_so(prefix: str) -> None:
    words = shipped_words()
    expected = [
        word for word in words.words if word.lower().startswith(prefix) and word.lower() not in words.unsuggested
    ][:3]
    assert Completer(words).complete(prefix) == expected
    assert len(Completer(words).complete(prefix, KEPT)) <= KEPT


def test_completions_follow_the_case_of_what_is_typed(suggester: WordSuggester) -> None:
    assert suggester.suggest("restau").words[0] == "restaurant"
    assert suggester.suggest("Restau").words[0] == "Restaurant"
    assert suggester.suggest("RESTAU").words[0] == "RESTAURANT"
    assert suggester.suggest("lond").words[0] == "London"
    assert "I'm" in suggester.suggest("i'").words


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("teh", "the"), ("recieve", "receive"), ("resturant", "restaurant"), ("Thnaks", "Thanks"), ("londn", "London")],
)
def test_a_mistake_is_corrected_first(suggester: WordSuggester, typed: str, meant: str) -> None:
    assert suggester.suggest(typed).words[0] == meant


@pytest.mark.parametrize("typed", ["restau", "tomo", "hel", "the", "oakland"])
def test_half_a_word_is_no_mistake(suggester: WordSuggester, typed: str) -> None:
    assert all(word.lower().startswith(typed) for word in suggester.suggest(typed).words)


def test_at_most_three_and_never_what_is_already_written(suggester: WordSuggester) -> None:
    for typed in ("", "a", "the", "restaurants", "teh", "zzzzzz", "1234", "🙂"):
        suggested = suggester.suggest(typed)
        found = suggested.words
        assert len(found) <= 3
        assert typed not in found or suggested.correction is not None
        assert len(set(found)) == len(found)


def test_the_strip_has_words_before_the_first_key(suggester: WordSuggester) -> None:
    assert len(suggester.suggest("").words) == 3
    assert all(word[0].isupper() for word in suggester.suggest("").words)
    assert len(suggester.suggest("", "see the ").words) == 3


def test_marked_words_are_known_but_never_suggested(suggester: WordSuggester) -> None:
    words = shipped_words()
    assert words.unsuggested
    for word in sorted(words.unsuggested):
        shown = [*suggester.suggest(word[:-1]).words, *suggester.suggest(word).words]
        assert not words.unsuggested & {w.lower() for w in shown} - {word, word[:-1]}


def test_without_the_dictionary_there_are_completions_alone() -> None:
    unloaded = WordSuggester.shipped()
    assert unloaded.suggest("resturant").words == ()
    assert WordSuggester.shipped(correction=False).suggest("restau").words[0] == "restaurant"


def test_the_dictionary_can_load_beside_typing() -> None:
    suggester = WordSuggester.shipped()
    assert suggester.corrector is not None
    suggester.corrector.load_in_background().join()
    assert suggester.suggest("resturant").words[0] == "restaurant"


def test_completion_imports_no_word_statistics() -> None:
    program = "import sys, keyboard_app.text as t; t.WordSuggester.shipped().suggest('restau'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "wordfreq" not in loaded
