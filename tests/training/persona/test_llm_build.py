"""`understudy data build --llm`: from sheet and lore to a dataset folder, against a server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.training.persona.toy_server import Toy, toy_server
from training.cli import build
from training.data.folder import CONVERSATIONS, REJECTED, open_folder
from training.errors import LanguageModelMissing
from training.schema import LanguageModel, Workspace


def workspace(tmp_path: Path, toy: Toy | None) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts",
        dataset_warehouse=tmp_path / "warehouse",
        cache_dir=tmp_path / "cache",
        base_model="standin",
        language_model=LanguageModel(base_url=toy.url, price_in=1, price_out=1) if toy else None,
    )


def built(place: Workspace, *more: str) -> dict[str, Any]:
    app = build(lambda: place)
    result = CliRunner().invoke(app, ["data", "build", "--persona", "glordon", "--json", *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)["datasets"]
    return dict(made)


def test_a_model_writes_beside_what_is_there(tmp_path: Path) -> None:
    lore = tmp_path / "lore.md"
    lore.write_text("The bell of Tillen Bay rings under water. Its keeper is called Marrow.\n", encoding="utf-8")
    with toy_server() as toy:
        place = workspace(tmp_path, toy)
        plain = built(place, "--out", str(tmp_path / "plain"))
        made = built(place, "--llm", "20", "--world", str(lore), "--out", str(tmp_path / "more"))
        asked = len(toy.asked)
        again = built(place, "--llm", "20", "--world", str(lore), "--out", str(tmp_path / "again"))
        assert len(toy.asked) == asked, "what was answered is asked again"
    assert made["by_model"] == 20
    assert made["conversations"] == plain["conversations"] + 20
    assert made["calls"] == asked
    assert made["dollars"] == pytest.approx(asked * 150 / 1e6, abs=1e-4)
    assert again["version"] == made["version"]
    card = open_folder(tmp_path / "more")
    assert {source.name for source in card.sources} >= {"glordon-written", "glordon-composed"}
    assert any(note.startswith("toy wrote 20 dialogues") for note in card.notes)
    rejected = [json.loads(line) for line in (tmp_path / "more" / REJECTED).read_text().splitlines()]
    assert len(rejected) == made["rejected"]
    assert all(row["reason"] for row in rejected)
    rows = [json.loads(line) for line in (tmp_path / "more" / CONVERSATIONS).read_text().splitlines()]
    assert all(row["messages"][0]["role"] == "system" for row in rows), "the system card comes first"


def test_without_a_server_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelMissing, match="LLM_BASE_URL"):
        built(workspace(tmp_path, None), "--llm", "5")


def test_lore_needs_a_model(tmp_path: Path) -> None:
    lore = tmp_path / "lore.md"
    lore.write_text("Something.", encoding="utf-8")
    app = build(lambda: workspace(tmp_path, None))
    result = CliRunner().invoke(app, ["data", "build", "--persona", "glordon", "--world", str(lore)])
    assert result.exit_code == 2
    assert "--llm" in result.output
