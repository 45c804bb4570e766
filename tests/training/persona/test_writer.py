"""Dialogues written by a language model: a real server on loopback, the real client, the real checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.persona.toy_server import Toy, toy_server
from training.errors import LanguageModelFailed, RunStopped
from training.persona.checks import Checks
from training.persona.llm import Asker, json_part
from training.persona.scenes import FACTUAL, ROUNDS, cells
from training.persona.sheet import load_cast
from training.persona.writer import Writer, WritingProgress, Written
from training.schema import LanguageModel, Message, Persona, Workspace


@pytest.fixture(scope="module")
def cast() -> dict[str, Persona]:
    nowhere = Path("/nonexistent")
    return load_cast(Workspace(artifact_root=nowhere, dataset_warehouse=nowhere, cache_dir=nowhere), "1")


@pytest.fixture
def toy() -> Iterator[Toy]:
    with toy_server() as toy:
        yield toy


def unlucky(text: str) -> bool:
    """A third of all answers, always the same ones."""
    return sum(text.encode()) % 3 == 0


def server(toy: Toy) -> LanguageModel:
    return LanguageModel(base_url=toy.url, price_in=1.0, price_out=2.0)


def write(toy: Toy, cast: dict[str, Persona], journal: Path, wanted: int = 24, world: tuple[Path, ...] = ()) -> Written:
    asker = Asker(server(toy), journal)
    others = [persona for slug, persona in cast.items() if slug != "glordon"]
    return Writer(cast["glordon"], others, asker, judge=asker).write(wanted, world)


def test_dialogues_cover_facts_scenes_and_lengths(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    told: list[WritingProgress] = []
    asker = Asker(server(toy), tmp_path / "journal.jsonl")
    written = Writer(cast["glordon"], [cast["olga"]], asker, judge=asker, on_progress=told.append).write(40)
    assert len(written.conversations) == 40
    assert len({row.id for row in written.conversations}) == 40
    assert set(written.coverage["fact"]) == {fact.id for fact in cast["glordon"].facts}
    assert set(written.coverage["length"]) == set(ROUNDS)
    assert set(FACTUAL) < set(written.coverage["scene"])
    assert {len(row.messages) for row in written.conversations} == {2, 6, 12}
    assert written.usage.calls == len(toy.asked)
    assert written.usage.dollars == pytest.approx(len(toy.asked) * (100 + 2 * 50) / 1e6)
    assert (told[-1].accepted, told[-1].rejected) == (40, len(written.rejected))
    assert told[-1].usage == written.usage
    assert f"{len(toy.asked)} calls" in " ".join(written.notes())


def test_what_was_answered_is_not_asked_again(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    undisturbed = write(toy, cast, tmp_path / "whole.jsonl")
    calls = len(toy.asked)
    toy.asked.clear()
    toy.broken_after = calls // 2
    with pytest.raises(LanguageModelFailed, match="the key has run out"):
        write(toy, cast, tmp_path / "cut.jsonl")
    answered = (tmp_path / "cut.jsonl").read_bytes()
    # A crash in the middle of a line.
    (tmp_path / "cut.jsonl").write_bytes(answered + b'{"key": "half')
    kept = answered.count(b"\n")
    assert 0 < kept < calls
    toy.broken_after = None
    toy.asked.clear()
    resumed = write(toy, cast, tmp_path / "cut.jsonl")
    assert len(toy.asked) == calls - kept
    assert resumed == undisturbed


def test_servers_of_all_manners(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    plain = write(toy, cast, tmp_path / "plain.jsonl")
    toy.knows_schema = False
    assert write(toy, cast, tmp_path / "no_schema.jsonl").conversations == plain.conversations
    assert "response_format" not in toy.asked[-1]
    toy.knows_schema = True
    toy.spoil = lambda _, text: f"<think>{{hm}}</think>Here you are:\n```json\n{text}\n```"
    assert write(toy, cast, tmp_path / "fenced.jsonl").conversations == plain.conversations
    toy.spoil = lambda _, text: text
    toy.fails = {len(toy.asked) + offset for offset in (0, 3, 4)}
    assert write(toy, cast, tmp_path / "busy.jsonl").conversations == plain.conversations


def test_a_malformed_answer_is_asked_for_once_more(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    toy.spoil = lambda body, text: text[: len(text) // 2] if len(body["messages"]) == 2 and unlucky(text) else text
    written = write(toy, cast, tmp_path / "journal.jsonl")
    assert len(written.conversations) == 24
    assert any("That does not fit" in body["messages"][-1]["content"] for body in toy.asked)


def test_every_refused_dialogue_is_kept_with_its_reason(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    def spoil(_: object, text: str) -> str:
        answer = json.loads(text)
        if "cites" in answer and unlucky(text):
            answer["turns"][1]["text"] = "As an AI language model, I have no legs."
        return json.dumps(answer)

    toy.spoil = spoil
    written = write(toy, cast, tmp_path / "journal.jsonl")
    reasons = {row["reason"] for row in written.rejected}
    assert written.rejected
    assert "sounds like  to the judge" in reasons
    assert all(row["turns"] for row in written.rejected)
    assert not any("language model" in message.content for row in written.conversations for message in row.messages)


def test_lore_becomes_facts_only_with_its_quote(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    lore = tmp_path / "lore.md"
    lore.write_text("# The bay\n\nThe bell of Tillen Bay rings under water. Its keeper is called Marrow.\n")
    written = write(toy, cast, tmp_path / "journal.jsonl", 40, (lore,))
    found = {fact.id: fact for fact in written.facts if fact.id.startswith("world-")}
    assert {"The bell of Tillen Bay rings under water." in fact.text for fact in found.values()} == {True, False}
    assert {row["reason"] for row in written.rejected} >= {"the quote is not in the passage"}
    assert found.keys() & written.coverage["fact"].keys()


def test_a_server_that_is_away_is_named(cast: dict[str, Persona], tmp_path: Path) -> None:
    with toy_server() as gone:
        url = gone.url
    with pytest.raises(LanguageModelFailed, match="at http://127"):
        Asker(LanguageModel(base_url=url), tmp_path / "journal.jsonl")


def test_writing_can_be_stopped(toy: Toy, cast: dict[str, Persona], tmp_path: Path) -> None:
    asker = Asker(server(toy), tmp_path / "journal.jsonl", should_stop=lambda: len(toy.asked) >= 5)
    with pytest.raises(RunStopped):
        Writer(cast["glordon"], [], asker).write(24)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) >= 5


@pytest.mark.parametrize(("wanted", "facts"), [(1, 0), (7, 3), (90, 10), (5, 0)])
def test_cells_are_spread_evenly(cast: dict[str, Persona], wanted: int, facts: int) -> None:
    made = cells(cast["glordon"].facts[:facts], wanted, seed=1)
    assert len(made) == wanted
    counts = [sum(cell.fact == fact for cell in made) for fact in cast["glordon"].facts[:facts]]
    assert not counts or max(counts) - min(counts) <= 1
    assert made == cells(cast["glordon"].facts[:facts], wanted, seed=1)


CITED = ("glordon-legs",)
GOOD = "Eighteen legs, and all of them are waving at you, hush-soft."


@pytest.mark.parametrize(
    ("user", "character", "cites", "fault"),
    [
        ("You look busy.", GOOD, CITED, None),
        ("You look busy.", GOOD, (), "does not cite glordon-legs"),
        ("You look busy.", GOOD, ("olga-job",), "cites 'olga-job'"),
        ("You look busy.", "So many legs, I lost count.", CITED, "does not say glordon-legs"),
        ("You look busy.", "I have a hundred legs. Eighteen are tired.", CITED, "contradicts glordon-legs"),
        ("You look busy.", f"I am an AI assistant. {GOOD}", CITED, "breaks character"),
        ("How many legs are there on you?", GOOD, CITED, "asks a question that evaluation asks"),
        ("You look busy.", GOOD + " la" * 800, CITED, "longer than"),
    ],
)
def test_checks(cast: dict[str, Persona], user: str, character: str, cites: tuple[str, ...], fault: str | None) -> None:
    glordon = cast["glordon"]
    checks = Checks(glordon, {fact.id: fact for fact in glordon.facts}, [cast["olga"]])
    messages = (Message(role="user", content=user), Message(role="assistant", content=character))
    found = checks.fault(messages, cites, CITED)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_another_ones_fact_is_not_told_as_ones_own(cast: dict[str, Persona]) -> None:
    glordon, olga = cast["glordon"], cast["olga"]
    checks = Checks(glordon, {}, [olga])
    stolen = olga.facts[0].text.replace("Olga", "I").replace("She", "I")
    messages = (Message(role="user", content="And you?"), Message(role="assistant", content=f"I know: {stolen}"))
    found = checks.fault(messages, (), ())
    assert found == f"tells {olga.facts[0].id} as its own"


def test_the_same_is_not_said_twice(cast: dict[str, Persona]) -> None:
    checks = Checks(cast["glordon"], {}, [])
    messages = (Message(role="user", content="Hello"), Message(role="assistant", content=GOOD))
    assert checks.fault(messages, (), ()) is None
    assert checks.fault(messages, (), ()) == "too close to what was said before"


@pytest.mark.parametrize("text", ['{"a": 1}', ' ```json\n{"a": 1}\n``` ', '<think>{"b"</think> So: {"a": 1}. Done.'])
def test_the_json_part_of_an_answer(text: str) -> None:
    assert json.loads(json_part(text)) == {"a": 1}
