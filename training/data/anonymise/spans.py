"""What is personal in a text: where it stands, and of which kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

Label = Literal["PERSON", "EMAIL", "PHONE", "IP", "ADDRESS", "URL", "MENTION", "SECRET", "CARD", "ID"]
LABELS: tuple[Label, ...] = get_args(Label)


class Span(NamedTuple):
    """A part of a text, from `start` up to but without `end`, in code points."""

    start: int
    end: int
    label: Label


Found = Iterator[Span]
Finder = Callable[[str], Iterable[Span]]
"""Looks for things of one or more kinds in folded text."""


class Claims:
    """Which parts of a text are taken; the first to claim a part has it."""

    def __init__(self, length: int) -> None:
        self._taken = bytearray(length)
        self.spans: list[Span] = []

    def keep(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Let nothing be found there, unless it was found before."""
        for start, end in ranges:
            self._taken[start:end] = b"\1" * (end - start)

    def claim(self, spans: Iterable[Span]) -> None:
        """Take what is still free."""
        for span in spans:
            if span.start < span.end and 1 not in self._taken[span.start : span.end]:
                self._taken[span.start : span.end] = b"\1" * (span.end - span.start)
                self.spans.append(span)


def merged(spans: Sequence[Span]) -> list[Span]:
    """The spans in order, without overlaps: a folded ligature may belong to two neighbours."""
    kept: list[Span] = []
    for span in sorted(spans):
        if kept and span.start < kept[-1].end:
            kept[-1] = kept[-1]._replace(end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return kept
