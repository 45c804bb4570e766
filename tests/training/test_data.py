"""Reading, finding, splitting and mixing conversations."""

import json
import os
from pathlib import Path

import pytest

from training.data import read
from training.data.catalog import dataset_names, datasets, load_dataset
from training.data.mix import digest, mix, split
from training.data.read import read_conversations
from training.errors import EmptyDataset, PathNotAllowed, UnknownDataset, UnreadableData
from training.schema import Conversation, Message, Workspace


def conversation(number: int, source: str = "us") -> Conversation:
    turns = (
        Message(role="user", content=f"Question {number}?"),
        Message(role="assistant", content=f"Answer {number}."),
    )
    return Conversation(id=f"row-{number}", source=source, messages=turns)


def line(number: int = 1) -> bytes:
    return conversation(number).model_dump_json().encode() + b"\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )
    for guild in ("1", "2"):
        (made.artifact_root / "guilds" / guild).mkdir(parents=True)
    (made.artifact_root / "runs/abc").mkdir(parents=True)
    made.dataset_warehouse.mkdir()
    return made


# --- reading -------------------------------------------------------------------------------------------------------


def test_rows_come_in_order_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line(2) + b"\n  \r\n" + line(1).rstrip(b"\n"))
    assert [row.id for row in read_conversations(path)] == ["row-2", "row-1"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"{not json}", "line 2 is not valid JSON"),
        (b'{"id":"\xff"}', "line 2 is not valid JSON in UTF-8"),
        (b"[" * 100_000, "line 2 is not valid JSON"),
        (b"[]", "line 2: "),
        (b'{"id":"x","source":"us","messages":[],"weight":1}', "line 2, field weight"),
        (b'{"id":"x","source":"us","messages":[{"role":"tool","content":"secret"}]}', "field messages.0.role"),
        (b'{"id":"x","source":"us","messages":[{"role":"user","content":"secret"}]}', "line 2: the turns must be"),
        (line(3).replace(b"Answer 3.", b" \\n "), "line 2 has a turn without words"),
        (line(1), "line 2 repeats the id of line 1"),
    ],
)
def test_a_bad_line_is_named_and_never_quoted(tmp_path: Path, bad: bytes, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + bad.rstrip(b"\n") + b"\n" + line(9))
    with pytest.raises(UnreadableData) as caught:
        read_conversations(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.jsonl could not be read: line 2")
    assert "secret" not in str(caught.value)


def test_sizes_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2).replace(b"Answer", b"A" * read.MAX_LINE_BYTES))
    with pytest.raises(UnreadableData, match="line 2 is longer than 1 MiB"):
        read_conversations(path)
    monkeypatch.setattr(read, "MAX_FILE_BYTES", 2**20)
    with pytest.raises(UnreadableData, match="larger than 1 MiB"):
        read_conversations(path)


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match="could not be read: Is a directory"):
        read_conversations(tmp_path)


# --- finding -------------------------------------------------------------------------------------------------------


def test_the_general_set_is_shipped(workspace: Workspace) -> None:
    assert "general" in dataset_names()
    rows = load_dataset("general", workspace, "1")
    assert len(rows) >= 200
    assert {row.license for row in rows} == {datasets()["general"].license}


def test_a_file_under_either_root_is_read(workspace: Workspace) -> None:
    (workspace.dataset_warehouse / "a.jsonl").write_bytes(line())
    (workspace.artifact_root / "b.jsonl").write_bytes(line())
    own = workspace.artifact_root / "guilds/1/c.jsonl"
    own.write_bytes(line())
    given = ("a.jsonl", "b.jsonl", "guilds/1/c.jsonl", str(own), "sub/../a.jsonl")
    assert [len(load_dataset(path, workspace, "1")) for path in given] == [1] * len(given)


@pytest.mark.parametrize(
    "given", ["/etc/passwd", "../outside.jsonl", "/etc/no/such/file.jsonl", "guilds/1/../../../outside.jsonl", "/"]
)
def test_a_path_outside_is_refused_whether_it_exists_or_not(workspace: Workspace, tmp_path: Path, given: str) -> None:
    (tmp_path / "outside.jsonl").write_bytes(line())
    with pytest.raises(PathNotAllowed, match="Put the file under ARTIFACT_ROOT or DATASET_WAREHOUSE"):
        load_dataset(given, workspace, "1")


def test_another_guilds_files_and_all_runs_are_refused(workspace: Workspace) -> None:
    theirs = workspace.artifact_root / "guilds/2/secret.jsonl"
    run = workspace.artifact_root / "runs/abc/metrics.jsonl"
    for path in (theirs, run):
        path.write_bytes(line())
    link = workspace.artifact_root / "guilds/1/link.jsonl"
    link.symlink_to(theirs)
    alias = workspace.dataset_warehouse / "everyone"
    alias.symlink_to(workspace.artifact_root / "guilds")
    tricks = (theirs, run, link, alias / "2/secret.jsonl", "guilds/1/../2/secret.jsonl", "guilds/2/missing.jsonl")
    for given in tricks:
        with pytest.raises(PathNotAllowed):
            load_dataset(str(given), workspace, "1")
    assert len(load_dataset(str(theirs), workspace, "2")) == 1


def test_guilds_stay_apart_where_the_artifact_root_lies_in_the_warehouse(tmp_path: Path) -> None:
    nested = Workspace(artifact_root=tmp_path / "w/artifacts", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path)
    theirs = nested.artifact_root / "guilds/2/secret.jsonl"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(line())
    with pytest.raises(PathNotAllowed):
        load_dataset("artifacts/guilds/2/secret.jsonl", nested, "1")


@pytest.mark.parametrize(
    "given", ["generel", "", "missing.jsonl", "a\0.jsonl", "x" * 300 + ".jsonl", "pipe.jsonl", "./"]
)
def test_what_is_not_there_is_answered_with_the_choices(workspace: Workspace, given: str) -> None:
    os.mkfifo(workspace.dataset_warehouse / "pipe.jsonl")
    with pytest.raises(UnknownDataset, match=r"Choose one of: .*general"):
        load_dataset(given, workspace, "1")


def test_an_empty_file_is_told_apart(workspace: Workspace) -> None:
    (workspace.dataset_warehouse / "a.jsonl").write_text("\n\n")
    with pytest.raises(UnreadableData, match=r"a\.jsonl could not be read: it holds no rows"):
        load_dataset("a.jsonl", workspace, "1")
    (workspace.dataset_warehouse / "a.jsonl").write_text('{"messages":[{"role":"user","content":"Hello?"}]}\n')
    with pytest.raises(EmptyDataset, match=r"a\.jsonl holds 0 usable conversations, and 1 is the least"):
        load_dataset("a.jsonl", workspace, "1")


@pytest.mark.parametrize("given", ["a.jsonl", "sub/../a.jsonl"])
def test_a_bad_file_is_called_what_the_asker_called_it(workspace: Workspace, given: str) -> None:
    (workspace.dataset_warehouse / "a.jsonl").write_text("{not JSON}")
    with pytest.raises(UnreadableData) as caught:
        load_dataset(given, workspace, "1")
    assert str(caught.value).startswith(f"{given} could not be read: line 1")
    assert str(workspace.dataset_warehouse) not in str(caught.value)


# --- splitting and mixing ------------------------------------------------------------------------------------------


def test_a_split_depends_on_ids_and_seed_alone() -> None:
    rows = [conversation(i) for i in range(100)]
    train, held_out = split(rows, 20, 42)
    assert (len(train), len(held_out)) == (80, 20)
    assert sorted(train + held_out, key=rows.index) == rows
    assert train == sorted(train, key=rows.index)
    assert {row.id for row in split(rows[::-1], 20, 42)[1]} == {row.id for row in held_out}
    assert split(rows, 20, 7)[1] != held_out
    assert len({row.id for row in split(rows[:99], 20, 42)[1]} & {row.id for row in held_out}) >= 19
    with pytest.raises(ValueError, match="cannot hold out 101 of 100"):
        split(rows, 101, 42)


@pytest.mark.parametrize(("share", "general"), [(0.0, 0), (0.2, 20), (0.5, 80), (0.9, 200)])
def test_a_mix_holds_the_share_that_was_asked_for(share: float, general: int) -> None:
    own, plain = [conversation(i) for i in range(80)], [conversation(i, "plain") for i in range(200)]
    rows = mix(own, plain, share, 42)
    assert sum(row.source == "plain" for row in rows) == general
    assert [row for row in rows if row.source == "us"] != own, "the rows stand in the order of the file"
    assert len({(row.source, row.id) for row in rows}) == len(rows) == 80 + general
    assert rows == mix(own[::-1], plain[::-1], share, 42)


def test_a_digest_names_the_set_and_not_its_order() -> None:
    rows = [conversation(i) for i in range(5)]
    assert digest(rows) == digest(rows[::-1])
    assert len(digest(rows)) == 12
    changed = json.loads(rows[0].model_dump_json())
    changed["messages"][1]["content"] += "!"
    assert digest([Conversation.model_validate(changed), *rows[1:]]) != digest(rows)
