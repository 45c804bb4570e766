"""`understudy data anonymise` on text, rows and conversations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.training.data.chat_exports import ANNA, BEN, KEEPER, export, said
from training.cli import build
from training.data.anonymise.anonymiser import Anonymiser
from training.data.exportmask import ExportMask
from training.data.inplace import replaced, texts
from training.schema import Workspace


@pytest.fixture
def run(tmp_path: Path):  # noqa: ANN201
    workspace = Workspace(artifact_root=tmp_path / "a", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path / "c")
    app = build(lambda: workspace)

    def call(*words: str | Path) -> str:
        result = CliRunner().invoke(app, ["data", "anonymise", *map(str, words)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_text_stays_text(run, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / "in.txt").write_text("i'm Theodora\n\nElio waits <:x:123456789012345678>\nthx Theodora", "utf-8")
    first, blank, second, third = run(tmp_path / "in.txt").split("\n")
    assert "Theodora" not in first + third
    assert (blank, second) == ("", "Elio waits <:x:123456789012345678>")
    assert first.split()[-1] == third.split()[-1]


def test_spans_count_in_the_original(run, tmp_path: Path) -> None:  # noqa: ANN001
    text = "😀 mail theo@x.org"
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": text, "n": 1}) + "\n", "utf-8")
    assert json.loads(run(tmp_path / "in.jsonl", "--spans")) == {"text": text, "spans": [[7, 17, "EMAIL"]]}
    row = json.loads(run(tmp_path / "in.jsonl"))
    assert row["n"] == 1
    assert "theo@x.org" not in row["text"]


def test_conversations_keep_their_form(run, tmp_path: Path) -> None:  # noqa: ANN001
    row = {"messages": [{"role": "user", "content": "i'm Zandry"}, {"role": "assistant", "content": "hi zandry"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    (tmp_path / "names.txt").write_text("Zandry\n", "utf-8")
    counts = json.loads(
        run(tmp_path / "in.jsonl", "--names", tmp_path / "names.txt", "--out", tmp_path / "o" / "x.jsonl", "--json")
    )
    assert counts["labels"] == {"PERSON": 2}
    assert (counts["rows"], counts["dropped"]) == (1, {})
    made = json.loads((tmp_path / "o" / "x.jsonl").read_text("utf-8"))
    assert "andry" not in str(made)
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant"]
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["x.jsonl"]


MAIL = "theo@x.org"
ROWS = [
    {"id": "a", "data": [MAIL, "b"]},
    {"instruction": "mail", "input": MAIL, "output": ""},
    {"conversations": [{"from": "human", "value": MAIL}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": MAIL}]}]},
    {"message_tree_id": "t", "prompt": {"text": MAIL, "replies": [{"text": "no", "replies": []}]}},
    {"prompt": [{"role": "user", "content": "x"}], "chosen": MAIL, "rejected": "y"},
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: next(reversed(row)))
def test_every_text_is_masked_where_it_stands(row: dict[str, Any]) -> None:
    assert MAIL in texts(row)
    made = replaced(row, lambda text: "masked" if text == MAIL else text)
    assert json.dumps(made) == json.dumps(row).replace(MAIL, "masked")


def test_no_row_is_lost_and_an_array_stays_one(run, tmp_path: Path) -> None:  # noqa: ANN001
    rows = [*ROWS, {"n": 1}, {"messages": []}]
    (tmp_path / "in.json").write_text(json.dumps(rows), "utf-8")
    counts = json.loads(run(tmp_path / "in.json", "--out", tmp_path / "x.json", "--json"))
    assert (counts["rows"], counts["dropped"], counts["labels"]) == (8, {"no text": 1}, {"EMAIL": 6})
    assert len(json.loads((tmp_path / "x.json").read_text("utf-8"))) == 7
    lines = [json.loads(line) for line in run(tmp_path / "in.json", "--spans").splitlines()]
    assert [line["text"] for line in lines] == [text for row in rows for text in texts(row)]


def test_a_carriage_return_is_no_part_of_a_line(run, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / "in.txt").write_bytes(f"hi\r\n{MAIL}\r\n".encode())
    lines = [json.loads(line) for line in run(tmp_path / "in.txt", "--spans").splitlines()]
    assert [line["text"] for line in lines] == ["hi", MAIL]
    run(tmp_path / "in.txt", "--out", tmp_path / "x.txt")
    assert re.fullmatch(rb"hi\r\nperson-\w+@example.org\r\n", (tmp_path / "x.txt").read_bytes())


def test_an_export_stays_an_export_of_nobody_who_is_known() -> None:
    talk = [
        said(ANNA, f"rose here, mail {MAIL}", 0, name="rose", mentions=[{"id": BEN, "name": "ben", "nickname": "B"}]),
        said(KEEPER, f"Hello rose, and <@{BEN}>.", 5),
    ]
    talk[0]["author"]["avatarUrl"] = f"https://cdn/avatars/{ANNA}/x.png"
    mask = ExportMask(export(talk), lambda roster, cast: Anonymiser(b"key", roster, cast), b"key")
    made = mask.masked()
    first, second = made["messages"]
    member = first["author"]
    assert not re.search(rf"rose|ben\b|theo@|\"{ANNA}\"|\"{BEN}\"|avatars", json.dumps(made))
    assert first["content"].startswith(f"{member['name']} here")
    assert second["content"] == f"Hello {member['name']}, and {first['mentions'][0]['name']}."
    assert second["author"] == talk[1]["author"]
    assert list(made) == list(export(talk))
    [name, mail] = mask.spans(talk[0]["content"])
    assert (name, mail.label) == ((0, 4, "PERSON"), "EMAIL")
