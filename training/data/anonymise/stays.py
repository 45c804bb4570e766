"""What stays although it looks like a person: names of the cast, and names that everybody knows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).with_name("renowned.toml")
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
GAP = re.compile(r"[ .,&+:-]{1,3}")
FOLLOWED = re.compile(r" [A-ZÀ-Þ]")
# Whoever says that it is their own name may be a namesake.
OWN = re.compile(r"(?:name(?:'?s| is| was)?\s*[:=]?|\bi'?m|\bi am|call(?:s|ed)? me|this is|signed,?|[-–—~])\s+$", re.I)
# Rulers and captains with one name are told of more than they are met.
REIGNS = re.compile(
    r"(?<![^\W_])(?:King|Queen|Prince|Princess|Emperor|Empress|Duke|Duchess|Baron|Baroness|Captain|Pope|Saint|Tsar|"
    r"Sultan|Khan|Goddess)\s[A-ZÀ-Þ][^\W\d_]+(?:\s[IVX]+)?(?![^\W_]|\s[A-ZÀ-Þ])"
)


def find_renowned(text: str) -> Iterator[tuple[int, int]]:
    """Where people, characters, works, brands and places stand that everybody knows."""
    yield from (found.span() for found in REIGNS.finditer(text))
    tokens = list(WORD.finditer(text))
    for at, token in enumerate(tokens):
        for name in _renowned().get(_plain(token[0]), ()):
            last = at + len(name) - 1
            if last < len(tokens) and _is_name(tokens[at : last + 1], name, text):
                yield token.start(), tokens[last].end()
                break


def _is_name(tokens: list[re.Match[str]], name: tuple[str, ...], text: str) -> bool:
    """Whether these words are the name, stand close together, and are nobody's own."""
    if any(_plain(token[0]) != part for token, part in zip(tokens, name, strict=True)):
        return False
    if not all(GAP.fullmatch(text, one.end(), other.start()) for one, other in pairwise(tokens)):
        return False
    start, end = tokens[0].start(), tokens[-1].end()
    if len(name) == 1 and (text[start].islower() or FOLLOWED.match(text, end)):
        return False
    return not OWN.search(text, max(0, start - 16), start)


def _plain(word: str) -> str:
    return word.casefold().removesuffix("'s")


@lru_cache(maxsize=1)
def _renowned() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Every renowned name as its words, the longest first, by the first of them."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for listed in tomllib.loads(FILE.read_text(encoding="utf-8")).values():
        for name in listed.replace("\n", " ").split(","):
            parts = tuple(_plain(part) for part in WORD.findall(name))
            found.setdefault(parts[0], []).append(parts)
    return {first: tuple(sorted(names, key=len, reverse=True)) for first, names in found.items()}
