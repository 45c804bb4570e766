"""Cutting and splitting text: nothing is too long, nothing is lost, fences stay whole."""

from __future__ import annotations

import random

import pytest

from bot.limits import CONTENT, clip, split, trim, width
from tests.bot.samples import NASTY

SENTENCE = "The heron stood on one leg and said nothing at all. "


def test_short_texts_stay_as_they_are() -> None:
    assert split("Hello.") == ("Hello.",)
    assert split("  ") == ()
    assert trim(" Hello ", 5) == "Hello"


def test_cuts_are_made_at_the_best_border() -> None:
    paragraph = SENTENCE * 20
    assert split(f"{paragraph.strip()}\n\n{paragraph.strip()}", 1500) == (paragraph.strip(), paragraph.strip())
    assert all(part.endswith("at all.") for part in split(SENTENCE * 100, 500))
    assert all(set(part.split()) == {"word"} for part in split("word " * 1000, 203))
    assert [len(part) for part in split("x" * 450, 200)] == [200, 200, 50]
    assert split("猫がいる。" * 100, 202)[0].endswith("。")


def test_a_fence_that_fits_is_moved_whole() -> None:
    fence = "```py\n" + "x = 1\n" * 30 + "```"
    before, after = SENTENCE * 3, "And so on."
    parts = split(f"{before}\n{fence}\n{after}", 250)
    assert parts == (before.strip(), f"{fence}\n{after}")


def test_a_fence_that_is_too_long_is_closed_and_opened_again() -> None:
    lines = [f"line {number}" for number in range(400)]
    parts = split("```py\n" + "\n".join(lines) + "\n```", 500)
    assert len(parts) > 5
    for part in parts:
        assert part.startswith("```py\n")
        assert part.endswith("\n```")
        assert width(part) <= 500
    kept = [line for part in parts for line in part.splitlines() if not line.startswith("```")]
    assert kept == lines


@pytest.mark.parametrize("limit", [60, 200, CONTENT])
@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nothing_is_too_long_or_lost(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(0 < width(part) <= limit for part in parts)
    if "```" not in text:
        assert "".join("".join(parts).split()) == "".join(text.split())


def test_random_texts_keep_their_fences_balanced() -> None:
    chance = random.Random(7)
    pieces = [
        SENTENCE,
        "\n\n",
        "wort ",
        "```py\ncode = 1\nmore = 2\n```\n",
        "漢字。",
        "```\n" + "z " * 90 + "\n```\n",
        "🦆",
    ]
    for _ in range(200):
        text = "".join(chance.choices(pieces, k=60))
        for part in split(text, 300):
            assert width(part) <= 300
            assert part.count("```") % 2 == 0


def test_trim_never_splits_a_character_or_leaves_a_loose_backslash() -> None:
    assert trim("🦆" * 10, 5) == "🦆🦆…"
    assert clip("a🦆", 2) == "a"
    assert trim("abc\\*def", 5) == "abc…"
    assert trim("ab\\\\*def", 5) == "ab\\\\…"
    assert width("🦆") == 2
