"""Redaction at the door: what is cut out of text before the log stores it.

Replaced by a placeholder: mail addresses, web addresses, account numbers that look like an IBAN, and numbers long
enough to be a card, a phone, an account or a postcode. When in doubt it cuts: a missing number costs the model
next to nothing.

What it promises (tests/data_logging/test_redaction.py):

- no run of ``LONGEST_NUMBER + 1`` or more digits is left, of any script, nor such a number broken up by spaces, dots,
  dashes, slashes, brackets or invisible characters into ``SEPARATED_DIGITS`` or more digits;
- no ``@`` with something before and behind it is left;
- it is idempotent, works line by line, and never adds or removes a line.
"""

from __future__ import annotations

import re
import unicodedata

NUMBER = "⟨number⟩"
EMAIL = "⟨email⟩"
WEB = "⟨web⟩"
ACCOUNT = "⟨account⟩"

LONGEST_NUMBER = 4
"""Longest run of digits that is kept: a year, a time, a house number."""
SEPARATED_DIGITS = 7
"""A number with separators inside is cut from this many digits on: "555 0199" is a phone number, "10-12" is not."""

_INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_BETWEEN = rf"[\s.\-‐-―−/()\[\]+_·•{_INVISIBLE}]"

# Every pattern begins at the start of a token or is bounded in length: long pastes take linear time.
_IN_ADDRESS = r"[^\s@⟨⟩<>,;]"
_EMAIL = re.compile(rf"(?<!{_IN_ADDRESS}){_IN_ADDRESS}+\s?@\s?{_IN_ADDRESS}+")
_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|co|me|tv|us|uk|de|fr|es|it|nl|be|at|ch|eu|ca|au|nz|in|jp|cn|"
    "kr|br|mx|ar|cl|pl|cz|se|no|fi|dk|ru|ua|tr|gr|pt|ie|il|za|ly|gl|onion|shop|store|online|site|xyz|blog|cloud"
)
_WEB = re.compile(
    r"(?:[a-z][a-z0-9+.\-]{1,15}://|www\.)[^\s⟨⟩]+"  # with a scheme, or www.
    rf"|(?<![\w@.\-])(?:[\w\-]+\.)+(?:{_TOP_LEVEL})(?![\w])(?:[:/?#][^\s⟨⟩]*)?"  # a bare host of a known domain
    r"|(?<![\w@.\-])(?:[\w\-]+\.)+[a-z]{2,24}/[^\s⟨⟩]*",  # any host with a path
    re.IGNORECASE,
)
_IBAN = re.compile(
    r"(?<![^\W_])[a-z]{2}\d{2}(?:[a-z0-9]{8,30}|(?:[ \-][a-z0-9]{4}){2,7}(?:[ \-]\d{1,3})?)(?![^\W_])", re.IGNORECASE
)
_LONG_RUN = re.compile(rf"\d{{{LONGEST_NUMBER + 1},}}")
_SEPARATED = re.compile(rf"\d(?:{_BETWEEN}{{0,3}}\d){{{SEPARATED_DIGITS - 1},}}")
_CODE = re.compile(r"[^\W_]{6,}")
_DIGITS_OF_A_CODE = 6


def redact(text: str) -> str:
    """Cut addresses and long numbers out of ``text``.

    Parameters
    ----------
    text
        Anything; lines are separated by ``\\n`` and treated one by one.

    Returns
    -------
    str
        The text with each find replaced by :data:`NUMBER`, :data:`EMAIL`, :data:`WEB` or :data:`ACCOUNT`.
    """
    return "\n".join([_redact_line(line) if _may_hold_something(line) else line for line in text.split("\n")])


def _may_hold_something(line: str) -> bool:
    """Cheap test that lets ordinary chat lines through untouched."""
    return "@" in line or "." in line or "://" in line or any(map(str.isdigit, line))


def _redact_line(line: str) -> str:
    line = _plain_digits(line)
    while True:
        before = line
        line = _EMAIL.sub(EMAIL, line)
        line = _WEB.sub(WEB, line)
        line = _IBAN.sub(_account_if_digits, line)
        line = _SEPARATED.sub(NUMBER, line)
        line = _LONG_RUN.sub(NUMBER, line)
        line = _CODE.sub(_number_if_code, line)
        if line == before:  # a placeholder may have completed another pattern: repeat until nothing is left
            return line


def _plain_digits(line: str) -> str:
    """Write circled, superscript and full-width digits plainly, so that they count as digits."""
    if line.isascii():
        return line
    return "".join([_plain_digit(character) for character in line])


def _plain_digit(character: str) -> str:
    if character.isascii() or not character.isdigit():
        return character
    return str(unicodedata.digit(character))


def _number_if_code(match: re.Match[str]) -> str:
    """A run of letters and digits with many digits is a booking code, a licence, a key."""
    found = match.group()
    return NUMBER if sum(map(str.isdecimal, found)) >= _DIGITS_OF_A_CODE else found


def _account_if_digits(match: re.Match[str]) -> str:
    """IBAN-like only when at least half of it are digits; otherwise it is words in a row."""
    found = match.group()
    digits = sum(map(str.isdecimal, found))
    return ACCOUNT if digits >= 8 else found
