"""Sentences turned into first and second person, and those that must not be."""

from __future__ import annotations

import pytest

from training.persona.person import gender, told_of, turned
from training.schema import Persona

TIM = Persona(
    name="Captain Tim",
    slug="captain-tim",
    aliases=("Tim", "Salty"),
    bio="Captain Tim Bell is a sailor. He likes his boat, and he sings when the wind likes him.",
)
ANNA = Persona(name="Anna", slug="anna", bio="Anna bakes. She sells her bread, and she keeps her dog with her.")


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("Captain Tim has two boats.", "I have two boats.", "You have two boats."),
        ("Captain Tim's boat is red.", "My boat is red.", "Your boat is red."),
        ("Captain Tim Bell is a sailor.", "I am a sailor.", "You are a sailor."),
        ("Tim never teaches his dog.", "I never teach my dog.", "You never teach your dog."),
        ("Tim raises sheep and worries about them.", "I raise sheep and worry about them.", None),
        ("Tim wants to fly and does not want to fall.", "I want to fly and do not want to fall.", None),
        ("Anna and Tim met at sea.", None, None),
        ("Tim and Anna met at sea.", "Anna and I met at sea.", "You and Anna met at sea."),
        ("The sea once took Tim for a fish.", "The sea once took me for a fish.", None),
        ("The boat that Tim had built hangs there.", "The boat that I had built hangs there.", None),
        ("Tim's call sign is Salty.", "My call sign is Salty.", "Your call sign is Salty."),
        ("He was born at sea.", "I was born at sea.", "You were born at sea."),
    ],
)
def test_what_is_certain_is_turned(text: str, first: str | None, second: str | None) -> None:
    told = turned(text, TIM, "I", ["Anna"])
    assert told == first or (first is None and told == text.replace("Tim", "me"))
    if second:
        assert turned(text, TIM, "you", ["Anna"]) == second


@pytest.mark.parametrize(
    "text",
    [
        "Tim waited until Otto said that he was ready.",
        "Tim has a friend who sails and sings every day.",
        "Tim Undertow Bell sails.",
        "The sea is deep.",
        "",
    ],
)
def test_what_may_mean_something_else_is_left_out(text: str) -> None:
    assert turned(text, TIM, "I", ["Otto"]) is None


def test_her_is_two_words() -> None:
    assert gender(ANNA) == "she"
    assert turned("Anna keeps her dog in her shop.", ANNA, "I") == "I keep my dog in my shop."
    assert turned("Anna bakes because bread calms her.", ANNA, "I") == "I bake because bread calms me."


def test_a_name_is_known_by_its_first_part_and_a_pronoun_in_front() -> None:
    pip = Persona(name="Captain Pip Marrow", slug="pip", bio="Captain Pip Marrow sails. He has a boat.")
    assert turned("Pip has a parrot.", pip, "I") == "I have a parrot."
    assert turned("His boat is red.", pip, "you") == "Your boat is red."
    assert (
        turned("She's afraid of mice, and she's got a cat.", ANNA, "I") == "I am afraid of mice, and I have got a cat."
    )
    assert turned("Her first oven smoked.", ANNA, "I") == "My first oven smoked."
    assert turned("Anna's afraid of mice.", ANNA, "I") is None
    assert turned("Bread taught her everything.", ANNA, "I") is None
    assert turned("Her bread taught her everything.", ANNA, "I") == "My bread taught me everything."


@pytest.mark.parametrize(
    ("text", "first", "told"),
    [
        ("A grumpy owl who keeps a lighthouse.", True, "Robin is a grumpy owl who keeps a lighthouse."),
        ("A storm took the house.", True, "A storm took the house."),
        ("A grumpy owl.", False, "A grumpy owl."),
        ("Owns a drum.", False, "Robin owns a drum."),
        ("Born at sea.", False, "Robin was born at sea."),
        ("Talks fast.", False, "Robin talks fast."),
        ("Never apologises.", False, "Robin never apologises."),
        ("Owls sleep.", False, "Owls sleep."),
        ("Towers in the north fell.", False, "Towers in the north fell."),
    ],
)
def test_a_sentence_that_only_lacks_the_name_gets_it(text: str, first: bool, told: str) -> None:
    assert told_of(Persona(name="Robin", slug="robin", bio="Robin sings."), text, first) == told


def test_without_a_plain_pronoun_none_is_turned() -> None:
    robin = Persona(name="Robin", slug="robin", bio="Robin sings.")
    assert turned("Robin has a drum.", robin, "I") == "I have a drum."
    assert turned("Robin has his drum.", robin, "I") is None
    assert turned("", robin, "I") is None
