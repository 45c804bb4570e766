"""Facts that are written anew in a guild's sheets, and what a guild is told of its personas."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from training.data.prepare import prepare
from training.data.schema import DataAction, DataReport, DataSpec, FactChange
from training.errors import FactRefused, UnknownFact, UnknownPersona
from training.persona.amend import amend_fact
from training.persona.dialogues import composed_dialogues, written_dialogues
from training.persona.sheet import find_persona, load_cast, parse_sheet
from training.persona.shelf import keep, understand
from training.places import SHIPPED, guild_folder
from training.schema import Fact, Persona, Workspace

GUILD = "77"
MIKA = """# Mika
## Who
Mika keeps the lighthouse.
## Facts
- lamp: The lamp is called Berta.
  - ask: What is your lamp called?
  - accept: berta
- age: Mika does not know her own age.
## Relationships
- Tom: brings bread: and news.
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


@pytest.fixture
def personas(workspace: Workspace) -> Path:
    folder = guild_folder(workspace, GUILD) / "personas"
    folder.mkdir(parents=True)
    (folder / "mika.md").write_text(MIKA)
    return folder


def doing(workspace: Workspace, action: DataAction, persona: str, **spec: Any) -> DataReport:
    return prepare(
        DataSpec(action=action, guild_id=GUILD, persona=persona, **spec),
        workspace,
        job_id="a1b2c3d4e5f6",
        most_rows=1000,
        fetch=lambda upload, path: None,
        on_progress=lambda look: None,
        should_stop=lambda: False,
    )


def fact(persona: Persona, fact_id: str) -> Fact:
    return next(fact for fact in persona.facts if fact.id == fact_id)


def test_a_persona_is_told_with_its_facts_and_lines(workspace: Workspace) -> None:
    told = doing(workspace, DataAction.PERSONA, "glordon")
    assert told.persona == find_persona(workspace, GUILD, "glordon")
    lines = [
        message
        for row in written_dialogues(told.persona, workspace, GUILD)
        for message in row.messages
        if message.role == "assistant"
    ]
    assert told.learnt is not None
    assert told.held_out
    assert told.learnt + told.held_out == len(lines)
    assert told.learnt > told.held_out
    assert not (guild_folder(workspace, GUILD) / "work" / "a1b2c3d4e5f6").exists()


def test_a_persona_without_dialogues_has_no_lines(workspace: Workspace, personas: Path) -> None:
    told = doing(workspace, DataAction.PERSONA, "mika")
    assert (told.name, told.learnt, told.held_out) == ("mika", 0, 0)


def test_words_of_a_fact_are_written_anew_and_all_else_stays(workspace: Workspace, personas: Path) -> None:
    before = find_persona(workspace, GUILD, "mika")
    change = FactChange(id="lamp", accept=("Berta", " old  Berta ", "Berta"), reject=("lucy",))
    told = doing(workspace, DataAction.FACT, "mika", fact=change).persona
    assert told
    assert told == find_persona(workspace, GUILD, "mika")
    assert fact(told, "lamp") == Fact(
        id="lamp",
        text="The lamp is called Berta.",
        question="What is your lamp called?",
        accept=("Berta", "old Berta"),
        reject=("lucy",),
    )
    assert [one.id for one in told.facts] == ["lamp", "age"]
    assert told.model_copy(update={"facts": before.facts}) == before


def test_a_fact_is_given_a_question_and_its_words_are_cleared(workspace: Workspace, personas: Path) -> None:
    amend_fact(
        workspace, GUILD, "mika", FactChange(id="age", text="Mika is 34.", question="How old are you?", accept=("34",))
    )
    told = amend_fact(workspace, GUILD, "mika", FactChange(id="lamp", accept=()))
    assert fact(told, "age") == Fact(id="age", text="Mika is 34.", question="How old are you?", accept=("34",))
    assert fact(told, "lamp").accept == ()
    assert find_persona(workspace, GUILD, "mika") == told


def test_a_shipped_persona_becomes_the_guilds_own_with_all_it_learns_from(workspace: Workspace) -> None:
    shipped = find_persona(workspace, GUILD, "glordon")
    dialogues = written_dialogues(shipped, workspace, GUILD)
    made = composed_dialogues(shipped, workspace, GUILD).rows
    first = shipped.facts[0]
    sheet = (SHIPPED / "data" / "personas" / "glordon.md").read_bytes()
    told = amend_fact(workspace, GUILD, "glordon", FactChange(id=first.id, reject=("a teapot",)))
    assert fact(told, first.id).reject == ("a teapot",)
    assert load_cast(workspace, GUILD)["glordon"] == told
    assert written_dialogues(told, workspace, GUILD) == dialogues
    assert len(composed_dialogues(told, workspace, GUILD).rows) == len(made)
    assert (SHIPPED / "data" / "personas" / "glordon.md").read_bytes() == sheet
    assert find_persona(workspace, "78", "glordon") == shipped


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": " "}, "a fact needs a text"),
        ({"text": "x" * 601}, "text may have at most 600 characters"),
        ({"accept": ["x" * 81]}, "accept may have at most 80 characters an entry"),
        ({"reject": [str(n) for n in range(25)]}, "reject may have at most 24 entries"),
        ({"accept": ["Lucy"], "reject": ["lucy"]}, "lucy cannot both show"),
        ({"accept": ["one; two"]}, "words without ;"),
        ({"id": "age", "text": "How old is Mika? 34"}, "a sheet would not tell it like that again"),
    ],
)
def test_what_a_sheet_cannot_hold_is_refused_and_changes_nothing(
    workspace: Workspace, personas: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(FactRefused, match=said):
        amend_fact(workspace, GUILD, "mika", FactChange(**({"id": "lamp"} | change)))
    assert (personas / "mika.md").read_text() == MIKA


def test_whoever_is_not_known_is_told_with_the_choices(workspace: Workspace, personas: Path) -> None:
    with pytest.raises(UnknownFact, match=r"Mika has no fact called lamb\. Choose one of: lamp, age\."):
        doing(workspace, DataAction.FACT, "mika", fact=FactChange(id="lamb", accept=()))
    with pytest.raises(UnknownPersona):
        doing(workspace, DataAction.FACT, "nobody", fact=FactChange(id="lamp", accept=()))
    assert sorted(path.name for path in personas.glob("*.md")) == ["mika.md"]


def test_the_card_that_a_persona_came_from_stays_beside_it(
    workspace: Workspace, personas: Path, tmp_path: Path
) -> None:
    card = tmp_path / "mika.json"
    card.write_text(
        '{"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Nora", "description": "Nora keeps bees."}}'
    )
    keep(
        understand(card, [Fact(id="x", text="Nora has nine hives.", question="How many?", accept=("nine",))]),
        card,
        personas,
    )
    nora = find_persona(workspace, GUILD, "nora")
    amend_fact(workspace, GUILD, "nora", FactChange(id=nora.facts[-1].id, accept=("nine", "9")))
    assert (personas / "nora.card.json").is_file()


def test_two_who_change_one_sheet_at_a_time_are_both_in_it(workspace: Workspace, personas: Path) -> None:
    facts = [f"- f{n}: Fact number {n} is true." for n in range(12)]
    (personas / "mika.md").write_text(MIKA.replace("- age:", "\n".join([*facts, "- age:"])))

    def change(number: int) -> Callable[[], None]:
        return lambda: amend_fact(workspace, GUILD, "mika", FactChange(id=f"f{number}", accept=(str(number),))) and None

    threads = [threading.Thread(target=change(number)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = find_persona(workspace, GUILD, "mika")
    assert [fact(told, f"f{number}").accept for number in range(12)] == [(str(number),) for number in range(12)]


def test_a_fact_is_confirmed_and_a_change_that_nobody_confirms_undoes_it(workspace: Workspace, personas: Path) -> None:
    day = date(2026, 1, 31)
    amend_fact(workspace, GUILD, "mika", FactChange(id="lamp", confirmed=day))
    assert "  - accept: berta\n  - confirmed: 2026-01-31\n" in (personas / "mika.md").read_text()
    mika = find_persona(workspace, GUILD, "mika")
    assert fact(mika, "lamp") == Fact(
        id="lamp",
        text="The lamp is called Berta.",
        question="What is your lamp called?",
        accept=("berta",),
        confirmed=day,
    )
    assert fact(mika, "age").confirmed is None
    changed = amend_fact(workspace, GUILD, "mika", FactChange(id="lamp", accept=("bertha",)))
    assert fact(changed, "lamp").confirmed is None
    assert "confirmed" not in (personas / "mika.md").read_text()


def test_what_only_looks_like_a_confirmation_stays_as_it_was() -> None:
    told = parse_sheet(MIKA.replace("  - accept: berta", "  - confirmed: 2026-13-99"), "mika")
    assert [fact.confirmed for fact in told.facts] == [None] * 3
