"""How far apart two answers to the same question are, by their words alone."""

from __future__ import annotations

import re
import unicodedata

# A word; or one character of Han, kana, Thai, Lao, Burmese or Khmer, which put no space between words.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")


def shared_words(one: str, other: str) -> float:
    """The share of two answers' different words that are in both, from 0 to 1 (Jaccard); of two empty ones, 1.

    What it comes to depends on how long the answers are: compare it with what two answers of one persona share.
    """
    first, second = _words(one), _words(other)
    return len(first & second) / len(first | second) if first | second else 1.0


def _words(text: str) -> set[str]:
    return set(_WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'")))
