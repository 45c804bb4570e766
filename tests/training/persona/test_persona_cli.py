"""`understudy persona build | export` and `understudy data build`, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from training.cli import build
from training.data.folder import read_card
from training.errors import UnderstudyError, UnreadableCard, UnreadableSheet
from training.persona.card import card_json, persona_from_card, write_card
from training.persona.sheet import load_cast
from training.places import TERMINAL
from training.schema import Workspace

SHEET = "Name: Mika\nBio: Mika keeps the lighthouse.\nSpeech: short\nFacts:\n- Mika counts gulls.\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def run(workspace: Workspace, *words: object) -> Result:
    result = CliRunner().invoke(build(lambda: workspace), [str(word) for word in words])
    if isinstance(result.exception, UnderstudyError):
        raise result.exception
    return result


def test_a_sheet_is_built_listed_and_exported(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "any.md").write_text(SHEET)
    (told,) = json.loads(run(workspace, "persona", "build", tmp_path / "any.md", "--json").stdout)["personas"]
    assert (told["slug"], told["facts"]) == ("mika", 1)
    assert "no greeting" in told["notes"]
    mika = load_cast(workspace, TERMINAL)["mika"]
    assert "Mika" in run(workspace, "persona", "show", "MIKA").stdout
    for name, words in (("mika.json", ("--format", "v2")), ("mika.png", ("--png",))):
        assert run(workspace, "persona", "export", "mika", "--out", tmp_path / name, *words).exit_code == 0
        assert persona_from_card(card_json(tmp_path / name)) == mika
    assert card_json(tmp_path / "mika.json")["spec"] == "chara_card_v2"


def test_a_cards_own_extras_and_picture_come_back(workspace: Workspace, tmp_path: Path) -> None:
    elio = load_cast(workspace, TERMINAL)["elio"].model_copy(update={"name": "Elio Two", "slug": "elio-two"})
    base = {"data": {"extensions": {"vendor": 1}, "tags": ["radio"]}}
    write_card(elio, tmp_path / "two.png", "v3", base=base)
    assert run(workspace, "persona", "build", tmp_path / "two.png").exit_code == 0
    run(workspace, "persona", "export", "Elio Two", "--out", tmp_path / "again.png")
    card = card_json(tmp_path / "again.png")["data"]
    assert (card["extensions"]["vendor"], card["tags"]) == (1, ["radio"])
    assert persona_from_card(card_json(tmp_path / "again.png")) == elio


def test_what_cannot_be_read_leaves_nothing_behind(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text(SHEET)
    (tmp_path / "bad.md").write_text("")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UnreadableSheet, match="'# Name' is missing"):
        run(workspace, "persona", "build", tmp_path / "good.md", tmp_path / "bad.md")
    with pytest.raises(UnreadableCard, match="line 1"):
        run(workspace, "persona", "build", tmp_path / "good.md", tmp_path / "bad.json")
    with pytest.raises(UnreadableSheet, match="two of the files"):
        run(workspace, "persona", "build", tmp_path / "good.md", tmp_path / "good.md")
    assert "mika" not in load_cast(workspace, TERMINAL)


def test_facts_may_lie_in_a_file_of_their_own(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "any.md").write_text(SHEET)
    facts = [{"question": "What is the lamp called?", "answer": "Berta", "accept": ["berta"], "reject": ["lucy"]}]
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    run(workspace, "persona", "build", tmp_path / "any.md", "--facts", tmp_path / "facts.json")
    gulls, lamp = load_cast(workspace, TERMINAL)["mika"].facts
    assert (gulls.text, lamp.question, lamp.accept, lamp.reject) == (
        "Mika counts gulls.",
        "What is the lamp called?",
        ("berta",),
        ("lucy",),
    )


def test_a_dataset_is_built_for_one_and_for_all(workspace: Workspace, tmp_path: Path) -> None:
    home = workspace.artifact_root / "guilds" / TERMINAL / "datasets"
    (one,) = json.loads(run(workspace, "data", "build", "--persona", "Lord Grigon", "--json").stdout)["datasets"]
    assert (one["name"], Path(one["folder"])) == ("lord-grigon", home / "lord-grigon")
    every = json.loads(run(workspace, "data", "build", "--persona", "all", "--json").stdout)["datasets"]
    assert [made["name"] for made in every][-1] == "cast"
    assert every[-1]["conversations"] == sum(made["conversations"] for made in every[:-1])
    assert [made["version"] for made in every if made["name"] == "lord-grigon"] == [one["version"]]
    (into,) = json.loads(
        run(
            workspace, "data", "build", "--persona", "elio", "--out", tmp_path / "林晚", "--examples", 50, "--json"
        ).stdout
    )["datasets"]
    assert into["conversations"] == 50
    assert into["name"] == "elio"
    assert read_card(tmp_path / "林晚").tokens is not None
