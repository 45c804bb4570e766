"""One pattern for any of many names, which tries only those that begin as the text does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

FEW = 8
MAX_DEPTH = 12
"""Letters after which names are told apart one by one, so that no name nests deeper than a pattern may."""


def any_of(names: Iterable[str], *, exact: bool = False) -> re.Pattern[str] | None:
    """Any of these as whole words, the longest first; one space may be several."""
    plain = {" ".join(name.split()) for name in names}
    longest = sorted(plain - {""}, key=lambda name: (-len(name), name))
    if not longest:
        return None
    return re.compile(
        rf"(?<![^\W_])(?:{_branches(longest, exact, 0)})(?![^\W_])", re.NOFLAG if exact else re.IGNORECASE
    )


def _branches(longest: Sequence[str], exact: bool, depth: int) -> str:
    if len(longest) <= FEW or depth == MAX_DEPTH:
        return "|".join(map(_written, longest))
    rests: dict[str, list[str]] = {}
    for name in longest:
        rests.setdefault(_first(name, exact), []).append(name[1:])
    # A name that ends here is shorter than all that go on, and so the last one.
    ends = rests.pop("", None)
    branches = [f"{_written(letter)}(?:{_branches(rest, exact, depth + 1)})" for letter, rest in rests.items()]
    return "|".join(branches if ends is None else [*branches, ""])


def _first(name: str, exact: bool) -> str:
    letter, small = name[:1], name[:1].lower()
    return letter if exact or len(small) != 1 else small


def _written(part: str) -> str:
    return r"\s+".join(re.escape(word) for word in part.split(" "))
