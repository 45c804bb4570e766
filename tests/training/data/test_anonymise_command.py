"""`understudy data anonymise` on text, rows and conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import build
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


def test_conversations_become_canonical_rows(run, tmp_path: Path) -> None:  # noqa: ANN001
    row = {"messages": [{"role": "user", "content": "i'm Zandry"}, {"role": "assistant", "content": "hi zandry"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    (tmp_path / "names.txt").write_text("Zandry\n", "utf-8")
    counts = json.loads(
        run(tmp_path / "in.jsonl", "--names", tmp_path / "names.txt", "--out", tmp_path / "o" / "x.jsonl", "--json")
    )
    assert counts["labels"] == {"PERSON": 2}
    made = json.loads((tmp_path / "o" / "x.jsonl").read_text("utf-8"))
    assert "andry" not in str(made["messages"])
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["x.jsonl"]
