"""What a conversation may be left out for. Each filter answers with the reason, or None to keep the conversation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from training.data.boilerplate import is_boilerplate
from training.data.fingerprints import NearIndex, fingerprint, fingerprint_of, pieces, plain, rounds, spoken
from training.data.folder import Counts
from training.data.languages import base, language_of
from training.data.schema import Step
from training.schema import Conversation

Filter = Callable[[Conversation], str | None]

EXACT = "exact duplicate"
NEAR = "near duplicate"
REFUSAL = "refusal or self-description of a language model"
ENDLESS = "ends in one word or character over and over"
REPEATED_ROUND = "the same round three times or more"
REPETITIVE = "says the same again and again"
LEAK = "in the held-out set"
NEAR_LEAK = "nearly in the held-out set"
ROUND_LEAK = "has a round of the held-out set"

NEAR_THRESHOLD = 0.7
"""Texts of 300 words of which three in a hundred were changed are still found; changing five hides a text."""
ROUND_LEAST = 40
"""Characters of a round that two conversations do not share by chance."""
REPEATS = 3
TAIL_READ = 400
TAIL_LEAST = 40
GRAM = 4
GRAMS_LEAST = 60
PARTS_READ = 5000
DISTINCT_LEAST = 0.35
_TAIL = re.compile(r"(.{1,20}?)\1{9,}\s*$", re.DOTALL)
_RULER = re.compile(r"[\s\-=_*.~#|+:]+")


@dataclass
class Sieve:
    """Filters one after the other, each with a name, and the count of what each removed by reason."""

    filters: Sequence[tuple[str, Filter]]

    def __post_init__(self) -> None:
        self._seen = [0] * len(self.filters)
        self._removed: list[Counter[str]] = [Counter() for _ in self.filters]

    def passes(self, conversation: Conversation) -> bool:
        """Whether no filter objects; the first that does is the one that counts it."""
        for index, (_, objection) in enumerate(self.filters):
            self._seen[index] += 1
            if reason := objection(conversation):
                self._removed[index][reason] += 1
                return False
        return True

    def __call__(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """Those that pass."""
        return (conversation for conversation in conversations if self.passes(conversation))

    def steps(self) -> tuple[Step, ...]:
        """The account so far."""
        return tuple(
            Step(name=name, before=seen, after=seen - removed.total(), removed=dict(removed.most_common()))
            for (name, _), seen, removed in zip(self.filters, self._seen, self._removed, strict=True)
        )


# --- duplicates and leaks ------------------------------------------------------------------------------------------


def exact_duplicates() -> Filter:
    """Objects to what was said before, word for word but for width, case and white space."""
    seen: set[bytes] = set()

    def objection(conversation: Conversation) -> str | None:
        key = fingerprint_of(conversation)
        if key in seen:
            return EXACT
        seen.add(key)
        return None

    return objection


def near_duplicates(threshold: float = NEAR_THRESHOLD) -> Filter:
    """Objects to what is nearly the same as something before: Jaccard similarity of five-word runs, by MinHash."""
    index = NearIndex(threshold)
    return lambda conversation: NEAR if index.add(spoken(conversation)) else None


def leaks(held_out: Iterable[Conversation], threshold: float = NEAR_THRESHOLD) -> Filter:
    """Objects to what is in the held-out conversations: whole, nearly, or by one round."""
    whole: set[bytes] = set()
    parts: set[bytes] = set()
    index = NearIndex(threshold)
    for conversation in held_out:
        text = spoken(conversation)
        whole.add(fingerprint(text))
        parts.update(_long_rounds(conversation))
        index.add(text)

    def objection(conversation: Conversation) -> str | None:
        text = spoken(conversation)
        if fingerprint(text) in whole:
            return LEAK
        if not parts.isdisjoint(_long_rounds(conversation)):
            return ROUND_LEAK
        return NEAR_LEAK if index.holds(text) else None

    return objection


def _long_rounds(conversation: Conversation) -> Iterator[bytes]:
    return (fingerprint(text) for text in rounds(conversation) if len(text) >= ROUND_LEAST)


# --- language and length -------------------------------------------------------------------------------------------


def language(allowed: Collection[str]) -> Filter:
    """Objects to other languages than these, as py3langid tells them; `pt` allows `pt-BR`."""
    wanted = {base(lang) for lang in allowed}

    def objection(conversation: Conversation) -> str | None:
        found = language_of(conversation)
        return None if found in wanted else f"language {found}"

    return objection


def length(
    *,
    min_turns: int = 0,
    max_turns: int | None = None,
    min_chars: int = 0,
    max_chars: int | None = None,
    max_tokens: int | None = None,
    counter: Counts | None = None,
) -> Filter:
    """Objects to too few or too many turns, characters or tokens; a system turn counts among the tokens alone."""
    if max_tokens is not None and counter is None:
        raise ValueError("max_tokens needs a counter")

    def objection(conversation: Conversation) -> str | None:
        said = [message.content for message in conversation.messages if message.role != "system"]
        if reason := _outside("turns", len(said), min_turns, max_turns):
            return reason
        if reason := _outside("characters", sum(map(len, said)), min_chars, max_chars):
            return reason
        if counter is None or max_tokens is None:
            return None
        return _outside("tokens", counter.count(conversation.messages), 0, max_tokens)

    return objection


def _outside(what: str, count: int, least: int, most: int | None) -> str | None:
    if count < least:
        return f"fewer than {least} {what}"
    return f"more than {most} {what}" if most is not None and count > most else None


# --- what is said --------------------------------------------------------------------------------------------------


def refusals() -> Filter:
    """Objects to answers in which a language model excuses or introduces itself; users may say so."""

    def objection(conversation: Conversation) -> str | None:
        answers = (message.content for message in conversation.messages if message.role == "assistant")
        return REFUSAL if any(is_boilerplate(plain(answer)) for answer in answers) else None

    return objection


def repetition() -> Filter:
    """Objects to endless tails, rounds that come three times, and answers that turn in circles."""

    def objection(conversation: Conversation) -> str | None:
        if any(count >= REPEATS for count in Counter(rounds(conversation)).values()):
            return REPEATED_ROUND
        for message in conversation.messages:
            if message.role == "assistant":
                if _endless(message.content):
                    return ENDLESS
                if _distinct_share(plain(message.content)) < DISTINCT_LEAST:
                    return REPETITIVE
        return None

    return objection


def _endless(text: str) -> bool:
    """Whether the text ends in the same few characters, at least ten times; rulers of dashes and dots are fine."""
    tail = text.rstrip()[-TAIL_READ:]
    found = _TAIL.search(tail)
    return bool(found and len(found[0]) >= TAIL_LEAST and not _RULER.fullmatch(found[0]))


def _distinct_share(text: str) -> float:
    """How many of the runs of four words are different or characters are different; 1 for short texts."""
    parts = pieces(text)[:PARTS_READ]
    grams = [tuple(parts[i : i + GRAM]) for i in range(len(parts) - GRAM + 1)]
    return len(set(grams)) / len(grams) if len(grams) >= GRAMS_LEAST else 1.0
