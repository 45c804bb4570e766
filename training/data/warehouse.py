"""Finds a catalog row's data in a folder of datasets, under any name that it may have there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from training.data.shards import PACKED, SUFFIXES

_HUMPS = (re.compile(r"([A-Z]+)([A-Z][a-z])"), re.compile(r"([a-z\d])([A-Z])"))


def snake_cased(name: str) -> str:
    """A repository's name as the `datasets` library writes it in its cache."""
    for hump in _HUMPS:
        name = hump.sub(r"\1_\2", name)
    return name.lower()


def find_in(folder: Path, name: str, repos: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> Path | None:
    """Where a dataset lies in the folder, as a folder or file of its own; None where it does not.

    Letters' case is not looked at. Of several, the first is taken: the `datasets` cache, a hub snapshot, then plain
    names.
    """
    try:
        there = {path.name.casefold(): path for path in sorted(folder.iterdir(), reverse=True)}
    except OSError:
        return None
    for wanted in _names(name, repos, also):
        if (path := there.get(wanted.casefold())) and _holds_something(path):
            return path
    nested = (folder.joinpath(*repo.split("/")) for repo in repos)
    return next((path for path in nested if _holds_something(path)), None)


def _names(name: str, repos: tuple[str, ...], also: tuple[str, ...]) -> Iterator[str]:
    """The names that it may have, the likeliest first."""
    plain = list(also)
    for owner, base in (repo.split("/") for repo in repos):
        yield f"{owner}___{snake_cased(base)}"
        yield f"{owner}___{base}"
        yield f"datasets--{owner}--{base}"
        plain += [f"{owner}_{base}", f"{owner}__{base}", base, snake_cased(base)]
    plain.append(name)
    yield from plain
    for stem in plain:
        yield from (stem + suffix + packed for suffix in SUFFIXES for packed in PACKED)


def _holds_something(path: Path) -> bool:
    try:
        return any(path.iterdir()) if path.is_dir() else path.is_file()
    except OSError:
        return False
