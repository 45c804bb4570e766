"""Dataset folders: whole or not at all, with a card that tells everything."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from training.data.folder import (
    CARD,
    CONVERSATIONS,
    Account,
    check_folder,
    dataset_name,
    is_folder,
    open_folder,
    write_folder,
)
from training.data.mix import digest
from training.data.read import read_conversations
from training.data.schema import Source, Step
from training.errors import EmptyDataset, FolderTaken, UnreadableData
from training.schema import Conversation, Message


def row(number: int, answer: str = "Yes.", **fields: str) -> Conversation:
    said = (Message(role="user", content=f"{number}?"), Message(role="assistant", content=answer))
    return Conversation(id=f"row-{number}", source=fields.pop("source", "us"), messages=said, **fields)  # type: ignore[arg-type]


class Letters:
    """Counts characters."""

    name = "letters"

    def count(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)


def test_a_folder_tells_what_is_in_it(tmp_path: Path) -> None:
    rows = [row(1, "你好 😀", lang="zh", license="MIT"), row(2, "x" * 100_000), row(3, source="them", license="MIT")]
    steps = [Step(name="exact duplicates", before=4, after=3, removed={"exact duplicate": 1})]
    card = write_folder(
        tmp_path / "made",
        "made",
        iter(rows),
        steps=lambda: steps,
        counter=Letters(),
        notes=["Oversampled | twice."],
        permission="T-1",
        extra_files={"lineage.jsonl": [{"example": "row-1"}]},
    )
    assert open_folder(tmp_path / "made") == check_folder(tmp_path / "made") == card
    assert read_conversations(tmp_path / "made" / CONVERSATIONS) == rows
    assert (card.conversations, card.turns, card.languages) == (3, 6, {"en": 2, "zh": 1})
    assert card.licenses == ("MIT", "unknown")
    assert Source(name="them", license="MIT", conversations=1) in card.sources
    assert card.version == digest(rows) == digest(rows[::-1])
    assert card.steps == tuple(steps)
    assert card.tokens is not None
    assert card.tokens.buckets == {"0-127": 2, "65536-131071": 1}
    assert set(card.files) == {CONVERSATIONS, "lineage.jsonl", "README.md"}
    assert (tmp_path / "made" / "lineage.jsonl").stat().st_mode & 0o077 == 0
    shown = (tmp_path / "made" / "README.md").read_text()
    for said in ("3 conversations", "MIT, unknown", "exact duplicate: 1", "Oversampled", "T-1", "understudy train"):
        assert said in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_what_others_named_stays_text_in_the_readme(tmp_path: Path) -> None:
    strange = row(1).model_copy(update={"license": "<script>alert(1)</script>", "source": "a | b\n![x](y)"})
    write_folder(tmp_path / "made", "made.v1", [strange])
    shown = (tmp_path / "made" / "README.md").read_text()
    assert "Licences: &lt;script>alert(1)&lt;/script>." in shown
    assert "| a \\| b !\\[x](y) |" in shown
    assert "/finetune start job_name:made_v1_v1 " in shown


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def failing() -> Iterator[Conversation]:
        yield row(1)
        raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            write_folder(tmp_path / "made", "made", failing())
        assert not list(tmp_path.iterdir())
    with pytest.raises(EmptyDataset, match="made holds 0"):
        write_folder(tmp_path / "made", "made", [])
    assert not list(tmp_path.iterdir())


def test_a_failed_writing_leaves_the_older_dataset(tmp_path: Path) -> None:
    before = write_folder(tmp_path / "made", "made", [row(1)])
    with pytest.raises(EmptyDataset):
        write_folder(tmp_path / "made", "made", [])
    assert check_folder(tmp_path / "made") == before
    after = write_folder(tmp_path / "made", "made", [row(1), row(2)])
    assert check_folder(tmp_path / "made") == after != before


def test_what_is_not_a_dataset_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    write_folder(tmp_path / "notes", "notes", [row(1)])
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / CARD).write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("notes", "file", "other", "link"):
        with pytest.raises(FolderTaken, match=name):
            write_folder(tmp_path / name, "made", [row(1)])
    assert (tmp_path / "notes" / "diary.txt").read_text() == "mine"


def test_ids_are_unique_within_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", "made", [row(1), row(1, "No."), row(1, source="them")])
    assert [one.id for one in read_conversations(tmp_path / "made" / CONVERSATIONS)] == ["row-1", "row-1~2", "row-1~3"]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("", "dataset.json is not valid JSON"),
        ("{}", "dataset.json, field name: Field required"),
        ('{"name": "../x"}', "dataset.json, field name"),
        (None, "dataset.json: No such file"),
    ],
)
def test_a_bad_card_is_one_sentence(tmp_path: Path, card: str | None, said: str) -> None:
    made = tmp_path / "made"
    write_folder(made, "made", [row(1)])
    (made / CARD).unlink()
    if card is not None:
        (made / CARD).write_text(card)
    with pytest.raises(UnreadableData, match="made could not be read") as caught:
        open_folder(made)
    assert said in str(caught.value)


def test_a_changed_or_missing_file_is_found(tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_folder(made, "made", [row(1)])
    with (made / CONVERSATIONS).open("a") as file:
        file.write("\n")
    with pytest.raises(UnreadableData, match=r"made/conversations\.jsonl could not be read: it is not the file"):
        check_folder(made)
    (made / CONVERSATIONS).unlink()
    assert not is_folder(made)
    with pytest.raises(UnreadableData, match="missing"):
        open_folder(made)


def test_a_card_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_folder(made, "made", [row(1)])
    card = json.loads((made / CARD).read_text())
    card["files"] = {"../../etc/passwd": "0"}
    (made / CARD).write_text(json.dumps(card))
    with pytest.raises(UnreadableData, match="made/passwd could not be read"):
        check_folder(made)


def test_names_come_near_to_what_was_meant() -> None:
    assert [dataset_name(text) for text in ("My Set!", "../..", "数据", "a" * 60)] == [
        "my-set",
        "dataset",
        "dataset",
        "a" * 40,
    ]


def test_an_account_takes_tokens_that_are_counted_already() -> None:
    account = Account(Letters())
    account.add(row(1), tokens=500)
    histogram = account.histogram()
    assert histogram is not None
    assert (histogram.total, histogram.buckets) == (500, {"256-511": 1})
