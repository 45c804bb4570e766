"""Character cards: what is read from them, what is written, and what is refused."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import UnreadableCard
from training.persona import png
from training.persona.card import card_bytes, card_json, card_of, is_card, persona_from_card, write_card
from training.persona.sheet import parse_sheet, sheet_text
from training.schema import Fact, Message, Persona

MIKA = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Mika",
        "description": "{{char}} keeps the lighthouse and teaches {{user}} to wait.{{// not shown}}",
        "personality": "patient, dry; counts gulls",
        "scenario": "A small island.",
        "first_mes": "Mind the step, {{user}}.",
        "mes_example": "<START>\n{{user}}: Is it cold?\n{{char}}: It is the sea.\nIt is always cold.",
        "character_book": {
            "entries": [
                {"keys": ["berta"], "content": "What is the lamp called? Berta.", "enabled": True, "x": 1},
                {"keys": ["age"], "content": "<BOT> does not know her own age.", "enabled": True},
                {"keys": ["off"], "content": "Nobody knows.", "enabled": False},
            ],
        },
        "extensions": {"vendor/depth": {"a": [1, 2]}},
        "tags": ["sea"],
    },
}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
WORDS = TEXT.filter(lambda text: bool(text.strip()))
NAMES = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=40)
FACTS = st.builds(
    Fact,
    id=st.from_regex(r"[a-z]{1,8}-[0-9]{1,4}", fullmatch=True),
    text=WORDS,
    question=TEXT,
    accept=st.lists(WORDS, max_size=3).map(tuple),
    reject=st.lists(WORDS, max_size=2).map(tuple),
)
MESSAGES = st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=WORDS)
PERSONAS = st.builds(
    Persona,
    name=NAMES,
    slug=st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True),
    aliases=st.lists(TEXT, max_size=2).map(tuple),
    bio=WORDS,
    traits=st.lists(TEXT, max_size=3).map(tuple),
    style=TEXT,
    facts=st.lists(FACTS, max_size=4, unique_by=lambda fact: fact.text).map(tuple),
    relationships=st.dictionaries(NAMES, TEXT, max_size=2),
    taboos=st.lists(TEXT, max_size=2).map(tuple),
    greeting=TEXT,
    examples=st.lists(st.lists(MESSAGES, min_size=1, max_size=4).map(tuple), max_size=2).map(tuple),
)


def edited(card: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return card | {"data": card["data"] | fields}


def test_a_card_becomes_a_persona() -> None:
    mika = persona_from_card(MIKA)
    assert (mika.name, mika.slug) == ("Mika", "mika")
    assert mika.bio == "Mika keeps the lighthouse and teaches the user to wait."
    assert mika.traits == ("patient", "dry", "counts gulls")
    assert mika.greeting == "Mind the step, friend."
    lamp, age = mika.facts
    assert (lamp.question, lamp.accept) == ("What is the lamp called?", ("berta",))
    assert age.text == "Mika does not know her own age."
    ((asked, said),) = mika.examples
    assert (asked.content, said.content) == ("Is it cold?", "It is the sea.\nIt is always cold.")


def test_a_description_with_headings_of_its_own_is_taken_apart() -> None:
    described = "Keeps a lighthouse.\n\nSpeech: short\n\nLikes: soup\n\nNever says:\n- goodbye"
    mika = persona_from_card(edited(MIKA, description=described))
    assert (mika.style, mika.taboos) == ("short", ("goodbye",))
    assert mika.bio.startswith("Keeps a lighthouse.")


def test_what_another_program_put_into_a_card_is_kept() -> None:
    written = card_of(persona_from_card(MIKA), "v3", MIKA)["data"]
    assert written["extensions"]["vendor/depth"] == {"a": [1, 2]}
    assert (written["scenario"], written["tags"]) == ("A small island.", ["sea"])
    assert written["character_book"]["entries"] == MIKA["data"]["character_book"]["entries"]  # type: ignore[index]


def test_placeholders_stay_in_a_card_that_went_through_a_sheet() -> None:
    told = MIKA["data"] | {"description": "{{char}} keeps the lighthouse.\n{{user}} is new here.", "nickname": "Mi"}  # type: ignore[operator]
    card = MIKA | {"data": told}
    read = persona_from_card(card)
    assert read.bio == "Mika keeps the lighthouse. The user is new here."
    through = parse_sheet(sheet_text(read), read.slug)
    written = card_of(through, "v3", card)
    assert {key: written["data"][key] for key in ("description", "first_mes", "mes_example")} == {
        key: told[key] for key in ("description", "first_mes", "mes_example")
    }
    assert persona_from_card(written) == through
    shy = through.model_copy(update={"greeting": "Aye."})
    again = card_of(shy, "v2", card)["data"]
    assert (again["first_mes"], again["description"]) == ("Aye.", told["description"])


@given(PERSONAS, st.sampled_from(["v2", "v3"]))
@settings(max_examples=40, deadline=None)
def test_a_persona_comes_back_whole(persona: Persona, version: Any) -> None:
    card = json.loads(json.dumps(card_of(persona, version)))
    assert is_card(card)
    assert persona_from_card(card) == persona


def test_what_was_edited_elsewhere_is_heard_and_the_rest_is_kept() -> None:
    mika = persona_from_card(MIKA).model_copy(update={"taboos": ("goodbye",), "greeting": "Aye."})
    card = edited(card_of(mika, "v2"), first_mes="Hello there.", name="Mikaela")
    again = persona_from_card(card)
    assert (again.greeting, again.name, again.taboos) == ("Hello there.", "Mikaela", ("goodbye",))
    fewer = card["data"]["character_book"] | {"entries": card["data"]["character_book"]["entries"][:1]}
    assert [fact.question for fact in persona_from_card(edited(card, character_book=fewer)).facts] == [
        "What is the lamp called?"
    ]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_picture_carries_the_card(tmp_path: Path, version: Any) -> None:
    mika = persona_from_card(MIKA)
    write_card(mika, tmp_path / "mika.png", version)
    texts = png.texts((tmp_path / "mika.png").read_bytes())
    assert set(texts) == ({"chara"} if version == "v2" else {"chara", "ccv3"})
    assert json.loads(base64.b64decode(texts["chara"]))["spec"] == "chara_card_v2"
    assert persona_from_card(card_json(tmp_path / "mika.png")) == mika
    write_card(mika, tmp_path / "again.png", "v3", (tmp_path / "mika.png").read_bytes())
    assert len(png.texts((tmp_path / "again.png").read_bytes())) == 2


def test_a_v1_card_is_read() -> None:
    flat = {key: MIKA["data"].get(key, "") for key in ("name", "description", "personality")}  # type: ignore[attr-defined]
    assert persona_from_card(flat | {"scenario": "", "first_mes": "", "mes_example": ""}).name == "Mika"


def test_a_name_without_latin_letters_gets_a_slug() -> None:
    assert persona_from_card(edited(MIKA, name="小明")).slug.startswith("p-")


def picture() -> bytes:
    return png.with_texts(png.drawn("Mika"), {"chara": base64.b64encode(json.dumps(MIKA).encode())})


def test_a_broken_picture_is_refused_with_the_reason() -> None:
    whole = picture()
    place = whole.index(b"tEXtchara") + 12
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    other = png.with_texts(whole, {"chara": b"%%%"})
    for data, why in (
        (whole[:-6], "cut off"),
        (flipped, "checksum"),
        (png.drawn("Mika"), "carries no card"),
        (other, "no base64"),
    ):
        with pytest.raises(UnreadableCard, match=why):
            card_bytes(data, "mika.png")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1, column 1 is not valid JSON"),
        ('{"spec":"chara_card_v2","data":{"name":NaN}}', "not valid JSON"),
        ("[1]", "not of a character card"),
        ("[" * 5000, "not valid JSON"),
        ('{"spec":"chara_card_v2","data":[]}', "not of a character card"),
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UnreadableCard, match=why):
        card_json(tmp_path / "card.json")


def test_bad_fields_are_named() -> None:
    for fields, why in (
        ({"name": " "}, "name is missing"),
        ({"name": "M" * 81}, "name is too long"),
        ({"first_mes": 3}, "field first_mes is no text"),
    ):
        with pytest.raises(UnreadableCard, match=why):
            persona_from_card(edited(MIKA, **fields))


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3)))
@settings(max_examples=60, deadline=None)
def test_odd_fields_never_break_the_reader(odd: Any) -> None:
    for key in ("character_book", "extensions", "nickname", "alternate_greetings", "tags"):
        assert persona_from_card(edited(MIKA, **{key: odd})).name == "Mika"


def test_a_portrait_that_unpacks_to_a_flood_is_refused() -> None:
    header = b"".join(n.to_bytes(4, "big") for n in (60_000, 60_000)) + b"\x08\x02\x00\x00\x00"
    chunk = len(header).to_bytes(4, "big") + b"IHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    with pytest.raises(png.BadPicture, match=r"pixels|can be read"):
        png.portrait_of(png.SIGNATURE + chunk + b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big"))
