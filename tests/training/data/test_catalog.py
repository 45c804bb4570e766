"""Finding datasets by name: shipped, a guild's own, in a warehouse, on the hub; and what is offered."""

from __future__ import annotations

import json
import os
from pathlib import Path

import datasets as library
import pyarrow as pa
import pytest
from datasets.naming import camelcase_to_snakecase

from training.data import catalog
from training.data.canonical import Tally
from training.data.catalog import datasets, load_dataset, offers, open_dataset
from training.data.folder import write_folder
from training.data.rows import OPERATORS
from training.data.warehouse import snake_cased
from training.errors import BadCatalog, DatasetUnavailable, PathNotAllowed, UnknownDataset, UnreadableData
from training.places import TERMINAL
from training.schema import Conversation, Message, Workspace

NAMED = {
    "oasst1",
    "oasst2",
    "ultrachat",
    "ultrachat_200k",
    "alpaca",
    "alpaca-gpt4",
    "belle-0.5m",
    "belle-2m",
    "firefly",
}
ASKED = [{"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}."} for n in range(3)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )
    made.dataset_warehouse.mkdir()
    return made


def write_lines(path: Path, rows: list[dict[str, str]] = ASKED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_cache(folder: Path, prefix: str, splits: dict[str, list[dict[str, str]]]) -> Path:
    """A `datasets` cache folder: <config>/<version>/<hash>/<prefix>-<split>.arrow and dataset_info.json."""
    built = folder / "default/0.0.0/abc"
    built.mkdir(parents=True)
    for split, rows in splits.items():
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(built / f"{prefix}-{split}.arrow", table.schema) as writer:
            writer.write_table(table)
    (built / "dataset_info.json").write_text(json.dumps({"splits": {split: {"name": split} for split in splits}}))
    return built


def own(name: str, workspace: Workspace, guild_id: str = "1") -> None:
    turns = (Message(role="user", content="Who?"), Message(role="assistant", content="Me."))
    rows = [Conversation(id=f"r{n}", source="us", license="MIT", messages=turns) for n in range(2)]
    write_folder(workspace.artifact_root / "guilds" / guild_id / "datasets" / name, name, rows)


# --- the rows ------------------------------------------------------------------------------------------------------


def test_the_named_datasets_are_known() -> None:
    rows = datasets()
    assert set(rows) > NAMED
    assert {name for name, row in rows.items() if row.restricted} == {
        "alpaca",
        "alpaca-gpt4",
        "belle-0.5m",
        "belle-2m",
        "firefly",
    }
    for name in NAMED:
        row = rows[name]
        assert all((row.repo, row.family, row.rows, row.rating, row.good_for, row.not_for))


def test_an_operator_adds_and_replaces_rows(workspace: Workspace) -> None:
    (workspace.dataset_warehouse / OPERATORS).write_text(
        '[house-rules]\npath = "rules.jsonl"\nlicense = "MIT"\nlang = "en"\ndescription = "Ours."\n'
        '[oasst1]\npath = "o.jsonl"\nlicense = "MIT"\nlang = "en"\ndescription = "Our own selection."\n'
    )
    write_lines(workspace.dataset_warehouse / "rules.jsonl")
    found = offers(workspace, "1")
    assert found["house-rules"].description == "Ours."
    assert "oasst1" not in found, "its file is not there"
    rows = load_dataset("house-rules", workspace, "1")
    assert [(row.source, row.license, row.lang) for row in rows] == [("house-rules", "MIT", "en")] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[mine]\nlicense = "MIT"\nlang = "en"\n', "row mine, field description: Field required"),
        ('[mine]\nlicense = "MIT"\nlang = "en"\ndescription = ""\nrating = 6\n', "row mine, field rating"),
        ('[mine]\nlicense = "MIT"\nlang = "en"\ndescription = ""\nrepo = "../x"\n', "row mine, field repo"),
        ('["MINE!"]\nlicense = "MIT"\nlang = "en"\ndescription = ""\n', "row MINE!, field name"),
        ("mine = 3\n", "mine is no table"),
        ("[mine\n", "at line 1, column"),
    ],
)
def test_an_operators_mistake_is_named(workspace: Workspace, text: str, said: str) -> None:
    (workspace.dataset_warehouse / OPERATORS).write_text(text)
    with pytest.raises(BadCatalog) as caught:
        offers(workspace, "1")
    assert said in str(caught.value)
    assert str(workspace.dataset_warehouse) not in str(caught.value)


def test_a_corrected_list_is_read_again(workspace: Workspace) -> None:
    list_ = workspace.dataset_warehouse / OPERATORS
    list_.write_text("[mine\n")
    with pytest.raises(BadCatalog):
        offers(workspace, "1")
    list_.write_text('[mine]\nrepo = "a/b"\nlicense = "MIT"\nlang = "en"\ndescription = "Ours."\n')
    os.utime(list_, (1, 1))
    assert offers(workspace, "1")["mine"].where == "hub"


# --- the warehouse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo", ["BelleGroup/train_0.5M_CN", "YeungNLP/firefly-train-1.1M", "openbmb/UltraChat"])
def test_cache_folders_are_named_as_the_library_names_them(repo: str) -> None:
    base = repo.split("/")[1]
    assert snake_cased(base) == camelcase_to_snakecase(base)


@pytest.mark.parametrize(
    "place",
    [
        "BelleGroup___train_0.5_m_cn/default/0.0.0/abc/train_0.5_m_cn-train.arrow",
        "BelleGroup___train_0.5M_CN/train.jsonl",
        "BelleGroup/train_0.5M_CN/Belle_open_source_0.5M.json",
        "datasets--BelleGroup--train_0.5M_CN/snapshots/abc/Belle_open_source_0.5M.json",
        "Belle_open_source_0.5M.json",
        "belle-0.5m/part.jsonl",
        "belle-0.5m.jsonl",
        "train_0.5M_CN/data/train-00000-of-00001.jsonl",
    ],
)
def test_a_row_is_found_under_each_of_its_names(workspace: Workspace, place: str) -> None:
    path = workspace.dataset_warehouse / place
    if path.suffix == ".arrow":
        write_cache(path.parents[3], "train_0.5_m_cn", {"train": ASKED})
    else:
        write_lines(path)
    assert offers(workspace, "1")["belle-0.5m"].where == "warehouse"
    tally = Tally()
    rows = list(open_dataset("belle-0.5m", workspace, "1", tally=tally))
    assert [row.messages[-1].content for row in rows] == ["Answer 0.", "Answer 1.", "Answer 2."]
    assert {(row.source, row.license, row.lang) for row in rows} == {("belle-0.5m", "GPL-3.0, research only", "zh")}
    assert (tally.rows, tally.used, tally.format) == (3, 3, "alpaca")


def test_only_the_splits_to_learn_from_are_read(workspace: Workspace) -> None:
    def talk(text: str) -> list[dict[str, object]]:
        return [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}]

    splits = {split: talk(split) for split in ("train_sft", "test_sft", "train_gen", "test_gen")}
    write_cache(workspace.dataset_warehouse / "HuggingFaceH4___ultrachat_200k", "ultrachat_200k", splits)
    rows = load_dataset("ultrachat_200k", workspace, "1")
    assert [row.messages[0].content for row in rows] == ["train_sft"]


def test_a_cache_that_the_library_made_is_read(workspace: Workspace, tmp_path: Path) -> None:
    write_lines(tmp_path / "alpaca/data.jsonl")
    made = tmp_path / "made"
    library.load_dataset(str(tmp_path / "alpaca"), cache_dir=str(made))
    folder = next(path for path in made.iterdir() if path.is_dir())
    folder.rename(workspace.dataset_warehouse / "tatsu-lab___alpaca")
    assert len(load_dataset("alpaca", workspace, "1")) == 3


@pytest.mark.parametrize("odd", ["default", "default/0.0.0/abc.incomplete", "x/y/z/w/v"])
def test_an_unknown_layout_is_a_sentence(workspace: Workspace, odd: str) -> None:
    (workspace.dataset_warehouse / "OpenAssistant___oasst2" / odd).mkdir(parents=True)
    with pytest.raises(UnreadableData, match="oasst2 could not be read: the folder holds no data files"):
        load_dataset("oasst2", workspace, "1")


def test_what_the_hub_does_not_give_is_a_sentence(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(repo: str, folder: Path, token: str | None) -> None:
        raise ConnectionError(f"{repo}: no network\nTraceback …")

    monkeypatch.setattr(catalog, "_fetch", away)
    assert offers(workspace, "1")["oasst2"].where == "hub"
    with pytest.raises(DatasetUnavailable, match=r"not on this machine: OpenAssistant/oasst2: no network\."):
        load_dataset("oasst2", workspace, "1")


def test_what_was_once_fetched_is_read_from_the_cache(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of a row's two repositories is asked for where the first is gone."""
    asked: list[str] = []

    def fetch(repo: str, folder: Path, token: str | None) -> None:
        asked.append(repo)
        if repo == "stingning/ultrachat":
            raise FileNotFoundError(repo)
        write_cache(folder / "openbmb___ultra_chat", "ultra_chat", {"train": ASKED})

    monkeypatch.setattr(catalog, "_fetch", fetch)
    assert len(load_dataset("ultrachat", workspace, "1")) == 3
    assert len(load_dataset("ultrachat", workspace, "1")) == 3
    assert asked == ["stingning/ultrachat", "openbmb/UltraChat"]


# --- a guild's own -------------------------------------------------------------------------------------------------


def test_a_guild_names_its_own_datasets_and_no_others(workspace: Workspace) -> None:
    own("tavern", workspace)
    assert [row.source for row in load_dataset("tavern", workspace, "1")] == ["us", "us"]
    offer = offers(workspace, "1")["tavern"]
    assert (offer.where, offer.license, offer.conversations) == ("guild", "MIT", 2)
    assert "tavern" not in offers(workspace, "2")
    with pytest.raises(UnknownDataset, match=r"Choose one of: .*oasst2"):
        load_dataset("tavern", workspace, "2")


def test_a_catalog_name_is_reserved(workspace: Workspace) -> None:
    own("general", workspace)
    assert len(load_dataset("general", workspace, "1")) > 100
    assert offers(workspace, "1")["general"].where == "shipped"


def test_a_broken_card_does_not_hide_the_other_datasets(workspace: Workspace) -> None:
    own("tavern", workspace)
    own("broken", workspace)
    (workspace.artifact_root / "guilds/1/datasets/broken/dataset.json").write_text("{")
    found = offers(workspace, "1")
    assert "tavern" in found
    assert "broken" not in found


@pytest.mark.parametrize("name", ["..", "../2/datasets/tavern", "tavern/../../../2/datasets/tavern"])
def test_a_name_cannot_lead_out_of_the_guilds_datasets(workspace: Workspace, name: str) -> None:
    own("tavern", workspace, "2")
    own("tavern", workspace, "1")
    with pytest.raises((UnknownDataset, PathNotAllowed)):
        load_dataset(name, workspace, "1")


# --- paths ---------------------------------------------------------------------------------------------------------


def test_a_folder_may_be_named(workspace: Workspace) -> None:
    write_lines(workspace.dataset_warehouse / "mine/a.jsonl")
    write_lines(workspace.dataset_warehouse / "mine/b.jsonl")
    for given in ("mine/", str(workspace.dataset_warehouse / "mine")):
        assert len(load_dataset(given, workspace, "1")) == 6


def test_a_folder_of_everybodys_is_no_dataset(workspace: Workspace) -> None:
    own("tavern", workspace, "2")
    own("tavern", workspace, "1")
    theirs = workspace.artifact_root / "guilds/2/datasets/tavern"
    for given, refused in (
        (str(workspace.artifact_root), UnknownDataset),
        (str(workspace.dataset_warehouse), UnknownDataset),
        ("guilds/", PathNotAllowed),
        (str(theirs), PathNotAllowed),
    ):
        with pytest.raises(refused):
            load_dataset(given, workspace, "1")
    assert len(load_dataset(str(theirs), workspace, "2")) == 2


def test_of_a_huge_dataset_the_same_part_is_learnt(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MOST_LEARNT", 20)
    rows = [{"id": f"q{n}", "question": f"Question {n}?", "answer": "Yes."} for n in range(200)]
    write_lines(workspace.dataset_warehouse / "a.jsonl", rows)
    write_lines(workspace.dataset_warehouse / "b/a.jsonl", rows[::-1])
    taken = load_dataset("a.jsonl", workspace, "1")
    assert len(taken) == 20
    assert [row.id for row in taken] == sorted((row.id for row in taken), key=lambda own_id: int(own_id[1:]))
    assert {row.id for row in load_dataset("b/a.jsonl", workspace, "1")} == {row.id for row in taken}


def test_only_the_terminal_reads_files_anywhere(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "own.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.chdir(file.parent)
    for named in ("own.jsonl", str(file)):
        assert len(list(open_dataset(named, workspace, TERMINAL))) == 1
        with pytest.raises((PathNotAllowed, UnknownDataset)):
            list(open_dataset(named, workspace, "1"))
    with pytest.raises(UnreadableData, match="no such file"):
        list(open_dataset("./nope.jsonl", workspace, TERMINAL))
