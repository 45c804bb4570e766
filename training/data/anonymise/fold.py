"""Text as the rules read it: one spelling for what can be written in many, and the way back to the original."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# Letters of other scripts that look like Latin ones; folded only in words that also hold Latin letters.
LOOKALIKES = dict(
    zip(
        "аеорсхуіјѕһԁԛԝӏԍАВЕКМНОРСТХУІЈЅԌοαρεικντυχωγΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcxyijshdqwlgABEKMHOPCTXYIJSGoapeikvtuxwyABEZHIKMNOPTYX",
        strict=True,
    )
)
PUNCTUATION = {**dict.fromkeys("‐‑‒–—―−﹣", "-"), **dict.fromkeys("‘’ʼ＇′", "'"), **dict.fromkeys("“”„«»", '"')}
SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True))
INVISIBLE = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
                       "\u2060-\u206f\u20e3\u3164\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]")  # fmt: skip
# What makes an emoji of the digit in front of it.
KEYCAP = "\ufe0f\u20e3"
# Bold, spoiler and strike-through marks; between two digits two asterisks are a power, which stays.
MARKUP = re.compile(r"\\(?=[@._*|~#])|(?<!\d)(?:\*\*+|\|\||~~)|(?:\*\*+|\|\||~~)(?!\d)")
WORDS = re.compile(r"[^\s,;]+")
LATIN = re.compile(r"[A-Za-z@]")
FOREIGN = re.compile(f"[{''.join(LOOKALIKES)}]")
UNDERLINED = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])[^\n]{0,200}?[^\s_](\1)(?!\w)")
ODD = re.compile(r"[^\x00-\x7f]|\*\*|\|\||~~|\\[@._*|~#]|(?<!\w)_")

_letters: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Folded:
    """Folded text; `places[i]` is where its character i stands in the original. None: nothing was moved."""

    text: str
    original: str
    places: Sequence[int] | None = None

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The original's range for a range of the folded text."""
        if self.places is None:
            return start, end
        last = self.places[end - 1] + 1
        while last < len(self.original) and (
            unicodedata.combining(self.original[last]) or self.original[last] in KEYCAP
        ):
            last += 1
        return self.places[start], last


def fold(text: str) -> Folded:
    """Compatibility forms and digits made plain, lookalike letters Latin, invisible characters and bold marks gone."""
    if not ODD.search(text):
        return Folded(text, text)
    marks = {place for found in MARKUP.finditer(text) for place in range(*found.span())}
    for found in UNDERLINED.finditer(text):
        marks.update(range(*found.span(1)), range(*found.span(2)))
    signs: list[str] = []
    places: list[int] = []
    for place, sign in enumerate(text):
        if place in marks:
            continue
        plain = sign if sign < "\x80" else _letters.get(sign) or _plain(sign)
        if plain == _NOTHING or _joined(signs, plain):
            continue
        signs.extend(plain)
        places.extend([place] * len(plain))
    return Folded(_latin("".join(signs)), text, places)


_NOTHING = "\0"


def _plain(sign: str) -> str:
    """One character as the rules read it; `_NOTHING` for an invisible one."""
    if INVISIBLE.match(sign):
        plain = _NOTHING
    elif unicodedata.category(sign) == "Nd":
        plain = str(unicodedata.decimal(sign))
    else:
        plain = PUNCTUATION.get(sign) or SMALL_CAPITALS.get(sign) or unicodedata.normalize("NFKC", sign)
    if len(_letters) < 1 << 16:
        _letters[sign] = plain
    return plain


def _joined(signs: list[str], mark: str) -> bool:
    """Put an accent that was written apart onto the letter before it."""
    if not signs or not unicodedata.combining(mark[0]):
        return False
    whole = unicodedata.normalize("NFC", signs[-1] + mark)
    if len(whole) != 1:
        return False
    signs[-1] = whole
    return True


def _latin(text: str) -> str:
    """Lookalike letters made Latin in words that mix scripts; the length stays."""
    if not FOREIGN.search(text):
        return text
    return WORDS.sub(lambda word: _unmixed(word[0]) if LATIN.search(word[0]) else word[0], text)


def _unmixed(word: str) -> str:
    return "".join(LOOKALIKES.get(sign, sign) for sign in word)
