"""Sheets as people write them: headings of any style, facts with ids or without, dialogues in several forms."""

from __future__ import annotations

import pytest

from training.errors import UnreadableSheet
from training.persona.examples import read_examples
from training.persona.facts import fact_of, sentences, slug_of
from training.persona.sheet import parse_sheet, sheet_text, understand_sheet

UNDERLINED = """Mika
====
Background
----------
Mika keeps the lighthouse.

**Personality:** patient, counts gulls
**How Mika talks:** Short, with wind.

**Facts**
1. The lamp is called Berta.
2. mika-age: She does not know her own age.
Example dialogue
----------------
User: Hi?
Mika: Mind the step.
"""
LABELLED = """Name: Mika
Bio: Mika keeps the lighthouse.
PERSONALITY
patient; counts gulls

1. Voice: Short, with wind.
Knows: The lamp is called Berta. Dr. Bell comes on Mondays.
Likes: soup
Bonds: Tom - brings bread
Boundaries: goodbye
First message: "Mind the step."
"""
HASHED = """# Character Sheet: Mika
### 1. Who is Mika?
Mika keeps the lighthouse.
### 2. 🎭 Traits
- patient
- counts gulls
### Voice
Short, with wind.
### Lore
- What is the lamp called? — Berta
### Appearance
- She has a blue coat that her mother made.
- tall
### Sample lines
- "I never sleep."
- "Cold?" — "Always."
"""
BOLD = """**Name:** Ilse Varga
**Aliases:** The Needle, Ilse V.
**Age:** 34

**Personality**
- **Sharp:** cuts cloth
* loyal

**Backstory**
Born in Kesmark.
**Relationships**
- Brother: Tamas, a baker
- Friends: Bo and Zed
- Tom: They fight.

**Likes:** plums
**Do not**
- mention the fire
"""
FRONT = """---
name: Ilse Varga
aliases: ["The Needle", Ilse V.]
traits:
  - sharp
created: 2026-01-01
description: >
  A tailor
  of Kesmark.
---
# Ilse Varga
### FACTS
| Question | Answer |
|---|:--|
| Where is her shop? | Elm Lane |
| Age | 34 |

- [f2] Her dog is called Bo.
- f3. She has a cat.
- She sews. `id: f4`
## Connections
Name | Role
--- | ---
Tamas | brother
"""
PROFILE = """# Character Profile
| Field | Value |
|---|---|
| Name | Tarn Hollow |
| Age | 41 |
| Species | river spirit |

## Personality
**Calm** and patient.
## Relationships
**Brother:** Ash

| Name | Relation |
|------|----------|
| Bo | friend |
## Extra
- Likes: moss, rain
## Dialogue samples
**{{user}}:** Hello?
**Tarn:** Hush.
"""
CHINESE = "# 角色卡\n## 姓名\n小明\n## 性格\n安静、好奇\n## 背景\n小明住在山里。\n## 设定\n- 小明有一只猫。\n"
GERMAN = (
    "# Mika\n## Beschreibung\nHütet das Licht.\n## Eigenschaften\ngeduldig, trocken\n## Begrüßung\nVorsicht, Stufe.\n"
)


@pytest.mark.parametrize("text", [UNDERLINED, LABELLED, HASHED], ids=["underlined", "labelled", "hashed"])
def test_headings_of_any_style_are_known(text: str) -> None:
    mika = parse_sheet(text, "")
    assert (mika.name, mika.slug, mika.bio) == ("Mika", "mika", "Mika keeps the lighthouse.")
    assert mika.traits == ("patient", "counts gulls")
    assert mika.style == "Short, with wind."
    assert mika.facts


@pytest.mark.parametrize("text", [UNDERLINED, LABELLED, HASHED, CHINESE, GERMAN, BOLD, FRONT])
def test_a_sheet_written_in_our_form_reads_back_the_same(text: str) -> None:
    read = parse_sheet(text, "")
    assert parse_sheet(sheet_text(read), read.slug) == read


def test_other_languages_have_headings_too() -> None:
    ming, mika = parse_sheet(CHINESE, ""), parse_sheet(GERMAN, "")
    assert (ming.name, ming.traits, ming.facts[0].text) == ("小明", ("安静", "好奇"), "小明有一只猫。")
    assert (mika.bio, mika.traits, mika.greeting) == ("Hütet das Licht.", ("geduldig", "trocken"), "Vorsicht, Stufe.")


def test_entries_of_other_forms_find_their_place() -> None:
    mika = parse_sheet(LABELLED, "")
    assert [fact.text for fact in mika.facts] == [
        "The lamp is called Berta.",
        "Dr. Bell comes on Mondays.",
        "Mika likes soup.",
    ]
    assert (mika.relationships, mika.taboos, mika.greeting) == ({"Tom": "brings bread"}, ("goodbye",), "Mind the step.")


def test_bold_labels_end_the_part_before_them() -> None:
    ilse = parse_sheet(BOLD, "")
    assert (ilse.aliases, ilse.bio) == (("The Needle", "Ilse V."), "Born in Kesmark.")
    assert ilse.traits == ("Sharp: cuts cloth", "loyal")
    assert [fact.text for fact in ilse.facts] == ["Ilse Varga's age is 34.", "Ilse Varga likes plums."]
    assert ilse.relationships == {
        "Tamas": "Brother, a baker.",
        "Bo": "Friend.",
        "Zed": "Friend.",
        "Tom": "They fight.",
    }
    assert ilse.taboos == ("mention the fire",)


def test_front_matter_and_tables_are_read() -> None:
    ilse = parse_sheet(FRONT, "")
    assert (ilse.name, ilse.aliases, ilse.traits) == ("Ilse Varga", ("The Needle", "Ilse V."), ("sharp",))
    assert (ilse.bio, ilse.relationships) == ("A tailor of Kesmark.", {"Tamas": "brother"})
    shop, age, *others = ilse.facts
    assert (shop.question, shop.accept, age.text) == ("Where is her shop?", ("elm lane",), "Ilse Varga's age is 34.")
    assert {fact.id: fact.text for fact in others} == {
        "f2": "Her dog is called Bo.",
        "f3": "She has a cat.",
        "f4": "She sews.",
    }


def test_a_profile_in_a_table_and_labels_under_any_heading_are_read() -> None:
    tarn = parse_sheet(PROFILE, "")
    assert (tarn.name, tarn.bio) == ("Tarn Hollow", "Tarn Hollow is calm and patient.")
    assert [fact.text for fact in tarn.facts] == [
        "Tarn Hollow's age is 41.",
        "Tarn Hollow is a river spirit.",
        "Tarn Hollow likes moss and rain.",
    ]
    assert tarn.relationships == {"Ash": "Brother.", "Bo": "friend"}
    assert len(tarn.examples) == 1


@pytest.mark.parametrize("line", ["aliases: {a: b}", "no colon here"])
def test_front_matter_that_is_not_simple_is_refused(line: str) -> None:
    with pytest.raises(UnreadableSheet, match=r"mika\.md cannot be read: line 3 of its front matter"):
        understand_sheet(f"---\nname: Mika\n{line}\n---\nKeeps the lighthouse.\n", "", "mika.md")


def test_a_sheet_without_a_name_is_named_by_its_first_sentence_or_refused() -> None:
    assert parse_sheet("Kestrel Bo is a courier. He never lies.\n", "").name == "Kestrel Bo"
    with pytest.raises(UnreadableSheet, match=r"sheet plain\.md cannot be read"):
        understand_sheet("She is a courier. She never lies.\n", "", "plain.md")


def test_what_is_under_an_unknown_heading_is_kept_and_told() -> None:
    found = understand_sheet(HASHED, "")
    texts = [fact.text for fact in found.persona.facts]
    assert texts[1:] == ["She has a blue coat that her mother made.", "Appearance: tall"]
    assert any("'Appearance' is not known" in note for note in found.notes)
    assert "no greeting" in found.notes


def test_in_a_sheet_with_hashes_a_label_is_only_text() -> None:
    mika = parse_sheet("# Mika\n## Who\nMika keeps one rule.\nVoice: never raised.\n## Traits\n- calm\n", "")
    assert (mika.bio, mika.style) == ("Mika keeps one rule. Voice: never raised.", "")


def test_facts_get_ids_that_stay() -> None:
    assert fact_of("The lamp is called Berta.", "mika").id == fact_of("The  lamp is called Berta.", "mika").id
    assert fact_of("mika-lamp: It is called Berta.", "mika").id == "mika-lamp"
    asked = fact_of("Who is your aunt? — Lady Bell (Aunt Jo).", "mika")
    assert (asked.question, asked.accept) == ("Who is your aunt?", ("lady bell", "aunt jo"))
    assert sentences("Mr. Bell came. It rained. J. Doe left.") == ["Mr. Bell came.", "It rained.", "J. Doe left."]
    assert (slug_of("Lord Grigon"), slug_of("Zoë O'Hara")) == ("lord-grigon", "zoe-ohara")


@pytest.mark.parametrize(
    "text",
    [
        "<START>\n{{user}}: Cold?\n{{char}}: Always.\nAnd wet.",
        "**User:** Cold?\n**Mika:** Always.\nAnd wet.",
        "> Tom: Cold?\n> Mika: Always.\nAnd wet.",
        '### Example 1\n- Q: "Cold?"\n- A: Always.\n  And wet.',
    ],
)
def test_dialogues_in_several_forms(text: str) -> None:
    ((asked, said),) = read_examples(text, ["Mika"])
    assert (asked.role, asked.content) == ("user", "Cold?")
    assert (said.role, said.content) == ("assistant", "Always.\nAnd wet.")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("User: Who are you?\nIlse: The needle.", ["Ilse Varga"]),
        ("> **You**: Who are you?\n> **Needle**: The needle.", ["Ilse Varga", "The Needle"]),
        ("Guest: Who are you?\nSnips: The needle.", ["Ilse Varga"]),
        ("用户：Who are you?\n阿晚：The needle.", ["林晚", "阿晚"]),
    ],
)
def test_a_part_of_the_name_or_the_other_of_two_is_the_persona(text: str, names: list[str]) -> None:
    ((asked, said),) = read_examples(text, names)
    assert (asked.role, said.role, said.content) == ("user", "assistant", "The needle.")


def test_dialogues_are_kept_apart() -> None:
    text = "<START>\nUser: One?\nMika: One.\n---\nUser: Two?\nMika: Two.\n"
    assert len(read_examples(text, ["Mika"])) == 2


@pytest.mark.parametrize("run", [" ", ":", "*", "**a", "> ", "- ", "# ", "A. ", "a? ", '"', "_", "{{//", "\n"])
def test_no_long_run_of_signs_holds_the_reader_up(run: str) -> None:
    """A pattern that goes back and forth over such a line would take hours; the suite would stand still."""
    for head in ("# M\n## Who\nx\n## Examples\n", "# M\n## Who\nx\n## Facts\n", "Name: M\nBio: x\n"):
        assert parse_sheet(f"{head}{run * (10_000 // len(run))}!\n", "m").name == "M"
