"""What a run keeps of where its adapter comes from, of chats, pairs and earlier runs too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.runs_made import base_at, provenance, workspace_at
from training import models
from training.course import Stage
from training.data.preferences import Preference
from training.lessons import Lessons
from training.material import Material
from training.models import Loaded
from training.provenance import PROVENANCE_FILE, provenance_of, read_provenance, write_provenance
from training.schema import Conversation, Message

CHAT = {"session": "s1", "permission": "T-1 (Discord, 2026-01-01, for 1)"}


def row(name: str, license: str = "MIT", lang: str = "en", meta: dict[str, str] | None = None) -> Conversation:
    said = (Message(role="user", content="Hi"), Message(role="assistant", content="Yo"))
    return Conversation(id=name, source=name, license=license, lang=lang, messages=said, meta=meta or {})


def material(batch_size: int) -> Material:
    return Material((Stage((), 1, 8), Stage((), 3, batch_size)), (), (), 3e-4)


@pytest.fixture(params=[False, True], ids=["fp32", "nf4"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> Loaded:
    base_at(tmp_path / "base")
    source = str(tmp_path / "base")
    return models.load(models.base_at(source), source, workspace_at(tmp_path), quantised=request.param)


def test_a_run_keeps_what_it_learnt_from_and_how(loaded: Loaded, request: pytest.FixtureRequest) -> None:
    lessons = Lessons((), (row("a"), row("b", "", "de", CHAT)), (row("held", "GPL-3.0"),), opening=(row("a"), row("c")))
    found = provenance_of(lessons, material(16), loaded, None)
    assert found.weights == ("nf4" if "nf4" in request.node.name else "float32")
    assert (found.learning_rate, found.batch_size, found.opening) == (3e-4, 16, 2)
    assert [(s.name, s.license, s.conversations) for s in found.data] == [
        ("a", "MIT", 2),
        ("b", "", 1),
        ("c", "MIT", 1),
    ]
    assert found.licenses == ("MIT", "unknown")
    assert (found.languages, found.permissions, found.chats) == (("de", "en"), (CHAT["permission"],), 1)


def test_the_rejected_answer_of_a_pair_is_learnt_from_too(tmp_path: Path) -> None:
    base_at(tmp_path / "base")
    source = str(tmp_path / "base")
    loaded = models.load_as_stored(models.base_at(source), source, workspace_at(tmp_path))
    pair = Preference(chosen=row("votes"), rejected=row("votes", meta=CHAT))
    found = provenance_of(Lessons((), (pair.chosen,), (), pairs=(pair,)), material(4), loaded, None)
    assert (found.pairs, found.chats, len(found.permissions)) == (1, 1, 1)


def test_an_earlier_runs_provenance_goes_along_and_is_not_made_up(tmp_path: Path) -> None:
    earlier, older = tmp_path / "earlier", tmp_path / "older"
    earlier.mkdir()
    older.mkdir()
    kept = provenance(permissions=("T-2",), begun_from=read_provenance(older, "somebody/model"))
    write_provenance(earlier, kept)
    found = read_provenance(earlier, "nowhere")
    assert found == kept
    assert [run.recorded for run in found.runs] == [True, False]
    (earlier / PROVENANCE_FILE).write_text("{half")
    assert not read_provenance(earlier, "somebody/model").recorded
