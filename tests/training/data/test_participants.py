"""Whoever takes part in a chat export is hidden, by whatever they are called, and has one pseudonym."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.training.data.chat_exports import ANNA, BEN, KEEPER, WEBHOOK, read, said, spoken
from training.data.anonymise.anonymiser import Anonymiser
from training.data.participants import Hidden, Participants
from training.schema import Conversation

ROSE, MARK, WILL = "11", "12", "14"


def people(**names: str) -> Hidden:
    """Anonymises for members of these names, each with its own id, beside a persona called Ash Vane."""
    messages = [said(str(number), "", number, name=name) for number, name in enumerate(names.values(), 11)]
    return Participants(messages, ["Ash Vane"]).hidden(lambda roster, cast: Anonymiser(b"key", roster, cast))


def masked(hidden: Hidden, text: str) -> str:
    return hidden.text(hidden.spoken(text), "c1")


def masked_talk(*messages: dict[str, Any]) -> Conversation:
    [made], _ = read(messages, anonymiser=lambda roster, cast: Anonymiser(b"key", roster, cast))
    return made


def test_speakers_mentions_and_calls_have_one_pseudonym() -> None:
    made = masked_talk(
        said(ANNA, "hello there keeper, mark here", 0, name="mark"),
        said(BEN, f"rose says hi to MARK, @mark and <@{ANNA}>", 5, name="rose"),
        said(KEEPER, "Hello mark and rose. Mark, sit.", 9),
    )
    everything = made.model_dump_json().lower()
    assert not re.search(r"\b(mark|rose|zq[a-p]+)\b", everything)
    mark, rose = made.meta["speakers"].split(", ")[1:]
    assert spoken(made) == [
        f"{mark}: hello there keeper, {mark} here\n{rose}: {rose} says hi to {mark}, {mark} and {mark}",
        f"Hello {mark} and {rose}. {mark}, sit.",
    ]


def test_every_name_of_one_person_has_that_persons_pseudonym() -> None:
    one = people(first="Rowan Thistle (she/her)")
    found = {masked(one, text) for text in ("Rowan Thistle", "rowan", "Thistle", "<@11>", "@rowan")}
    assert len(found) == 1
    assert not re.search("rowan|thistle", found.pop(), re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    ["will, sit", "hey will", "@will", "come here, will", "thanks will!", "will: hi", "will's ship", "will says hi",
     "i went with will", "so, will?", "*looks at will*", "WILL, sit", "will",
     "will and the rest sat", "come, rose and will!"],
)  # fmt: skip
def test_a_person_called_by_an_everyday_word_is_hidden(text: str) -> None:
    assert not re.search(r"\bwill\b", masked(people(first="will"), text), re.IGNORECASE)


@pytest.mark.parametrize(
    "text", ["i will go", "it will, i think, rain", "he said he will", "this will be fine", "where there's a will"]
)
def test_an_everyday_word_stays_where_nobody_is_called(text: str) -> None:
    assert masked(people(first="will"), text) == text


@pytest.mark.parametrize(
    "text", ["she gave the rose back", "<:rose:123456789012345678>", "see https://example.org/rose", "rose-red"]
)
def test_a_rarer_word_stays_where_it_is_a_thing(text: str) -> None:
    assert masked(people(first="rose"), text) == text


def test_a_member_who_goes_by_the_personas_name_is_hidden_as_a_speaker_only() -> None:
    hidden = people(first="ash")
    assert masked(hidden, "ash waves, Ash Vane too") == "ash waves, Ash Vane too"
    assert masked(hidden, hidden.label("11")) not in ("ash", hidden.label("11"))


def test_a_name_that_is_in_every_sentence_is_no_ones() -> None:
    hidden = people(first="you", second="I", third="the")
    assert masked(hidden, "I know you, the best") == "I know you, the best"
    assert masked(hidden, f"{hidden.label('11')}: hi") != "you: hi"


def test_characters_keep_their_names() -> None:
    made = masked_talk(said(WEBHOOK, "Rose?", 0, name="Gull"), said(KEEPER, "Gull, hush.", 5))
    assert spoken(made)[1] == "Gull, hush."
