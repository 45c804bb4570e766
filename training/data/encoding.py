"""Counts the tokens of plain text as a model's byte-level BPE would, word by word, each word once.

Splitting at spaces is exact for the patterns listed here: none of them lets a space that follows a visible character
stand anywhere but at the beginning of a piece, and none looks across it. Whether the merges agree with the model's own
tokenizer is for the caller to prove, see `training.data.tokens`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_END = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _END
LLAMA3 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _END
PATTERNS = frozenset({GPT2, QWEN, LLAMA3})
# GPT-2's pattern after every digit is set apart, as one expression: white space in front of a digit stands alone.
DIGITS_APART = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
PLAIN_MODEL = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
PLAIN_SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}

LONGEST_KEPT = 40
"""Characters of a word that is worth remembering."""
WORDS_KEPT = 200_000
LONGEST_TEXT = 200_000
"""Characters of a word; the splitting of a longer one is left to the model's own tokenizer."""
SPACE_AFTER_SPACE = ("  ", "\n ", "\t ", "\r ", "\v ", "\f ")
VISIBLE_THEN_SPACE = re.compile(r"(?<=\S) ")


class TooLong(Exception):
    """A text that is not counted here."""


class WordCounter:
    """Tokens of plain text, with the counts of the words met so far."""

    def __init__(self, encode: Callable[[str], Sequence[int]], *, composes: bool) -> None:
        self._first = _Counts(encode, "")
        self._later = _Counts(encode, " ")
        self._composes = composes

    def count(self, text: str) -> int:
        """Tokens of a text that holds none of the tokenizer's added tokens. Raises TooLong."""
        if self._composes and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        first, *later = _words(text)
        return self._first[first] + sum(map(self._later.__getitem__, later))


class _Counts(dict[str, int]):
    """Tokens of a word, by the word; counted when it is first asked for."""

    def __init__(self, encode: Callable[[str], Sequence[int]], before: str) -> None:
        super().__init__()
        self._encode = encode
        self._before = before

    def __missing__(self, word: str) -> int:
        if len(word) > LONGEST_TEXT:
            raise TooLong
        tokens = len(self._encode(self._before + word))
        if len(word) <= LONGEST_KEPT:
            if len(self) >= WORDS_KEPT:
                self.clear()
            self[word] = tokens
        return tokens


def _words(text: str) -> list[str]:
    """The text, cut at every space that follows a visible character; at least one word, which may be empty."""
    if text.isascii() and not any(run in text for run in SPACE_AFTER_SPACE):
        return text.split(" ")
    return VISIBLE_THEN_SPACE.split(text)


def word_counter(tokenizer: PreTrainedTokenizerBase) -> WordCounter | None:
    """A counter made from the tokenizer's own merges; None where it is not a byte-level BPE of a kind known here."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    described = json.loads(backend.to_str())
    pattern = _pattern(described.get("pre_tokenizer") or {})
    normalizer = (described.get("normalizer") or {}).get("type")
    ranks = _ranks(described["model"])
    if pattern is None or ranks is None or normalizer not in (None, "NFC") or _added_reach_out(described):
        return None
    import tiktoken

    encoding = tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return WordCounter(encoding.encode_ordinary, composes=normalizer == "NFC")


def _pattern(pre: dict[str, Any]) -> str | None:
    """The one regular expression that cuts text into pieces, if it is a known one and all there is."""
    *before, last = pre.get("pretokenizers") or [pre]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space") or len(before) > 1:
        return None
    first = before[0] if before else {}
    if last.get("use_regex"):
        return GPT2 if not first else DIGITS_APART if first == {"type": "Digits", "individual_digits": True} else None
    pattern = first.get("pattern", {}).get("Regex")
    return pattern if pattern in PATTERNS and first == {**PLAIN_SPLIT, "pattern": {"Regex": pattern}} else None


def _ranks(model: dict[str, Any]) -> dict[bytes, int] | None:
    """Every token that can come about, in the order in which merges are tried; single bytes first."""
    if model.get("type") != "BPE" or model.get("byte_fallback") or any(model.get(key) for key in PLAIN_MODEL):
        return None
    byte_of = _bytes_by_letter()
    if not byte_of.keys() <= model["vocab"].keys():
        return None
    ranks = {bytes([number]): number for number in range(256)}
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(bytes(byte_of[letter] for letter in left + right), len(ranks))
    return ranks


def _bytes_by_letter() -> dict[str, int]:
    """The letters that byte-level BPE writes bytes with, after GPT-2: visible Latin-1 stands for itself."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [number for number in range(256) if number not in visible]
    return {chr(n): n for n in visible} | {chr(256 + i): n for i, n in enumerate(hidden)}


def _added_reach_out(described: dict[str, Any]) -> bool:
    """Whether an added token takes the spaces beside it, or counts only between them."""
    reaching = ("lstrip", "rstrip", "single_word")
    return any(token[key] for token in described.get("added_tokens", []) for key in reaching)
