"""What a guild asks of its datasets, done once however often a crash cuts it off, and never half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.persona.toy_server import toy_server
from training.data import prepare as prepare_module
from training.data.prepare import prepare
from training.data.room import Room
from training.data.schema import DataAction, DataReport, DataSpec, Upload
from training.errors import (
    DatasetNotYours,
    DatasetTaken,
    LanguageModelMissing,
    LicenceNotAccepted,
    PermissionMissing,
    PersonaUploaded,
    RunStopped,
    TooManyDatasets,
    UnderstudyError,
    UnknownDataset,
    UploadRefused,
)
from training.places import guild_folder
from training.schema import LanguageModel, Progress, Workspace

GUILD = "77"
JOB = "a1b2c3d4e5f6"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def chats(count: int, answer: str = "{} is a number.") -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": answer.format(n)}]}
        for n in range(count)
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class Doing:
    """Does one job after the other, and counts how often a file was fetched."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.data = chats(20)
        self.fetched = 0
        self.looks: list[Progress] = []
        self.stop_after: int | None = None

    def fetch(self, upload: Upload, target: Path) -> None:
        assert target.parent.name == JOB
        self.fetched += 1
        target.write_bytes(self.data)

    def __call__(self, action: DataAction, job_id: str = JOB, most_rows: int = 1000, **spec: Any) -> DataReport:
        if action in (DataAction.UPLOAD, DataAction.VALIDATE):
            spec["upload"] = Upload(url="https://x/", filename="../../rows.jsonl", size=1)
        return prepare(
            DataSpec(action=action, guild_id=GUILD, **spec),
            self.workspace,
            job_id=job_id,
            most_rows=most_rows,
            fetch=self.fetch,
            on_progress=self.looks.append,
            should_stop=lambda: self.stop_after is not None and len(self.looks) >= self.stop_after,
        )

    @property
    def room(self) -> Room:
        return Room(self.workspace, GUILD, JOB)

    def datasets(self) -> list[str]:
        home = guild_folder(self.workspace, GUILD) / "datasets"
        return sorted(path.name for path in home.iterdir()) if home.is_dir() else []


@pytest.fixture
def do(workspace: Workspace) -> Doing:
    return Doing(workspace)


def test_a_job_that_is_done_again_reports_the_same(do: Doing) -> None:
    first = do(DataAction.UPLOAD, name="rows")
    assert first.card
    assert (first.card.conversations, do.datasets()) == (20, ["rows"])
    assert do(DataAction.UPLOAD, name="rows") == first
    assert do.fetched == 1
    assert sorted(path.name for path in do.room.folder.iterdir()) == ["report.json"]
    with pytest.raises(DatasetTaken):
        do(DataAction.UPLOAD, job_id="b" * 12, name="rows")


def test_a_crash_before_the_last_step_only_leaves_that_step(do: Doing) -> None:
    first = do(DataAction.UPLOAD, name="rows")
    shutil.move(do.room.datasets / "rows", do.room.made)
    assert do(DataAction.UPLOAD, name="rows") == first
    assert do.datasets() == ["rows"]
    assert do.fetched == 1


def test_a_stopped_job_keeps_what_it_fetched_and_leaves_no_dataset(do: Doing) -> None:
    do.data = chats(900)
    do.stop_after = 1
    with pytest.raises(RunStopped):
        do(DataAction.UPLOAD, name="rows")
    assert do.datasets() == []
    do.stop_after = None
    assert do(DataAction.UPLOAD, name="rows").inspection
    assert (do.fetched, do.datasets()) == (1, ["rows"])
    assert [look.step for look in do.looks][-5:] == [1, 201, 401, 601, 801]


def test_a_deletion_is_one_whatever_cuts_it_off(do: Doing) -> None:
    do(DataAction.UPLOAD, name="rows")
    shutil.rmtree(do.room.folder)
    do.room.folder.mkdir()
    shutil.move(do.room.datasets / "rows", do.room.folder / "removed")
    for _ in range(2):
        assert do(DataAction.DELETE, name="rows").name == "rows"
    assert do.datasets() == []
    with pytest.raises(UnknownDataset):
        do(DataAction.DELETE, job_id="b" * 12, name="rows")
    with pytest.raises(DatasetNotYours):
        do(DataAction.DELETE, job_id="c" * 12, name="general")


CARD = {"spec": "chara_card_v2", "data": {"name": "Mika", "description": "Keeps a lighthouse.", "first_mes": "Hi."}}
EXPORT = {
    "guild": {"id": "1", "name": "G"},
    "channel": {"id": "2", "name": "c"},
    "exportedAt": "2026-01-01",
    "messageCount": 1,
    "messages": [
        {
            "id": "3",
            "type": "Default",
            "timestamp": "2026-01-01T00:00:00+00:00",
            "content": "secret words",
            "author": {"id": "4", "name": "n", "isBot": False},
        }
    ],
}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (json.dumps(CARD).encode(), PersonaUploaded),
        (json.dumps(EXPORT).encode(), PermissionMissing),
        (chats(1001), UploadRefused),
        (b'{"messages": [{"role": "tool"}]}\n' * 1001, UploadRefused),
        (b"\x80\x04\x95\x00\x00", UnderstudyError),
        (b"", UnderstudyError),
    ],
)
def test_a_file_that_makes_no_dataset_leaves_nothing(do: Doing, data: bytes, error: type[Exception]) -> None:
    do.data = data
    for action in (DataAction.VALIDATE, DataAction.UPLOAD):
        with pytest.raises(error) as refused:
            do(action, name="rows")
        assert "secret words" not in str(refused.value)
        assert str(do.workspace.artifact_root) not in str(refused.value)
        assert not do.room.folder.exists()
    assert do.datasets() == []


def test_a_long_row_and_other_scripts_survive(do: Doing) -> None:
    do.data = chats(1, "灯塔🐟" * 25_000)
    assert do(DataAction.UPLOAD, name="rows").card
    (row,) = (do.room.datasets / "rows" / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(row)["messages"][1]["content"] == "灯塔🐟" * 25_000
    shown = do(DataAction.PREVIEW, job_id="b" * 12, name="rows").preview
    assert len(shown[0].messages[1].content) == prepare_module.PREVIEWED_CHARACTERS


def test_a_dataset_says_what_it_is(do: Doing) -> None:
    made = do(DataAction.UPLOAD, name="rows").card
    assert do(DataAction.INFO, job_id="b" * 12, name="rows").card == made
    assert do(DataAction.INFO, job_id="b" * 12, name="general").card is None
    assert len(do(DataAction.PREVIEW, job_id="b" * 12, name="general").preview) == prepare_module.PREVIEWED
    with pytest.raises(UnknownDataset):
        do(DataAction.INFO, job_id="b" * 12, name="nothing")
    assert sorted(path.name for path in do.room.folder.parent.iterdir()) == [JOB]


def test_there_is_a_most_of_datasets(do: Doing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "MOST_DATASETS", 1)
    do(DataAction.UPLOAD, name="one")
    shutil.rmtree(do.room.folder)
    with pytest.raises(TooManyDatasets):
        do(DataAction.UPLOAD, name="two")


def test_a_build_mixes_by_its_ratio_and_asks_for_licences(do: Doing, workspace: Workspace) -> None:
    card = do(DataAction.BUILD, name="olga-set", persona="olga", general="general", persona_share=0.8).card
    assert card
    assert card.persona == "olga"
    general = sum(source.conversations for source in card.sources if source.name == "understudy-general")
    assert abs(general / card.conversations - 0.2) < 0.02
    with pytest.raises(LanguageModelMissing):
        do(DataAction.BUILD, job_id="b" * 12, name="more", persona="olga", use_language_model=True)
    assert do.datasets() == ["olga-set"]
    shutil.rmtree(do.room.folder)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    row = {"id": "1", "source": "s", "license": "CC-BY-NC-4.0", "lang": "en", "messages": turns, "meta": {}}
    do.data = json.dumps(row).encode()
    do(DataAction.UPLOAD, name="restricted")
    asked: dict[str, Any] = {"name": "mixed", "persona": "olga", "general": "restricted"}
    with pytest.raises(LicenceNotAccepted, match="accept_licence:True"):
        do(DataAction.BUILD, job_id="c" * 12, **asked)
    assert do(DataAction.BUILD, job_id="d" * 12, **asked, accept_licence=True).card


def test_a_language_models_build_tells_of_its_answers_and_asks_for_none_twice(workspace: Workspace) -> None:
    with toy_server() as toy:
        do = Doing(workspace.model_copy(update={"language_model": LanguageModel(base_url=toy.url)}))
        asked: dict[str, Any] = {"persona": "glordon", "use_language_model": True}
        do.stop_after = 5
        with pytest.raises(RunStopped):
            do(DataAction.BUILD, name="glordon", **asked)
        do.stop_after = None
        card = do(DataAction.BUILD, name="glordon", **asked).card
        answered = len(toy.asked)
        again = do(DataAction.BUILD, job_id="b" * 12, name="again", **asked).card
        assert len(toy.asked) == answered
    assert card
    assert again
    assert card.version == again.version
    assert any(note.startswith("toy wrote") for note in card.notes)
    assert do.looks[-1].step > 0
    assert do.datasets() == ["again", "glordon"]
