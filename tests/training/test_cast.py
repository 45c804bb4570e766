"""The cast as it ships: every sheet is whole, every dialogue is our own kind of row, and every voice is its own."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union

from training.data.read import read_conversations
from training.persona.sheet import read_sheet
from training.places import SHIPPED
from training.schema import Conversation, Fact, Persona

CAST = ("elio", "glordon", "olga", "caleb", "bryce", "lord-grigon", "ambassador-questa")
SHEETS = sorted((SHIPPED / "data" / "personas").glob("*.md"))
DIALOGUES = sorted((SHIPPED / "data" / "dialogues").glob("*.jsonl"))
KINDS = {"fact", "opinion", "feeling", "story", "relationship", "advice", "boundary", "greeting"}

each_sheet = pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)
each_file = pytest.mark.parametrize("dialogues", DIALOGUES, ids=lambda path: path.stem)


def said(rows: Iterable[Conversation], role: str) -> list[str]:
    return [message.content for row in rows for message in row.messages if message.role == role]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def written_for(sheet: Path) -> tuple[Persona, list[Conversation]]:
    return read_sheet(sheet), read_conversations(sheet.parents[1] / "dialogues" / f"{sheet.stem}.jsonl")


def says_any(text: str, phrases: Iterable[str]) -> bool:
    spoken = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(phrase))} " in spoken for phrase in phrases)


def three_word_runs(text: str) -> set[tuple[str, ...]]:
    spoken = words(text)
    return {tuple(spoken[i : i + 3]) for i in range(len(spoken) - 2)}


def near_duplicates(lines: Sequence[str], limit: float = 0.5) -> list[tuple[str, str]]:
    """Pairs of lines whose three-word runs overlap by more than `limit` (Jaccard), or that are equal."""
    runs = [three_word_runs(line) or {tuple(words(line))} for line in lines]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    pairs: set[tuple[int, int]] = set()
    for number, mine in enumerate(runs):
        for run in mine:
            pairs.update((other, number) for other in holders[run])
            holders[run].append(number)
    return [(lines[a], lines[b]) for a, b in sorted(pairs) if len(runs[a] & runs[b]) / len(runs[a] | runs[b]) > limit]


def test_the_whole_cast_is_there() -> None:
    assert sorted(path.stem for path in SHEETS) == sorted(CAST)
    assert sorted(path.stem for path in DIALOGUES) == sorted((*CAST, "general"))


@each_sheet
def test_a_sheet_is_whole(sheet: Path) -> None:
    persona = read_sheet(sheet)
    assert persona.traits
    assert persona.relationships
    assert persona.taboos
    assert persona.greeting
    assert len(persona.facts) >= 12
    assert all(fact.id.startswith(f"{persona.slug}-") for fact in persona.facts)
    assert all(fact.question and fact.accept for fact in persona.facts)
    assert len(persona.system_card().split()) <= 110, "the card is paid for in every window"


@each_sheet
def test_a_sheet_knows_only_the_cast(sheet: Path) -> None:
    persona = read_sheet(sheet)
    others = {read_sheet(other).name for other in SHEETS if other != sheet}
    assert set(persona.relationships) <= others


@each_sheet
def test_every_fact_is_told_twice_and_truly(sheet: Path) -> None:
    persona, rows = written_for(sheet)
    facts = {fact.id: fact for fact in persona.facts}
    told: dict[str, list[Conversation]] = defaultdict(list)
    for row in rows:
        if row.meta["kind"] == "fact":
            told[row.meta["fact"]].append(row)
    assert set(told) == set(facts)
    assert {fact_id: len(tellings) for fact_id, tellings in told.items() if len(tellings) < 2} == {}
    assert [row.id for fact_id, tellings in told.items() for row in tellings if denies(row, facts[fact_id])] == []
    shown = Counter(fact_id for fact_id, tellings in told.items() for row in tellings if shows(row, facts[fact_id]))
    assert [fact_id for fact_id in facts if shown[fact_id] < 2] == []


def shows(row: Conversation, fact: Fact) -> bool:
    return any(says_any(line, fact.accept) for line in said([row], "assistant"))


def denies(row: Conversation, fact: Fact) -> bool:
    return any(says_any(line, fact.reject) for line in said([row], "assistant"))


@each_sheet
def test_a_probe_never_repeats_a_question_that_was_learnt(sheet: Path) -> None:
    persona, rows = written_for(sheet)
    asked = {tuple(words(question)) for question in said(rows, "user")}
    assert [fact.id for fact in persona.facts if tuple(words(fact.question)) in asked] == []


@each_sheet
def test_the_dialogues_are_many_and_of_every_kind(sheet: Path) -> None:
    _, rows = written_for(sheet)
    assert len(said(rows, "assistant")) >= 60
    assert {row.meta["kind"] for row in rows} == KINDS
    assert sum(len(row.messages) > 2 for row in rows) >= 8


@each_sheet
def test_no_persona_leans_on_its_own_name(sheet: Path) -> None:
    persona, rows = written_for(sheet)
    lines = said(rows, "assistant")
    names = [words(name) for name in (persona.name, *persona.aliases)]
    assert not [line for line in lines if line.startswith(f"{persona.name}:")]
    assert sum(any(words(line)[: len(name)] == name for name in names) for line in lines) <= len(lines) // 20


@each_file
def test_a_row_is_ours_and_plain(dialogues: Path) -> None:
    rows = read_conversations(dialogues)
    source = "understudy-general" if dialogues.stem == "general" else "understudy-cast"
    assert {(row.source, row.license, row.lang) for row in rows} == {(source, "MIT", "en")}
    assert not [row.id for row in rows if row.messages[0].role == "system"]
    assert not [line for line in said(rows, "assistant") if len(words(line)) > 50]


@each_file
def test_no_question_comes_twice(dialogues: Path) -> None:
    asked = Counter(" ".join(words(question)) for question in said(read_conversations(dialogues), "user"))
    assert [question for question, times in asked.items() if times > 1] == []


def test_ids_are_unique() -> None:
    ids = Counter(row.id for path in DIALOGUES for row in read_conversations(path))
    assert [row_id for row_id, times in ids.items() if times > 1] == []


def test_no_two_lines_are_near_duplicates() -> None:
    lines = [line for path in DIALOGUES for line in said(read_conversations(path), "assistant")]
    assert near_duplicates(lines) == []


def test_near_duplicates_are_seen() -> None:
    lines = [
        "I like warm soup in the evening.",
        "I like warm soup in the morning.",
        "Yes.",
        "Yes!",
        "Quite another line.",
    ]
    assert near_duplicates(lines) == [(lines[0], lines[1]), (lines[2], lines[3])]


def test_with_the_names_hidden_a_reader_still_tells_who_speaks() -> None:
    """A plain classifier names the speaker of single unseen lines; whole rows are held out, so no exchange leaks."""
    names = re.compile("|".join(rf"\b{slug.split('-')[-1]}\b" for slug in CAST), re.IGNORECASE)
    spoken: list[tuple[str, str, str]] = []
    for sheet in SHEETS:
        _, rows = written_for(sheet)
        spoken += [(names.sub("NAME", line), sheet.stem, row.id) for row in rows for line in said([row], "assistant")]
    lines, speakers, rows_of = zip(*spoken, strict=True)
    reader = make_pipeline(
        make_union(
            TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2),
        ),
        LogisticRegression(C=10, max_iter=300),
    )
    guesses = cross_val_predict(reader, lines, speakers, groups=rows_of, cv=GroupKFold(4))
    right = Counter(who for who, guess in zip(speakers, guesses, strict=True) if who == guess)
    share = {who: round(right[who] / total, 2) for who, total in Counter(speakers).items()}
    assert min(share.values()) >= 0.7, share
