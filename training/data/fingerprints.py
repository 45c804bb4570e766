"""When two conversations are the same, or nearly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from training.schema import Conversation

PERMUTATIONS = 128
BANDS = 32
"""Of four values each: nine in ten pairs of Jaccard .65 become candidates, and the threshold decides among them."""
SHINGLE = 5
SEED = 42
ASCII_SPACE = b" \t\n\r\v\f\x1c\x1d\x1e\x1f"
UNSPACED_SHARE = 0.2
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Burmese, Khmer, kana and Han: scripts that put no space between words."""


def plain(text: str) -> str:
    """Text without what makes no difference: width and ligatures (NFKC), case, runs of white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def spoken(conversation: Conversation) -> str:
    """All that is said, without the system turn, normalised."""
    return "\n".join(plain(message.content) for message in conversation.messages if message.role != "system")


def fingerprint(text: str) -> bytes:
    """16 bytes that equal texts share."""
    return _digest(text.encode("utf-8", "surrogatepass"))


def fingerprint_of(conversation: Conversation) -> bytes:
    """16 bytes that conversations share whose turns differ in width, case and white space only."""
    said = "\0".join(_tight(message.content) for message in conversation.messages if message.role != "system")
    return _digest(said.encode("utf-8", "surrogatepass").translate(None, ASCII_SPACE))


def _digest(data: bytes) -> bytes:
    import xxhash

    return xxhash.xxh3_128_digest(data)


def _tight(text: str) -> str:
    """Text in one width and case, without the white space that is not ASCII; that goes at less cost from bytes."""
    return text.lower() if text.isascii() else "".join(unicodedata.normalize("NFKC", text).casefold().split())


def rounds(conversation: Conversation) -> Iterator[str]:
    """Each question with its answer, normalised."""
    turns = [plain(message.content) for message in conversation.messages if message.role != "system"]
    return (f"{question}\n{answer}" for question, answer in zip(turns[::2], turns[1::2], strict=True))


def pieces(text: str) -> Sequence[str]:
    """The words of a text; its characters where the script has no spaces."""
    sample = text[:2000]
    unspaced = len(_UNSPACED.findall(sample)) > UNSPACED_SHARE * len(sample)
    return text.replace(" ", "") if unspaced else text.split()


def shingles(text: str) -> set[str]:
    """Runs of five words or characters."""
    parts = pieces(text)
    return {" ".join(parts[i : i + SHINGLE]) for i in range(max(1, len(parts) - SHINGLE + 1))}


class NearIndex:
    """Finds what is nearly the same as something seen before, by MinHash; it takes about 4 kB a text."""

    def __init__(self, threshold: float) -> None:
        from rensa import RMinHashLSH

        self._threshold = threshold
        self._lsh = RMinHashLSH(threshold, PERMUTATIONS, BANDS)
        self._seen: list[Any] = []

    def holds(self, text: str) -> bool:
        """Whether a text with at least the threshold's Jaccard similarity (estimated) was added."""
        return self._known(self._sketch(text))

    def add(self, text: str) -> bool:
        """Whether such a text was added before; if not, this one is."""
        sketch = self._sketch(text)
        if self._known(sketch):
            return True
        self._lsh.insert(len(self._seen), sketch)
        self._seen.append(sketch)
        return False

    def _known(self, sketch: Any) -> bool:
        return any(self._seen[key].jaccard(sketch) >= self._threshold for key in self._lsh.query(sketch))

    def _sketch(self, text: str) -> Any:
        from rensa import RMinHash

        sketch = RMinHash(PERMUTATIONS, SEED)
        sketch.update(shingles(text))
        return sketch
