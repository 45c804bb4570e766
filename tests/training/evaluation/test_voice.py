"""Who speaks, on the shipped cast's own lines and on a playwright's."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks.evaluation import attribution
from benchmarks.plays import Play
from tests.training.evaluation.replies_made import Sides
from training.evaluation.voice import Voices, hear, separation


def test_held_out_lines_are_given_to_their_speakers_far_above_chance(voices: Voices, sides: Sides) -> None:
    heard = hear(voices, sides[1])
    right = [sum(one.right) / len(one.right) for one in heard]
    assert min(right) > 2 / len(voices.slugs)
    assert sum(right) / len(right) > 0.6
    assert sum(right) / len(right) == pytest.approx(sum(one.gold for one in heard) / len(heard), abs=0.1)
    assert [one.pooled for one in heard] == [one.speaker for one in heard]


def test_letters_at_random_belong_to_nobody(voices: Voices, sides: Sides) -> None:
    pick = random.Random(3)
    noise = {slug: ["".join(pick.choices("etaoin shrdlu", k=80)) for _ in range(20)] for slug in voices.slugs}
    right = [right for one in hear(voices, noise) for right in one.right]
    assert sum(right) / len(right) < 2 / len(voices.slugs)


def test_what_all_replies_have_in_common_favours_nobody(voices: Voices, sides: Sides) -> None:
    """The same words of one persona, added to everybody's replies: the others' replies show by how much."""
    olgas = " ".join(sides[0]["olga"][:3])
    moved = {slug: [f"{line} {olgas}" for line in lines] for slug, lines in sides[1].items()}
    right = [right for one in hear(voices, moved, moved) for right in one.right]
    assert sum(right) / len(right) > 0.6
    alone = [right for one in hear(voices, moved) for right in one.right]
    assert sum(alone) < sum(right)


def test_replies_that_lack_the_voice_do_not_stand_for_it(voices: Voices, sides: Sides) -> None:
    """Among others' replies alone, anything is less unlike the one who is missing than they are."""
    two = Voices({slug: sides[0][slug] for slug in ("glordon", "olga")}, [])
    (swapped,) = hear(two, {"glordon": sides[1]["olga"]}, {"olga": sides[1]["olga"]})
    assert sum(swapped.right) <= 2
    assert swapped.pooled == "olga"


def test_names_are_masked() -> None:
    train = {"a": ["Olga hums. " * 3] * 10, "b": ["Elio hums. " * 3] * 10}
    said = ["Olga hums.", "ELIO hums."]
    known, masked = (Voices(train, names).log_probabilities(said) for names in ([], ["Olga", "Elio"]))
    assert known.argmax(axis=1).tolist() == [0, 1]
    assert (masked[0] == masked[1]).all()


def test_no_line_is_scored_by_a_classifier_that_learnt_it() -> None:
    """Letters at random are nobody's voice: only who knows them by heart gives all of them right."""
    noise = random.Random(5)
    lines = {slug: ["".join(noise.choices("etaoinshrdlu", k=9)) for _ in range(10)] for slug in ("one", "other")}
    voices = Voices(lines, [])
    by_heart = [voices.log_probabilities(said).argmax(axis=1) == i for i, said in enumerate(lines.values())]
    assert np.mean(by_heart) == 1
    apart = [raw.argmax(axis=1) == i for i, raw in enumerate(voices.yardstick.lines.values())]
    assert [len(found) for found in apart] == [10, 10]
    assert np.mean(apart) < 0.8


def test_a_column_is_standardised_over_all_speakers_alike(voices: Voices) -> None:
    known = voices.yardstick
    assert set(known.lines) == set(voices.slugs)
    scores = [known.standardised(raw) for raw in known.lines.values()]
    assert np.mean([found.mean(axis=0) for found in scores], axis=0) == pytest.approx(0, abs=1e-9)
    assert np.mean([(found**2).mean(axis=0) for found in scores], axis=0) == pytest.approx(1)


def test_what_so_many_lines_come_to_is_told_the_closer_the_more_they_are(voices: Voices, sides: Sides) -> None:
    own, other = (hear(voices, {"elio": sides[1][who]})[0] for who in ("elio", "olga"))
    low, high = own.expected(16)
    assert np.mean(other.leads) < high < low < np.mean(own.leads)
    few, many = own.expected(4), own.expected(64)
    assert few[0] < low < many[0]
    assert few[1] > high > many[1]
    assert own.expected(16) == other.expected(16)


def test_a_yardstick_needs_two_speakers_with_two_lines_each(sides: Sides) -> None:
    for alone in ({"elio": sides[0]["elio"], "olga": []}, {"elio": sides[0]["elio"], "olga": ["Hm."]}):
        with pytest.raises(ValueError, match="two lines each of at least two speakers"):
            hear(Voices({"a": ["Yes."], **alone}, []), {"elio": ["No."]})


def test_who_never_spoke_is_nobody_to_tell(sides: Sides) -> None:
    assert Voices({**sides[0], "silent": []}, []).slugs == sorted(sides[0])


def test_the_same_question_to_several_personas_is_told_apart(voices: Voices, sides: Sides) -> None:
    speakers = ("glordon", "lord-grigon", "olga")
    found = [separation(voices, {slug: sides[1][slug][i] for slug in speakers}) for i in range(10)]
    assert np.mean([one.right for one in found]) > 0.8
    own = [separation(voices, dict(zip(speakers, sides[1]["olga"][3 * i :], strict=False))) for i in range(5)]
    assert np.mean([one.distance for one in found]) > np.mean([one.distance for one in own])
    same = separation(voices, dict.fromkeys(speakers, "Who is there?"))
    assert same.distance == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        separation(voices, {"olga": "Alone."})


def test_swapped_answers_are_given_to_each_other(voices: Voices, sides: Sides) -> None:
    swapped = [
        separation(voices, {"glordon": sides[1]["lord-grigon"][i], "lord-grigon": sides[1]["glordon"][i]})
        for i in range(10)
    ]
    assert np.mean([one.right for one in swapped]) < 0.2


def test_twenty_lines_of_a_play_show_who_speaks(earnest: Play) -> None:
    """None of those lines is one that the voices, or the yardstick, are made of."""
    found = attribution(earnest, pooled=20)
    assert len(earnest.personas) == 5
    assert found.pooled >= 0.85
    assert 0.3 < found.single < found.pooled
