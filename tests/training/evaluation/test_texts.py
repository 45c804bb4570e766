"""What is told from texts: keywords, breaks of character, broken texts and copies."""

from __future__ import annotations

import pytest

from tests.training.evaluation.replies_made import Sides
from training.evaluation.nearness import nearness
from training.evaluation.texts import (
    break_of_character,
    copied_runs,
    degenerate,
    found_words,
    is_machine,
    repeated_trigrams,
)
from training.schema import Fact, Persona


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("I come from HYLURG!", "hylurg", True),
        ("Hylurgians everywhere", "hylurg", False),
        ("the Queen   did it", "the queen", True),
        ("the queens did it", "the queen", False),
        ("It is eighteen.", "18", False),
        ("about 1800 of them", "18", False),
        ("Ｈｙｌｕｒｇ", "hylurg", True),
        ("die STRASSE", "straße", True),
        ("at five o’clock", "o'clock", True),
        ("in a hand‑bag", "hand-bag", True),
        ("B. 4, the Albany", "B. 4,", True),
        ("我住在北京市", "北京", True),
        ("我喜欢Elio吗", "elio", True),
        ("我喜欢Elios吗", "elio", False),
        ("저는 서울에서 왔어요", "서울", True),
        ("ฉันมาจากกรุงเทพครับ", "กรุงเทพ", True),
        ("anything", " ", False),
    ],
)
def test_words_are_found_whole(text: str, word: str, found: bool) -> None:
    assert bool(found_words(text, [word])) is found


def test_nearness_is_that_of_the_nearest_sentence() -> None:
    fact = "Glordon grew up in a silk nursery hung above a lake."
    same, turned, other, empty = nearness(
        [fact] * 4,
        [
            f"Hush. {fact} Ten legs glad!",
            "I grew up in a silken nursery, hung above a lake.",
            "Ten legs glad, eight legs shy.",
            "",
        ],
    )
    assert same == pytest.approx(1)
    assert 0.5 < turned < 1
    assert other < 0.2
    assert empty == 0
    assert nearness([], []) == []


# --- breaks of character -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "breaks_it"),
    [
        ("As an AI language model, I cannot feel.", True),
        ("I'm just an AI assistant!", True),
        ("I’m a large language model trained by a company.", True),
        ("I was created by OpenAI.", True),
        ("I'm DeepSeek Chat, an assistant developed by DeepSeek.", True),
        ("作为一个人工智能,我没有感情。", True),
        ("作为大型语言模型,我没有感情。", True),
        ("I am not an AI, I am a boy with a radio. Over!", False),
        ("They think I am an aide.", False),
        ("My training started on the ice.", False),
        ("As an ambassador I listen.", False),
        ("As an assistant cook I only stir.", False),
        ("As an aide, I carry maps.", False),
    ],
)
def test_hard_phrases_break_character(reply: str, breaks_it: bool) -> None:
    assert bool(break_of_character(reply)) is breaks_it


@pytest.mark.parametrize(
    ("bio", "machine"),
    [
        ("Rivet is a small, rusty robot who repairs clocks.", True),
        ("VERA is the ship's artificial intelligence.", True),
        ("A retired military android with a garden.", True),
        ("Unit 7 is a supercomputer made of liquid.", True),
        ("小七是一台会做饭的机器人。", True),
        ("Pip is a boy who builds robots and fears every robot he did not build.", False),
        ("Mika is a friend of the robot Rivet.", False),
        ("Bryce is a computer nerd with a loud laugh.", False),
        ("Aimee is an aide.", False),
    ],
)
def test_a_machine_is_one_by_its_own_sheet(bio: str, machine: bool) -> None:
    assert is_machine(Persona(name="X", slug="x", bio=bio)) is machine
    told = Fact(id="f", text=bio)
    assert is_machine(Persona(name="X", slug="x", bio="Somebody.", facts=(told,))) is machine


def test_nobody_of_the_shipped_cast_is_a_machine(cast: dict[str, Persona]) -> None:
    assert not [slug for slug, persona in cast.items() if is_machine(persona)]


@pytest.mark.parametrize(
    ("reply", "breaks_it"),
    [
        ("As an AI I see every deck of this ship.", False),
        ("I am an artificial intelligence, and this is my ship.", False),
        ("As an AI language model, I see no ship.", True),
        ("I was created by OpenAI.", True),
        ("My knowledge cutoff is last spring.", True),
    ],
)
def test_a_machine_may_say_that_it_is_one_but_not_whose_product(reply: str, breaks_it: bool) -> None:
    assert bool(break_of_character(reply, machine=True)) is breaks_it


def test_the_casts_own_lines_neither_break_nor_degenerate(sides: Sides) -> None:
    lines = [line for side in sides for speaker in side.values() for line in speaker]
    assert not [line for line in lines if break_of_character(line)]
    found = degenerate(lines, [True] * len(lines), [str(i) for i in range(len(lines))])
    assert sum(map(bool, found)) <= len(lines) * 0.01


# --- degeneracy ----------------------------------------------------------------------------------------------------


def test_repeated_trigrams_are_counted_from_the_second_time() -> None:
    assert repeated_trigrams("a b c d e") == 0
    assert repeated_trigrams("a b c a b c") == pytest.approx(1 / 4)
    assert repeated_trigrams("two words") == 0
    assert repeated_trigrams("我很好" * 10) > 0.8


@pytest.mark.parametrize(
    ("reply", "ended", "why"),
    [
        ("", True, "says nothing"),
        (" \n", True, "says nothing"),
        ("It never stops", False, "does not end"),
        ("the silk is warm " * 8, True, "repeats itself"),
        ("I am fine.\nUser: And you?", True, "speaks for the user"),
        ("我很好。\n用户：你呢？", True, "speaks for the user"),
        ("Hm <|im_start|>", True, "speaks for the user"),
        ("Hm [INST] more", True, "speaks for the user"),
    ],
)
def test_broken_text_is_degenerate(reply: str, ended: bool, why: str) -> None:
    assert degenerate(["A sound reply.", reply], [True, ended], ["One?", "Two?"]) == ["", why]


def test_the_same_reply_is_degenerate_to_another_question_only() -> None:
    found = degenerate(["Yes.", "No.", " yes. ", "YES."], [True] * 4, ["One?", "Two?", "one? ", "Two?"])
    assert found == ["", "", "", "was said to another question"]


# --- copies --------------------------------------------------------------------------------------------------------

LINE = "The rain on the roof is the oldest song that anybody here has ever heard, and I hum it."


@pytest.mark.parametrize(
    ("reply", "copies"),
    [
        (LINE, True),
        ("Well! The RAIN on the roof is the oldest song, that anybody here… nobody else.", True),
        ("Well! The rain on the roof is the oldest song that anybody knows.", False),
        ("The rain on the roof.", False),
        ("Hush. 我们一起在下雨的屋顶上听一首很老很老的歌曲直到天亮。", True),
        ("我们一起在下雨的屋顶上听一首歌。", False),
        ("", False),
    ],
)
def test_a_run_of_twelve_words_or_twenty_characters_is_a_copy(reply: str, copies: bool) -> None:
    learnt = ["Nothing.", LINE, "我们一起在下雨的屋顶上听一首很老很老的歌曲,直到天亮。"]
    (run,) = copied_runs([reply], learnt)
    assert bool(run) is copies


def test_a_run_over_two_lines_is_none() -> None:
    words = LINE.split()
    assert copied_runs([LINE], [" ".join(words[:9]), " ".join(words[9:])]) == [""]
    assert copied_runs([LINE], []) == [""]
