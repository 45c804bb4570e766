"""Cards and profiles made by other hands, where they lie beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.persona.card import card_json, card_of, persona_from_card
from training.persona.sheet import parse_sheet, sheet_text
from training.persona.shelf import read_facts, understand

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "roleplay"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not here")
CARDS = sorted((SHARED / "cards").glob("*.*"))
PROFILES = sorted((SHARED / "earnest").glob("*/profile.md"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.name)
def test_a_card_is_read_and_written_whole(path: Path) -> None:
    card = card_json(path)
    persona = persona_from_card(card, name=path.name)
    assert persona.slug == path.name.split(".")[0]
    assert len(persona.facts) == len(card["data"]["character_book"]["entries"])
    assert all(fact.question and fact.accept for fact in persona.facts)
    assert persona.examples
    assert persona.traits
    for version in ("v2", "v3"):
        again = card_of(persona, version, card)  # type: ignore[arg-type]
        assert persona_from_card(again) == persona
        assert again["data"]["extensions"]["x_unknown_vendor/keep_me"] == {"a": 1}
    assert parse_sheet(sheet_text(persona), persona.slug) == persona


def test_the_same_persona_comes_out_of_json_and_picture() -> None:
    for slug in {path.name.split(".")[0] for path in CARDS}:
        found = [persona_from_card(card_json(SHARED / "cards" / f"{slug}.{kind}")) for kind in ("v2.json", "v2.png")]
        assert found[0] == found[1]


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_a_profile_with_its_facts_is_understood(path: Path) -> None:
    facts = read_facts(path.with_name("facts.json"))
    found = understand(path, facts).persona
    assert found.slug == path.parent.name
    assert found.traits
    assert found.style
    assert [fact for fact in found.facts if fact.question] == [
        fact.model_copy(update={"id": kept.id}) for fact, kept in zip(facts, found.facts[-len(facts) :], strict=True)
    ]
