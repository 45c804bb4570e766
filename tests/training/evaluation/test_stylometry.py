"""Older measures of manner: shown beside the voice line, nearest to whoever spoke, and weaker than it."""

from __future__ import annotations

import pytest

from benchmarks.plays import Play
from tests.training.evaluation.replies_made import Sides
from training.evaluation.stylometry import leads
from training.evaluation.voice import Voices


def test_own_lines_are_nearest_and_anothers_are_not(voices: Voices, sides: Sides) -> None:
    own = leads(sides[1]["elio"], "elio", voices)
    assert own.keys() == {"burrows_delta_lead", "centroid_lead"}
    assert min(own.values()) > 0
    other = leads(sides[1]["olga"], "elio", voices)
    assert max(other.values()) < 0


def test_delta_is_the_mean_difference_of_standardised_frequencies() -> None:
    """Of two speakers each word's frequencies stand at 1 and −1, whoever of them says it more often."""
    voices = Voices({"one": ["aa aa aa bb", "aa aa aa bb"], "other": ["aa bb bb bb", "aa bb bb bb"]}, [])
    assert leads(["aa aa aa bb"], "one", voices)["burrows_delta_lead"] == pytest.approx(2)
    assert leads(["aa bb bb aa"], "one", voices)["burrows_delta_lead"] == pytest.approx(0)
    assert leads(["aa bb bb bb"], "one", voices)["burrows_delta_lead"] == pytest.approx(-2)


def test_silence_has_no_manner(voices: Voices) -> None:
    assert leads(["", " "], "elio", voices) == {}


def test_names_do_not_give_anybody_away() -> None:
    lines = {"one": ["Olga hums. "] * 4, "other": ["Elio hums. "] * 4}
    assert leads(["Olga hums."], "one", Voices(lines, []))["centroid_lead"] > 0
    masked = Voices(lines, ["Olga", "Elio"])
    assert leads(["Olga hums."], "one", masked) == pytest.approx({"burrows_delta_lead": 0, "centroid_lead": 0})


def test_in_a_play_they_are_right_more_often_than_chance(earnest: Play) -> None:
    voices = Voices(earnest.known, earnest.names)
    right = [leads(said, who, voices) for who, said in earnest.said.items()]
    assert sum(found["burrows_delta_lead"] > 0 for found in right) >= 3
    assert sum(found["centroid_lead"] > 0 for found in right) >= 3
