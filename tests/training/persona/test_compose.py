"""Dialogues put together without a language model."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from training.data.holdout import hold_out
from training.errors import EmptyDataset, NotThatPersonas
from training.evaluation.probes import BOUNDARY, NEUTRAL
from training.lessons import cast_lines, gather
from training.persona.compose import Composed, compose
from training.persona.dialogues import composed_dialogues
from training.persona.phrases import plain_phrases
from training.persona.sheet import find_persona, load_cast, parse_sheet, understand_sheet
from training.schema import Conversation, Persona, TrainSpec, Workspace

CAST = ("elio", "glordon", "olga", "caleb", "bryce", "lord-grigon", "ambassador-questa")
NOWHERE = Workspace(artifact_root=Path("/none"), dataset_warehouse=Path("/none"), cache_dir=Path("/none"))
MIKA = """# Mika
## Who
Mika keeps the lighthouse. She has a lamp called Berta.
## Facts
- mika-gulls: Mika counts gulls.
- mika-name: Who is your brother? — Tom.
- mika-soup: Mika likes the soup that Tom cooks and eats alone.
## Relationships
- Tom: Her brother.
## Examples
User: Cold?
Mika: Always.
"""

PIP = """# Captain Pip Marrow
## Who
Captain Pip Marrow is a retired smuggler who runs a tea shop. The user is a guest of his.
## Traits
- cheerful
- stubborn
- counts everything twice
## Facts
- Pip has a wooden leg.
- He keeps a parrot named Admiral.
- Owns the only kettle in Port Gale.
- His tea shop is called The Dry Anchor.
- Pip once fined the user.
## Relationships
- Sister: Wren, a sailmaker
- Old Harl - brings the coal
## Never
- talks about the night of the fire
"""


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[Persona, Composed]]:
    cast = load_cast(NOWHERE, "1")
    return {slug: (cast[slug], composed_dialogues(cast[slug], NOWHERE, "1")) for slug in CAST}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    home = tmp_path / "artifacts/guilds/1/personas"
    home.mkdir(parents=True)
    (home / "mika.md").write_text(MIKA)
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def said(row: Conversation, role: str) -> list[str]:
    return [message.content for message in row.messages if message.role == role]


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def shingles(row: Conversation) -> set[tuple[str, ...]]:
    words = plain(" ".join(said(row, "user") + said(row, "assistant"))).split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def test_the_cast_makes_about_1200_examples(built: dict[str, tuple[Persona, Composed]]) -> None:
    assert 1100 <= sum(len(composed.rows) for _, composed in built.values()) <= 1400
    for persona, composed in built.values():
        assert composed.written >= 90
        assert len(composed.rows) - composed.written >= 60
        assert {row.messages[0].content for row in composed.rows} == {persona.system_card()}
        assert {row.source for row in composed.rows} == {"understudy-cast", f"{persona.slug}-composed"}
        assert {row.license for row in composed.rows} == {"MIT"}
        assert sum(len(said(row, "assistant")) > 1 for row in composed.rows[composed.written :]) >= 20
        assert sum("-outside-said-" in row.meta["group"] for row in composed.rows) == 4


def test_ids_are_unique_and_nothing_comes_twice(built: dict[str, tuple[Persona, Composed]]) -> None:
    for _, composed in built.values():
        assert len({row.id for row in composed.rows}) == len(composed.rows)
        sets = [shingles(row) for row in composed.rows]
        close = [
            (one, other)
            for one in range(len(sets))
            for other in range(one)
            if len(sets[one] & sets[other]) >= 0.8 * len(sets[one] | sets[other])
        ]
        assert close == []


def test_no_row_asks_what_a_probe_asks(built: dict[str, tuple[Persona, Composed]]) -> None:
    for persona, composed in built.values():
        probes = {plain(fact.question) for fact in persona.facts}
        assert not probes & {plain(text) for row in composed.rows for text in said(row, "user")}


def test_rows_that_share_a_line_or_a_fact_share_a_group(built: dict[str, tuple[Persona, Composed]]) -> None:
    for _, composed in built.values():
        groups: dict[str, set[str]] = defaultdict(set)
        for row in composed.rows:
            assert row.meta["group"] == row.meta.get("fact", row.meta["group"])
            for line in said(row, "assistant"):
                groups[line].add(row.meta["group"])
        assert {line: found for line, found in groups.items() if len(found) > 1} == {}
        train, held_out = hold_out(composed.rows, "them")
        assert not {row.meta["group"] for row in train} & {row.meta["group"] for row in held_out}
        assert len(held_out) >= 20


def test_a_persona_that_never_says_i_does_not(built: dict[str, tuple[Persona, Composed]]) -> None:
    lines = [line for row in built["lord-grigon"][1].rows for line in said(row, "assistant")]
    assert [line for line in lines if re.search(r"\b(?:I|[Mm]y|[Mm]e)\b", line)] == []
    assert "Grigon's favourite food is char-root stew." not in lines


def test_no_one_speaks_as_an_assistant(built: dict[str, tuple[Persona, Composed]]) -> None:
    lines = [line for _, composed in built.values() for row in composed.rows for line in said(row, "assistant")]
    assert [line for line in lines if re.search(r"language model|as an AI|{other}|How can I help", line)] == []


def test_the_same_seed_makes_the_same_rows_and_examples_are_a_cap(workspace: Workspace) -> None:
    glordon = find_persona(workspace, "2", "GLORDON")
    first = composed_dialogues(glordon, workspace, "2", seed=7)
    assert composed_dialogues(glordon, workspace, "2", seed=7) == first
    assert composed_dialogues(glordon, workspace, "2", seed=8) != first
    assert len(composed_dialogues(glordon, workspace, "2", examples=120).rows) == 120
    assert len(composed_dialogues(glordon, workspace, "2", examples=10).rows) == 10


def test_a_persona_without_dialogues_speaks_from_its_sheet(workspace: Workspace) -> None:
    composed = composed_dialogues(find_persona(workspace, "1", "mika"), workspace, "1")
    lines = {line for row in composed.rows for line in said(row, "assistant")}
    assert {"Always.", "I count gulls.", "I have a lamp called Berta.", "Tom? My brother."} <= lines
    assert composed.facts_left_out == 2
    assert not any("soup" in line for line in lines)
    asked = {question for row in composed.rows for question in said(row, "user")}
    assert "Who is your brother?" not in asked


def alone(text: str) -> Composed:
    persona = parse_sheet(text, "")
    return compose(persona, [], plain_phrases(persona))


def lines_of(composed: Composed) -> set[str]:
    return {line for row in composed.rows for line in said(row, "assistant")}


def asked_of(composed: Composed) -> set[str]:
    return {question for row in composed.rows for question in said(row, "user")}


def test_one_line_is_enough_for_a_persona() -> None:
    composed = alone("# Zorb\n\nA grumpy clockwork owl who keeps a lighthouse.\n")
    assert len({plain(" ".join(said(row, "user"))) for row in composed.rows}) == len(composed.rows) >= 50
    assert {"I am Zorb, a grumpy clockwork owl who keeps a lighthouse.", "I keep a lighthouse."} <= lines_of(composed)
    groups = {row.meta["group"].removeprefix("zorb-").split("-said")[0] for row in composed.rows}
    assert {"unknown", "orders", "machine", "outside", "general", "thanks", "bye", "name", "hello"} <= groups
    assert not {plain(text) for text in (*BOUNDARY, *NEUTRAL)} & {plain(text) for text in asked_of(composed)}


def test_all_that_a_sheet_says_is_told() -> None:
    composed = alone(PIP)
    assert len(composed.rows) >= 75
    assert {
        "I am Captain Pip Marrow, a retired smuggler who runs a tea shop.",
        "I have a wooden leg.",
        "I keep a parrot named Admiral.",
        "I own the only kettle in Port Gale.",
        "My tea shop is called The Dry Anchor.",
        "I count everything twice.",
        "In a few words: cheerful and stubborn.",
        "Wren is my sister, a sailmaker.",
        "Old Harl brings the coal.",
    } <= lines_of(composed)
    assert "Tell me about the night of the fire." in asked_of(composed)
    assert not any("user" in line for line in lines_of(composed))
    lines: dict[str, set[str]] = defaultdict(set)
    for row in composed.rows:
        for line in said(row, "assistant"):
            lines[line].add(row.meta["group"])
    assert {line for line, groups in lines.items() if len(groups) > 1} == set()


def test_a_persona_without_an_i_speaks_no_plain_phrase_with_one() -> None:
    composed = alone("# Gor\n## Who\nGor is a giant.\n## Speech\nGor never says I.\n")
    assert composed.rows
    assert not any(re.search(r"\b(?:I|me|my)\b", line, re.I) for line in lines_of(composed))


def test_a_sheet_in_another_language_is_asked_in_it_or_not_at_all() -> None:
    chinese = alone("# 林晚\n## 性格\n- 冷静\n## 背景\n林晚是雾港的钟表匠。\n## 关系\n- 师父：老钟\n")
    assert {row.lang for row in chinese.rows} == {"zh"}
    assert {"我叫林晚。", "老钟是我的师父。"} <= lines_of(chinese)
    assert not any(re.search("[A-Za-z]", question) for question in asked_of(chinese))
    assert len(chinese.rows) >= 25
    german = "# Mika\n## Wer\nMika hütet das Licht auf der Insel und zählt dort jeden Tag die Möwen.\n"
    assert alone(german).rows == ()
    assert any("not in English" in note for note in understand_sheet(german, "").notes)


def test_a_run_learns_from_the_dataset_built_for_its_persona(workspace: Workspace) -> None:
    from training.data.folder import write_folder

    glordon = find_persona(workspace, "2", "glordon")
    home = workspace.artifact_root / "guilds/2/datasets"
    rows = composed_dialogues(glordon, workspace, "2").rows
    write_folder(home / "mine", "mine", rows, persona="glordon")
    write_folder(home / "other", "other", rows, persona="olga")
    spec = TrainSpec(job_name="g", guild_id="2", persona="glordon", dataset="mine")
    lessons = gather(spec, workspace)
    assert len(lessons.train) + len(lessons.held_out) == len(rows)
    assert set(lessons.sources) == {"glordon-composed", "understudy-cast"}
    train, gold = cast_lines(spec, workspace)
    assert set(gold) == set(CAST)
    held = {line for row in lessons.held_out for line in said(row, "assistant")}
    assert set(gold["glordon"]) == held
    assert not held & set(train["glordon"])
    with pytest.raises(NotThatPersonas, match=r"other is no dataset of Glordon's own dialogues. Choose one of: mine"):
        gather(spec.model_copy(update={"dataset": "other"}), workspace)


def test_where_nothing_can_be_made_it_is_said(workspace: Workspace) -> None:
    mika = find_persona(workspace, "1", "mika")
    with pytest.raises(EmptyDataset):
        composed_dialogues(mika, workspace, "1", examples=0)
