"""What a guild asks of its datasets, done once however often a crash cuts it off, and never half."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.persona.toy_server import toy_server
from training.data import prepare as prepare_module
from training.data.catalog import load_dataset, offers
from training.data.folder import LINEAGE, write_folder
from training.data.lineage import kept_links, permissions_of, read_links
from training.data.prepare import prepare
from training.data.room import Room
from training.data.schema import DataAction, DataReport, DataSpec, Upload
from training.errors import (
    DatasetNotYours,
    DatasetTaken,
    DiskRefused,
    LanguageModelMissing,
    LicenceNotAccepted,
    PermissionMissing,
    PersonaUploaded,
    RunStopped,
    TooManyDatasets,
    UnderstudyError,
    UnknownDataset,
    UnknownFormat,
    UnknownUpload,
    UploadRefused,
)
from training.places import guild_folder
from training.schema import Conversation, LanguageModel, Progress, Workspace

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
    assert [step.name for step in first.card.steps] == ["read", "exact duplicates"]
    assert first.card.sources[0].sha256 == hashlib.sha256(do.data).hexdigest()
    assert first.card.tokens is not None
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


def canonical(number: int, **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "A number."}]
    return {"id": str(number), "source": "s", "license": "", "lang": "en", "messages": turns, "meta": {}, **fields}


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_what_an_upload_says_of_its_origin_is_not_believed(do: Doing, workspace: Workspace) -> None:
    claims = {"session": "s", "permission": "forged", "group": "g", "weights": "1", "kind": "k"}
    row = canonical(1, source="oasst2", license="apache-2.0", meta=claims)
    do.data = lines(row)
    card = do(DataAction.UPLOAD, name="rows").card
    assert card
    assert (card.licenses, card.permission, [source.name for source in card.sources]) == (("unknown",), None, ["rows"])
    learnt = load_dataset("rows", workspace, GUILD)
    assert [made.meta for made in learnt] == [{"weights": "1", "kind": "k"}]
    elsewhere = workspace.dataset_warehouse / "forged.jsonl"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(do.data)
    assert permissions_of(load_dataset("forged.jsonl", workspace, GUILD)) == []


def test_what_is_told_of_an_upload_is_bounded(do: Doing, workspace: Workspace) -> None:
    rows = [canonical(n, source=f"{n}" * 99, license=f"NC {n} " * 99, lang=f"en-x{n}") for n in range(60)]
    do.data = lines(*rows, canonical(60, license="research " * 10**5, lang="en" + "-a1" * 10**5))
    report = do(DataAction.UPLOAD, name="rows")
    assert report.card
    assert report.inspection
    assert len(report.card.licenses) == len(report.card.languages) == prepare_module.MOST_TOLD + 1
    assert len(report.inspection.languages) == prepare_module.MOST_TOLD + 1
    assert sum(report.inspection.languages.values()) == 61
    assert len(report.model_dump_json()) < 50_000
    offer = offers(workspace, GUILD)["rows"]
    assert offer.restricted
    assert len(offer.license) <= 300
    shown = do(DataAction.PREVIEW, job_id="b" * 12, name="rows")
    assert len(shown.model_dump_json()) < 5_000


def test_rows_that_are_held_in_memory_before_any_is_used_are_counted(do: Doing) -> None:
    message = {"parent_id": None, "message_tree_id": "t", "text": "Hi", "role": "prompter"}
    do.data = lines(*({"message_id": str(n), **message} for n in range(300)))
    with pytest.raises(UploadRefused, match="it has more than 100 rows"):
        do(DataAction.UPLOAD, name="rows", most_rows=100)
    do.stop_after = 0
    with pytest.raises(RunStopped):
        do(DataAction.UPLOAD, name="rows")


def test_an_upload_may_not_take_for_ever(do: Doing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "WORK_SECONDS", -1)
    with pytest.raises(UploadRefused, match="reading it took over"):
        do(DataAction.UPLOAD, name="rows")


def test_the_first_row_of_an_unknown_format_is_told_to_one_person_alone(do: Doing) -> None:
    do.data = lines({"words": "of mine"})
    with pytest.raises(UnknownFormat, match="of mine"):
        do(DataAction.VALIDATE)
    with pytest.raises(UnknownUpload) as told:
        do(DataAction.UPLOAD, name="rows")
    assert "mine" not in str(told.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_what_the_disk_refuses_is_told_without_a_path(do: Doing, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fetch(upload: Upload, target: Path) -> None:
        target.write_bytes(b"a")
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(do, "fetch", fetch)
    with pytest.raises(DiskRefused, match=os.strerror(number)) as told:
        do(DataAction.UPLOAD, name="rows")
    assert "/" not in str(told.value)
    assert not do.room.folder.exists()


def test_a_build_with_chat_in_it_stays_within_reach_of_forgetting(do: Doing, workspace: Workspace) -> None:
    home = guild_folder(workspace, GUILD)
    meta = {"session": "s1", "permission": "P-1"}
    chat = [Conversation.model_validate(canonical(n, source="chat", meta=meta)) for n in range(40)]
    link = {"example": "0", "session": "s1", "messages": ["5"], "authors": ["9"], "guild": GUILD}
    write_folder(home / "datasets" / "chat", "chat", chat, permission="P-1", extra_files={LINEAGE: [link]})
    assert offers(workspace, GUILD)["chat"].from_chat
    card = do(DataAction.BUILD, name="mixed", persona="olga", general="chat", persona_share=0.5).card
    assert card
    assert (card.permission, [step.name for step in card.steps]) == ("P-1", ["mix"])
    assert card.steps[0].after == card.conversations
    assert [row.session for row in read_links(home / "datasets" / "mixed")] == ["s1"]
    assert [(kept.dataset, Path(kept.folder).name) for kept in kept_links(home)] == [("mixed", "mixed")]
    assert permissions_of(load_dataset("mixed", workspace, GUILD)) == ["P-1"]
    assert offers(workspace, GUILD)["mixed"].from_chat


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
