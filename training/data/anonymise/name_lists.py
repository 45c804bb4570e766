"""The lists of names that this project wrote for itself, by how sure a name on them is."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

FILES = tuple(Path(__file__).with_name(file) for file in ("given_names.toml", "more_names.toml", "ordinary.toml"))


@lru_cache(maxsize=1)
def lists() -> dict[str, frozenset[str]]:
    """Every list by its key, with what the files have under it."""
    found: dict[str, frozenset[str]] = {}
    for file in FILES:
        for key, text in tomllib.loads(file.read_text(encoding="utf-8")).items():
            found[key] = found.get(key, frozenset()) | frozenset(text.split())
    return found | {"sure": found["sure"] - found["with_capital"] - found["also_words"]}


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """Every given name in Latin letters, whatever else it may mean."""
    return lists()["sure"] | lists()["with_capital"] | lists()["also_words"]


@lru_cache(maxsize=1)
def ordinary() -> frozenset[str]:
    """Words that stand where names do and are none, but for those that are names as well."""
    return (lists()["openers"] | lists()["food"] | lists()["kinds"]) - known()
