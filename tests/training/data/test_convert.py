"""A source becomes a folder; what kills it on the way changes nothing in the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from training.data import convert as module
from training.data.canonical import Tally
from training.data.convert import BeingMade, ConversionStopped, Recipe, convert
from training.data.filters import exact_duplicates, length
from training.data.folder import check_folder
from training.data.formats import Reading
from training.errors import FolderTaken, NothingLeft, UnreadableData
from training.schema import Conversation, Message

ROWS = 400
ROOT = Path(__file__).resolve().parents[3]


class Words:
    """Counts words."""

    name = "words"
    note = ""

    def count(self, messages: tuple[Message, ...]) -> int:
        return sum(len(m.content.split()) for m in messages)


def recipe(max_tokens: int = 12, **changes: object) -> Recipe:
    filters = [("length", length(min_chars=12)), ("duplicates", exact_duplicates())]
    reading = Reading(license="MIT")
    return Recipe(reading=reading, filters=filters, counter=Words(), max_tokens=max_tokens, **changes)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """UltraChat rows: some short, some doubled, some without an answer, some longer than the budget."""
    path = tmp_path / "talks.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(ROWS):
            data = ["hm", "ah"] if i % 10 == 0 else [f"Question {i // 2}?", f"An answer to number {i // 2}. 🎭 你好"]
            data = [*data, "And then?", "word " * (i % 28)] if i % 7 == 0 else ["alone"] if i % 33 == 0 else data
            file.write(json.dumps({"id": f"t{i}", "data": data}) + "\n")
    return path


@pytest.fixture(autouse=True)
def frequent_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_EVERY", 10)
    monkeypatch.setattr(module, "TELL_EVERY", 5)


def lines(folder: Path) -> list[Conversation]:
    text = (folder / "conversations.jsonl").read_text(encoding="utf-8")
    return [Conversation.model_validate_json(line) for line in text.splitlines()]


def test_a_source_becomes_a_folder_whose_card_accounts_for_every_row(source: Path, tmp_path: Path) -> None:
    tally, told = Tally(), []
    card = convert(source, tmp_path / "out", recipe(), tally=tally, on_progress=lambda *now: told.append(now))
    rows = lines(tmp_path / "out")
    read, short, doubled, cut = card.steps
    assert (read.before, read.before - sum(read.removed.values())) == (ROWS, read.after)
    assert (read.after, short.after, doubled.after) == (short.before, doubled.before, cut.before)
    assert short.removed
    assert doubled.removed
    assert cut.after == card.conversations == len(rows) > cut.before
    assert card.tokens is not None
    assert card.tokens.total == sum(Words().count(row.messages) for row in rows)
    assert [source.name for source in card.sources] == ["talks"]
    assert len(card.sources[0].sha256) == 64
    assert card.licenses == ("MIT",)
    assert any("longer than 12 tokens" in note for note in card.notes)
    assert told[-1] == (ROWS, card.conversations)
    assert tally.rows == ROWS
    assert check_folder(tmp_path / "out") == card
    assert not list(tmp_path.glob(".*"))


def test_several_sources_are_one_dataset_with_unique_ids(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.jsonl"
    other.write_text(json.dumps({"id": "t1", "data": ["Something else?", "Yes, entirely."]}) + "\n")
    card = convert([source, other], tmp_path / "out", recipe())
    rows = lines(tmp_path / "out")
    assert {row.source for row in rows} == {"talks", "more"}
    assert len({row.id for row in rows}) == len(rows)
    assert {source.name: source.conversations for source in card.sources}["more"] == 1


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from training.data import convert as module
    from tests.training.data.test_convert import Words, recipe
    module.RECORD_EVERY, module.TELL_EVERY = 10, 1
    module.convert(Path({source!r}), Path({out!r}), recipe(), on_progress=lambda rows, kept: time.sleep(0.005))
"""


def killed_in_the_middle(source: Path, out: Path) -> None:
    """Convert in a process of its own, and kill it once its record tells of some work."""
    script = dedent(KILLED.format(root=str(ROOT), source=str(source), out=str(out)))
    process = subprocess.Popen([sys.executable, "-c", script])
    record = out.with_name(f".{out.name}.part.json")
    while process.poll() is None and not (record.exists() and json.loads(record.read_text())["conversations"] >= 60):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()


def test_after_kill_9_the_same_command_ends_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    whole = convert(source, tmp_path / "whole", recipe())
    out = tmp_path / "again"
    killed_in_the_middle(source, out)
    counted: list[int] = []

    class Watched(Words):
        def count(self, messages: tuple[Message, ...]) -> int:
            counted.append(1)
            return super().count(messages)

    again = convert(source, out, replace(recipe(), counter=Watched()), name="whole")
    assert (out / "conversations.jsonl").read_bytes() == (tmp_path / "whole" / "conversations.jsonl").read_bytes()
    assert again.model_copy(update={"made_at": "", "files": {}}) == whole.model_copy(
        update={"made_at": "", "files": {}}
    )
    assert len(counted) < whole.conversations
    assert not list(tmp_path.glob(".*"))


def stopped(source: Path, out: Path, asked: Recipe) -> None:
    with pytest.raises(ConversionStopped):
        convert(source, out, asked, should_stop=lambda: True)


def changed_input(source: Path) -> Iterator[Recipe]:
    source.write_text(source.read_text().replace("An answer to number 3.", "Another answer to 3."))
    yield recipe()


def changed_options(source: Path) -> Iterator[Recipe]:
    yield recipe(options={"min_chars": 13})


def changed_budget(source: Path) -> Iterator[Recipe]:
    yield recipe(max_tokens=20)


@pytest.mark.parametrize("change", [changed_input, changed_options, changed_budget])
def test_another_command_or_a_changed_source_begins_anew(source: Path, tmp_path: Path, change: object) -> None:
    out = tmp_path / "out"
    stopped(source, out, recipe())
    part = tmp_path / ".out.part" / "conversations.jsonl"
    part.write_bytes(part.read_bytes().replace(b"Question", b"Spoiling"))
    assert callable(change)
    (asked,) = change(source)
    convert(source, out, asked)
    assert b"Spoiling" not in (out / "conversations.jsonl").read_bytes()


def test_a_stopped_conversion_goes_on_and_lines_beyond_the_record_are_dropped(source: Path, tmp_path: Path) -> None:
    whole = convert(source, tmp_path / "whole", recipe())
    out = tmp_path / "out"
    stopped(source, out, recipe())
    with (tmp_path / ".out.part" / "conversations.jsonl").open("ab") as file:
        file.write(b'{"id": "half a li')
    assert convert(source, out, recipe()).version == whole.version


def test_a_dataset_is_replaced_only_once_the_new_one_is_whole(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = convert(source, out, recipe())
    stopped(source, out, recipe(max_tokens=20))
    assert check_folder(out) == first
    assert convert(source, out, recipe(max_tokens=20)).version != first.version


def test_a_bad_row_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    with source.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(UnreadableData, match=str(ROWS + 1)):
        convert(source, tmp_path / "out", recipe())
    assert {path.name for path in tmp_path.iterdir()} == {"talks.jsonl"}


def test_nothing_left_names_the_step_that_took_it_all(source: Path, tmp_path: Path) -> None:
    nobody = Recipe(filters=[("length", length(min_chars=10_000))])
    with pytest.raises(NothingLeft, match=r"length.*fewer than 10000 characters"):
        convert(source, tmp_path / "out", nobody)
    assert {path.name for path in tmp_path.iterdir()} == {"talks.jsonl"}


def test_a_folder_of_somebody_elses_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(FolderTaken):
        convert(source, tmp_path / "out", recipe())


def test_two_processes_do_not_make_the_same_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def meddle(rows: int, kept: int) -> None:
        with pytest.raises(BeingMade):
            convert(source, out, recipe())

    convert(source, out, recipe(), on_progress=meddle)
