"""What other trainers read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from training.data.canonical import Tally
from training.data.export import NotForOpenAI, Target, export
from training.data.folder import read_card
from training.data.formats import Reading, read_any
from training.errors import EmptyDataset
from training.schema import Conversation, Message

ROLES = ("user", "assistant")


def talk(number: int, *turns: str, system: str = "") -> Conversation:
    head = (Message(role="system", content=system),) if system else ()
    said = tuple(Message(role=ROLES[i % 2], content=text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Conversation(id=str(number), source="us", license="MIT", messages=head + said)


@pytest.fixture
def rows() -> list[Conversation]:
    made = [talk(number, f"Question {number}?", "Yes.\n\nIndeed.") for number in range(9)]
    made.append(talk(9, "你好", "你好！", "再见", "再见 😀", system="You are Mira.\nYou sing."))
    made.append(talk(10, "Long?", "x" * 100_000))
    return made


@pytest.mark.parametrize("target", list(Target))
def test_what_is_exported_reads_back_as_the_same_conversations(
    tmp_path: Path, rows: list[Conversation], target: Target
) -> None:
    card = export(tmp_path / "out", "mira", rows, target)
    (file,) = (path for path in (tmp_path / "out").iterdir() if path.stem in ("train", "mira"))
    back = list(read_any(file, Reading(), Tally()))
    assert [row.messages for row in back] == [row.messages for row in rows]
    assert read_card(tmp_path / "out") == card
    assert card.conversations == len(rows)
    assert file.name in card.files
    assert "Train on it" in (tmp_path / "out" / "README.md").read_text()
    export(tmp_path / "out", "mira", rows[:-1] if target is not Target.OPENAI else rows, target)


def test_each_schema_is_the_tools_own(tmp_path: Path, rows: list[Conversation]) -> None:
    def read(target: Target, name: str) -> str:
        export(tmp_path / target, "mira", rows, target)
        return (tmp_path / target / name).read_text()

    for target in (Target.OPENAI, Target.TRL, Target.AXOLOTL):
        lines = [json.loads(line) for line in read(target, "train.jsonl").splitlines()]
        assert lines[0] == {
            "messages": [
                {"role": "user", "content": "Question 0?"},
                {"role": "assistant", "content": "Yes.\n\nIndeed."},
            ]
        }
    assert json.loads(read(Target.SHAREGPT, "train.json"))[9]["conversations"][:2] == [
        {"from": "system", "value": "You are Mira.\nYou sing."},
        {"from": "human", "value": "你好"},
    ]
    assert json.loads(read(Target.ALPACA, "train.json"))[9] == {
        "instruction": "再见",
        "input": "",
        "output": "再见 😀",
        "system": "You are Mira.\nYou sing.",
        "history": [["你好", "你好！"]],
    }


def test_configurations_name_the_file_that_is_there(tmp_path: Path, rows: list[Conversation]) -> None:
    export(tmp_path / "a", "mira", rows, Target.AXOLOTL)
    (dataset,) = yaml.safe_load((tmp_path / "a" / "axolotl.yml").read_text())["datasets"]
    assert (tmp_path / "a" / dataset["path"]).is_file()
    assert (dataset["type"], dataset["field_messages"]) == ("chat_template", "messages")
    export(tmp_path / "l", "mira", rows, Target.LLAMAFACTORY)
    entry = json.loads((tmp_path / "l" / "dataset_info.json").read_text())["mira"]
    assert (tmp_path / "l" / entry["file_name"]).is_file()
    assert entry["formatting"] == "sharegpt"


def test_what_is_lost_is_counted(tmp_path: Path, rows: list[Conversation]) -> None:
    notes = export(tmp_path / "out", "mira", rows, Target.ALPACA).notes
    assert "ids, sources and languages are left out" in notes[0]
    assert sum(note.startswith("1 conversations:") for note in notes) == 2
    assert any("65,536 tokens" in note for note in export(tmp_path / "o", "mira", rows, Target.OPENAI).notes)


def test_openais_own_rules(tmp_path: Path, rows: list[Conversation], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotForOpenAI, match="it has 9 examples, and 10 is the least"):
        export(tmp_path / "out", "mira", rows[:9], Target.OPENAI)
    monkeypatch.setattr("training.data.export.OPENAI_MOST_BYTES", 1000)
    with pytest.raises(NotForOpenAI, match="larger than"):
        export(tmp_path / "out", "mira", rows, Target.OPENAI)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", [Target.TRL, Target.ALPACA])
def test_nothing_is_not_exported(tmp_path: Path, target: Target) -> None:
    write: Callable[[], object] = lambda: export(tmp_path / "out", "mira", [], target)  # noqa: E731
    with pytest.raises(EmptyDataset):
        write()
    assert not list(tmp_path.iterdir())
