"""What redaction promises, on examples and on anything hypothesis comes up with."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_logging import redact
from data_logging.redaction import LONGEST_NUMBER, SEPARATED_DIGITS

_DIGITS = "0123456789٠١٢٣٤٥٦٧٨٩０１２３４５６７８９²③"
_NUMBERISH = st.text(alphabet=_DIGITS + " .-/()[]+_·\u200b\u00a0abz@:⟨⟩\n", max_size=60)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("my card is 4111 1111 1111 1111 ok", "my card is ⟨number⟩ ok"),
        ("4111-1111-1111-1111", "⟨number⟩"),
        ("call +1 (555) 010-0199 today", "call +⟨number⟩ today"),
        ("code 123456", "code ⟨number⟩"),
        ("ssn 078-05-1120", "ssn ⟨number⟩"),
        ("zip 94601-1234", "zip ⟨number⟩"),
        ("write to jo.doe+x@example.co.uk please", "write to ⟨email⟩ please"),
        ("write to jo @ example.com please", "write to ⟨email⟩ please"),
        ("see https://user:pw@example.com/a?b=c now", "see https://user:⟨email⟩ now"),
        ("see https://example.com/a?b=c now", "see ⟨web⟩ now"),
        ("www.example.com", "⟨web⟩"),
        ("it is on example.com/private", "it is on ⟨web⟩"),
        ("my-site.io has it", "⟨web⟩ has it"),
        ("http://10.0.0.1/admin", "⟨web⟩"),
        ("IBAN DE89 3704 0044 0532 0130 00 thanks", "IBAN ⟨account⟩ thanks"),
        ("GB82WEST12345698765432", "⟨account⟩"),
        ("order A1B2C3D4E5F6", "order ⟨number⟩"),
        ("４１１１１１１１", "⟨number⟩"),
        ("41\u200b11\u200b11\u200b11", "⟨number⟩"),
    ],
)
def test_what_identifies_is_cut_out(typed: str, stored: str) -> None:
    if "user:pw" in typed:
        assert "pw" not in redact(typed)
        assert "example" not in redact(typed)
    else:
        assert redact(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "thai restaurants in oakland",
        "meet at 10:30, 2 people",
        "flights on march 14 2026 for 4",
        "3 bedroom apartments for rent in menlo park",
        "it costs $42.50 at most.",
        "What? No... well, e.g. tomorrow.",
        "that is fine.thanks",
        "he's 6 ft 2 and 190",
        "version 3.11 vs 3.12",
        "",
        "🙂 naïve café",
    ],
)
def test_ordinary_lines_stay_as_they_are(typed: str) -> None:
    assert redact(typed) == typed


def _plain(text: str) -> str:
    return "".join("0" if character.isdigit() else character for character in text)


@given(_NUMBERISH | st.text(max_size=80))
@example("1 2 3 4 5 6 7")
@example("a@b")
def test_no_long_number_is_left(typed: str) -> None:
    plain = _plain(redact(typed))
    assert not re.search(rf"0{{{LONGEST_NUMBER + 1}}}", plain)
    for line in plain.split("\n"):
        assert not re.search(rf"0(?:[\s.\-/()\[\]+_·\u200b]{{0,3}}0){{{SEPARATED_DIGITS - 1}}}", line)


@given(
    st.from_regex(r"[a-z0-9.]{1,10}@[a-z0-9]{1,10}\.[a-z]{2,5}", fullmatch=True), st.text(alphabet="ab c.", max_size=8)
)
def test_no_mail_address_is_left(address: str, around: str) -> None:
    assert "@" not in redact(f"{around} {address} {around}")


@given(_NUMBERISH | st.text(max_size=80))
def test_redacting_twice_changes_nothing_more(typed: str) -> None:
    assert redact(redact(typed)) == redact(typed)


@given(_NUMBERISH | st.text(max_size=80))
def test_lines_stay_lines(typed: str) -> None:
    redacted = redact(typed)
    assert redacted.count("\n") == typed.count("\n")
    assert redacted == "\n".join(redact(line) for line in typed.split("\n"))


@pytest.mark.parametrize(
    "token",
    ["y", "1a", "1 ", "a.", "www.", "a@", "1.a", "DE89 abc1 ", "\u200b1", "٣x", "a.b/", "x-", "x ", "://", "@ "],
)
def test_a_long_paste_is_redacted_in_no_time(token: str) -> None:
    started = time.perf_counter()
    redact(token * (50_000 // len(token)) + ".1")
    assert time.perf_counter() - started < 60.0  # linear: some 0.1 s; a quadratic pattern takes minutes
