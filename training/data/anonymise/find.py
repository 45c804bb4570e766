"""All that is personal in one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from training.data.anonymise.credentials import TOKENS, find_secrets
from training.data.anonymise.fold import fold
from training.data.anonymise.names import Names
from training.data.anonymise.numbers import find_cards, find_ids
from training.data.anonymise.online import WEB, find_emails, find_ips, find_links, find_mentions
from training.data.anonymise.phones import find_phones
from training.data.anonymise.postal import find_addresses
from training.data.anonymise.spans import Claims, Finder, Span, merged

# Custom emoji, timestamps, slash commands, and what an earlier masking put there.
KEEP = re.compile(
    r"<a?:\w{1,40}:\d{5,20}>|<t:-?\d{1,14}(?::[tTdDfFRsS])?>|</[\w -]{1,100}:\d{5,20}>|<id:\w+>"
    r"|\[(?:phone|ip|address|link|secret|card|id) [0-9a-f]{6}\]|@?person-[0-9a-f]{6}(?:@example\.org)?"
)
HASHES = re.compile(
    r"(?<!\w)(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?:sha\d+[:-])?[0-9a-f]{32,128}|"
    r"(?=[0-9]*[a-f])[0-9a-f]{7,40})(?!\w)",
    re.IGNORECASE,
)
ONLINE: tuple[Finder, ...] = (find_secrets, find_links, find_emails, find_mentions, find_ips)
NUMBERED: tuple[Finder, ...] = (find_cards, find_ids)
# Some rules take time by the square of a text, so that long ones are read in parts.
LONGEST = 2000
Recogniser = Callable[[str], Iterable[tuple[int, int]]]
"""A model of one's own that finds people's names in plain text, as ranges."""


def find_spans(
    text: str, roster: Sequence[str] = (), personas: Sequence[str] = (), recogniser: Recogniser | None = None
) -> list[Span]:
    """Everything personal in a text, in order and without overlaps; offsets are code points of the text as given.

    `roster` holds names of people who take part, one or "name,alias" each; `personas` are names that stay.
    """
    return spans_in(text, _names(tuple(roster), tuple(personas)), recogniser)


@lru_cache(maxsize=16)
def _names(roster: tuple[str, ...], personas: tuple[str, ...]) -> Names:
    return Names(roster, personas)


def spans_in(text: str, names: Names, recogniser: Recogniser | None = None) -> list[Span]:
    """As find_spans, with names that were prepared once."""
    if len(text) <= LONGEST:
        return _spans_in(text, names, recogniser)
    secrets = [Span(*found.span(), "SECRET") for found in TOKENS.finditer(text)]
    parts = [
        Span(at + span.start, at + span.end, span.label)
        for at, part in _parts(text)
        for span in _spans_in(part, names, recogniser)
    ]
    return merged([*secrets, *parts])


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """A long text in parts, cut at the end of a line or else of a word, each with its place."""
    at = 0
    while at < len(text):
        end = at + LONGEST
        if end < len(text):
            cut = max(text.rfind("\n", at + LONGEST // 2, end), 0) or max(text.rfind(" ", at, end), 0)
            end = cut + 1 if cut > at else end
        yield at, text[at:end]
        at = end


def _spans_in(text: str, names: Names, recogniser: Recogniser | None) -> list[Span]:
    folded = fold(text)
    plain = folded.text
    claims = Claims(len(plain))
    claims.keep(found.span() for found in KEEP.finditer(plain))
    for find in ONLINE:
        claims.claim(find(plain))
    claims.keep(found.span() for found in WEB.finditer(plain))
    if any(sign.isdigit() for sign in plain):
        for find in NUMBERED:
            claims.claim(find(plain))
        claims.keep(found.span() for found in HASHES.finditer(plain))
    claims.claim(find_addresses(plain))
    claims.claim(find_phones(plain))
    claims.keep(names.kept(plain))
    claims.claim(names.find(plain))
    if recogniser is not None:
        claims.claim(Span(start, end, "PERSON") for start, end in recogniser(plain))
    return merged([Span(*folded.back(span.start, span.end), span.label) for span in claims.spans])
