"""Counts the tokens of plain text as a model's byte-level BPE would, by an encoding made from its own merges.

Whether it agrees with the model's own tokenizer is for the caller to prove, see `training.data.tokens`.
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

# The same pieces in text whose white space never stands side by side, but for line breaks: to look ahead of white space
# is what makes these patterns slow.
_END_OF_SINGLES = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s"
RUN = re.compile(r"[^\S\r\n]{2}")

LONGEST_TEXT = 1_000_000
"""Characters; what is longer is left to the model's own tokenizer."""


Encode = Callable[[str], Sequence[int]]


class TextCounter:
    """Tokens of plain text; `encode_singles` is right where no white space stands side by side, and faster."""

    def __init__(self, encode: Encode, encode_singles: Encode, *, composes: bool) -> None:
        self._encode = encode
        self._encode_singles = encode_singles
        self._composes = composes

    def count(self, text: str) -> int:
        """Tokens of a text that holds none of the tokenizer's added tokens."""
        if self._composes and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        encode = self._encode if _has_runs(text) else self._encode_singles
        return len(encode(text))


def _has_runs(text: str) -> bool:
    """Whether white space may stand side by side."""
    if text.isascii():
        return "  " in text or "\t" in text or "\v" in text or "\f" in text
    return RUN.search(text) is not None


def text_counter(tokenizer: PreTrainedTokenizerBase) -> TextCounter | None:
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

    def encoder(of: str) -> Encode:
        made = tiktoken.Encoding("own", pat_str=of, mergeable_ranks=ranks, special_tokens={})
        return made.encode_ordinary

    encode = encoder(pattern)
    singles = encoder(pattern.replace(_END, _END_OF_SINGLES)) if _END in pattern else encode
    return TextCounter(encode, singles, composes=normalizer == "NFC")


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
