"""Words that only look like names: ordinary ones, those of headings, and names that things bear."""

from __future__ import annotations

import re
from functools import lru_cache

from training.data.anonymise.name_lists import known, lists, ordinary

WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
FAMILY_NEXT = re.compile(r" [A-ZÀ-Þ]")
# What makes a thing of the name in front of it.
THINGS = re.compile(
    r"\s(?:of|kart|party\s\d|bros|daniel'?s|deere|street|avenue|road|city|language|programming|lang|script|gem|"
    r"award|awards|cup|day|hill|park|bridge|university|college|airport|theorem|transform|"
    r"distribution|equation|number|series|engine|hall|square|beach|bay|island|county|river|lake|mountain|"
    r"valley|furniture|lamp|musical|opera|movie|film|album|soundtrack|panthers|comic|law|cosplay|salad|racket|"
    r"came due|the musical|the movie|guitar|energy|triangle|principle|constant|paradox|razor|algorithm|syndrome|"
    r"disease|sake|inequality|identity|"
    r"is (?:a|an|the) (?:(?:good|great|long|old|nice|bad) )?(?:city|state|town|band|movie|film|game|opera|"
    r"musical|song|character|brand|place|album|classic|book)(?!\s(?!in\b|by\b|from\b|of\b|with\b|about\b)\w))\b",
    re.I,
)
# Behind these a given name is a place, a team or a piece of code.
GROUND = re.compile(
    r"(?:(?<![^\W_])(?:North|South|East|West|New|San|Santa|Lake|Mount|Mt\.?|Fort|Port|Cape|Saint|St\.?|Team|Club|Camp|"
    r"Hotel|Cafe|Pink|Beef|Chicken|Inter|Steely)|"
    r"(?:^|[\n`])[ \t]*(?:class|def|import|function|struct|enum|const|let|var))\s$"
)


def plain_word(low: str) -> bool:
    """Whether a word that is no known name is an ordinary one, by a list and by how it ends."""
    if low in known():
        return False
    if low in ordinary() or CONTRACTED.search(low):
        return True
    return ORDINARY_ENDING.search(low) is not None and low not in lists()["family"]


CONTRACTED = re.compile(r"'(?:m|re|ve|ll|d|t|s)$")
ORDINARY_ENDING = re.compile(
    r"...(?:ing|ed|ly|tion|sion|ness|ment|ity|ics|ous|ful|less|able|ible|ism|ally|ship|ology)s?$"
)


@lru_cache(maxsize=1)
def heading(text: str) -> bool:
    """Whether each longer word has a capital, as in a title."""
    longer = [word for word in WORD.findall(text) if len(word) > 3]
    return len(longer) > 3 and all(word[0].isupper() for word in longer)


def on_ground(word: re.Match[str], text: str) -> bool:
    """Whether what stands before a name makes it a place, a team or a piece of code: "North Carolina"."""
    return GROUND.search(text, max(0, word.start() - 10), word.start()) is not None


def is_thing(words: list[re.Match[str]], at: int, text: str) -> bool:
    """Whether what follows a name makes it a thing's, or what stands before it somebody like that: "a Karen"."""
    end = words[at].end()
    if THINGS.match(text, end):
        return True
    if at + 1 < len(words) and words[at + 1][0] in lists()["food"] and text[end : words[at + 1].start()] == " ":
        return True
    return (
        at > 0
        and words[at - 1][0] in ("a", "an")
        and words[at].start() - words[at - 1].end() == 1
        and (not FAMILY_NEXT.match(text, end))
    )
