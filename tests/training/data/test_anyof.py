"""Any of many names is found as if each were tried in turn."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.anonymise.anyof import any_of

LETTERS = st.text("aAbBé .-", min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(LETTERS, max_size=60), st.text("aAbBé .-_", max_size=30), st.booleans())
def test_it_finds_what_a_plain_list_finds(names: list[str], text: str, exact: bool) -> None:
    longest = sorted({" ".join(name.split()) for name in names} - {""}, key=lambda name: (-len(name), name))
    found = any_of(names, exact=exact)
    if found is None:
        assert not longest
        return
    written = "|".join(r"\s+".join(map(re.escape, name.split(" "))) for name in longest)
    plain = re.compile(rf"(?<![^\W_])(?:{written})(?![^\W_])", 0 if exact else re.IGNORECASE)
    assert [one.span() for one in found.finditer(text)] == [one.span() for one in plain.finditer(text)]


@pytest.mark.parametrize("length", [10, 5_000])
def test_names_may_be_long_and_many(length: int) -> None:
    names = ["a" * length + str(number) for number in range(200)]
    found = any_of(names)
    assert found is not None
    assert found.fullmatch(names[17].upper())
