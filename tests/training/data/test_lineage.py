"""From messages to examples, datasets and adapters; and what goes when somebody wishes to be forgotten."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.training.data.chat_exports import ANNA, BEN, GUILD, KEEPER, Row, export, ledger, policy, read, said, spoken
from training.cli import build
from training.data.canonical import Tally
from training.data.chatlog import convert_export
from training.data.consent import ledger_path, permission_path, read_ledger, write_ledger
from training.data.convert import Recipe, convert
from training.data.export import Target
from training.data.export import export as export_rows
from training.data.folder import CONVERSATIONS, LINEAGE, check_folder, open_folder, write_folder
from training.data.forgetting import forget, forget_messages, forgotten_messages
from training.data.lineage import Lineage, kept_links, note_data, permissions_of, read_links, remember
from training.data.reading import Reading
from training.errors import ExportNotForgotten, PermissionMissing, ServerUnknown, UnreadableData
from training.places import guild_folder
from training.runs import read_lines
from training.schema import Conversation, Message, Workspace

TALK = [
    said(ANNA, "Anna asks?", 0, id="1"),
    said(KEEPER, "Aye, once.", 9, id="2"),
    said(BEN, "Ben asks?", 10_000, id="3"),
    said(KEEPER, "Aye, twice.", 10_009, id="4"),
    said(BEN, "Ben again?", 20_000, id="5"),
    said(ANNA, "Anna, too?", 20_005, id="6"),
    said(KEEPER, "Aye, thrice.", 20_009, id="7"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(artifact_root=tmp_path / "a", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path / "c")


@pytest.fixture
def datasets(workspace: Workspace) -> Path:
    """The guild's datasets: a chat log's, a mixture that holds it, and one that has nothing to do with it."""
    home = guild_folder(workspace, GUILD) / "datasets"
    allowed = policy()
    reading = Reading(source="log", chatlog=allowed)
    rows = list(convert_export(iter([Row(1, export(TALK))]), reading, Tally()))  # type: ignore[list-item]
    write_folder(
        home / "log", "log", rows, permission=allowed.permission.quote(), extra_files={LINEAGE: allowed.lineage}
    )
    write_folder(home / "mix", "mix", [*rows, other(1)])
    write_folder(home / "other", "other", [other(2)], extra_files={"rejected.jsonl": [{"why": "dull"}]})
    return home


def other(number: int) -> Conversation:
    turns = (Message(role="user", content="Hi?"), Message(role="assistant", content="Hi."))
    return Conversation(id=f"other-{number}", source="us", messages=turns)


def learn(workspace: Workspace, run: str, rows: list[Conversation]) -> Path:
    folder = workspace.artifact_root / "runs" / run
    folder.mkdir(parents=True)
    note_data(folder, "log", rows)
    return folder


def rows_of(folder: Path) -> list[Conversation]:
    return [Conversation(**row) for row in read_lines(folder / CONVERSATIONS)]


def all_text(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


def test_the_lineage_names_messages_and_members(datasets: Path) -> None:
    links = read_links(datasets / "log")
    assert [link.messages for link in links] == [("1", "2"), ("3", "4"), ("5", "6", "7")]
    assert [link.authors for link in links] == [(ANNA, KEEPER), (BEN, KEEPER), (ANNA, BEN, KEEPER)]
    assert [link.example for link in links] == [row.id for row in rows_of(datasets / "log")]
    # Ids of messages and members stand there only.
    assert all(ANNA not in row.model_dump_json().replace(row.meta["group"], "") for row in rows_of(datasets / "log"))


def test_a_member_is_forgotten_everywhere(workspace: Workspace, datasets: Path) -> None:
    before = open_folder(datasets / "log").version
    untouched = open_folder(datasets / "other")
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    assert done.examples == 4
    assert {(one.name, one.removed) for one in done.datasets} == {("log", 2), ("mix", 2)}
    assert [row.messages[0].content for row in rows_of(datasets / "log")] == ["Ben asks?"]
    assert [row.messages[0].content for row in rows_of(datasets / "mix")] == ["Ben asks?", "Hi?"]
    card = check_folder(datasets / "log")
    assert card.version != before
    assert card.permission == policy().permission.quote()
    assert card.steps[-1].removed == {"forgotten on request": 2}
    assert "wished to be forgotten" in card.notes[-1]
    assert "Anna" not in all_text(datasets)
    assert [link.authors for link in read_links(datasets / "log")] == [(BEN, KEEPER)]
    assert check_folder(datasets / "other") == untouched


def test_forgetting_again_changes_nothing(workspace: Workspace, datasets: Path) -> None:
    forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    again = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    assert (again.examples, again.datasets, again.retrain) == (0, (), ())


def test_one_message_is_forgotten(workspace: Workspace, datasets: Path) -> None:
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", messages=["3"])
    assert done.examples == 2
    assert "Ben asks" not in all_text(datasets)


def test_a_dataset_of_which_nothing_is_left_is_gone(workspace: Workspace, datasets: Path) -> None:
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA, BEN])
    assert {one.name: one.version is None for one in done.datasets} == {"log": True, "mix": False}
    assert not (datasets / "log").exists()


def test_datasets_elsewhere_and_deleted_ones_are_known(workspace: Workspace, datasets: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    learn(workspace, "r1", rows_of(datasets / "log"))
    shutil.copytree(datasets / "log", elsewhere)
    links = Lineage(read_links(elsewhere))
    remember(workspace, elsewhere, open_folder(elsewhere), links)
    remember(workspace, datasets / "gone", open_folder(datasets / "log"), links)
    for name in ("log", "mix"):
        shutil.rmtree(datasets / name)
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    assert (done.examples, done.retrain) == (2, ("r1",))
    assert "Anna" not in all_text(elsewhere)
    assert {link.authors for link in kept_links(datasets.parent)} == {(BEN, KEEPER)}


def test_only_adapters_that_learnt_from_it_are_marked(workspace: Workspace, datasets: Path) -> None:
    rows = rows_of(datasets / "log")
    of_anna = learn(workspace, "r1", rows)
    of_ben = learn(workspace, "r2", rows[1:2])
    of_none = learn(workspace, "r3", [other(1)])
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    assert done.retrain == ("r1",)
    assert json.loads((of_anna / "retrain.json").read_bytes())["sessions"] == 2
    assert not (of_ben / "retrain.json").exists()
    assert not list(of_none.iterdir())
    assert permissions_of(rows) == [policy().permission.quote()]


def test_a_lineage_that_is_spoilt_is_named(workspace: Workspace, datasets: Path) -> None:
    with (datasets / "log" / LINEAGE).open("a") as file:
        file.write("{}\n")
    with pytest.raises(UnreadableData, match=r"log/lineage\.jsonl could not be read: line 4"):
        forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])


@pytest.mark.parametrize("given", [["--guild", GUILD], []], ids=["one server", "every server"])
def test_forget_at_the_terminal(workspace: Workspace, datasets: Path, given: list[str]) -> None:
    understudy(workspace, "data", "consent", "grant", "--guild", GUILD, "--user", ANNA, "--json")
    learn(workspace, "r1", rows_of(datasets / "log"))
    said_of_it = understudy(workspace, "data", "forget", *given, "--user", ANNA, "--json")
    assert said_of_it["examples"] == 4
    assert said_of_it["retrain"] == ["r1"]
    assert not read_ledger(ledger_path(workspace, GUILD)).allows(ANNA)
    assert read_ledger(ledger_path(workspace, GUILD)).users[ANNA].status == "revoked"


def understudy(workspace: Workspace, *words: str) -> Any:
    result = CliRunner().invoke(build(lambda: workspace), list(words))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_a_permission_to_a_forgotten_member(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "export.json", tmp_path / "out"
    file.write_text(json.dumps(export(TALK), indent=1), encoding="utf-8")
    convert = ["data", "convert", str(file), "--persona", "Old Keeper", "--out", str(out), "--json"]
    refused = CliRunner().invoke(build(lambda: workspace), convert)
    assert isinstance(refused.exception, PermissionMissing)
    assert not out.exists()
    on = ["--guild", GUILD, "--json"]
    recorded = ["--reference", "T-1", "--scope", GUILD, "--date", "2026-01-02"]
    understudy(workspace, "data", "permission", "record", *recorded, *on)
    understudy(workspace, "data", "consent", "grant", "--user", ANNA, "--user", BEN, *on)
    made = understudy(workspace, *convert)
    assert (made["rows"], made["used"], made["conversations"]) == (7, 7, 3)
    assert open_folder(out).permission == "T-1 (Discord, 2026-01-02, for 100)"
    made_of_it = [tmp_path / name for name in ("filtered", "converted", "exported")]
    for words, folder in zip((["filter"], ["convert"], ["export", "--format", "trl"]), made_of_it, strict=True):
        told = understudy(workspace, "data", *words, str(out / CONVERSATIONS), "--out", str(folder), "--json")
        assert told["card"]["permission"] == open_folder(out).permission
    known = {link.folder for link in kept_links(guild_folder(workspace, GUILD))}
    assert known == {str(folder) for folder in (out, *made_of_it)}
    brought = tmp_path / "ledger.json"
    write_ledger(brought, ledger())
    done = understudy(workspace, "data", "forget", "--user", ANNA, "--ledger", str(brought), *on)
    assert (done["examples"], len(done["datasets"]), done["exports"]) == (6, 3, [str(made_of_it[2])])
    assert not read_ledger(brought).allows(ANNA)
    for folder in (out, *made_of_it[:2]):
        assert "asks" in all_text(folder)
        assert "too?" not in all_text(folder)
        assert [link.authors for link in read_links(folder)] == [(BEN, KEEPER)]
    again = understudy(workspace, *convert, "--force")
    assert again["dropped"]["no consent"] == 2
    # Nor does a ledger that is brought along from elsewhere bring them back, wherever the file names its server.
    write_ledger(brought, ledger())
    file.write_text(json.dumps(dict(reversed(export(TALK).items())), indent=1), encoding="utf-8")
    given = str(permission_path(workspace, GUILD))
    monkeypatch.setattr("training.commands.logs.HEAD_BYTES", 8)
    again = understudy(workspace, *convert, "--force", "--consent", str(brought), "--permission", given)
    assert again["dropped"]["no consent"] == 2
    monkeypatch.undo()
    file.write_text(json.dumps(export(TALK), indent=1), encoding="utf-8")
    again = understudy(workspace, *convert, "--force", "--consent", str(brought))
    assert again["dropped"]["no consent"] == 2
    # A single message stays away as well.
    assert understudy(workspace, "data", "forget", "--message", "3", *on)["examples"] == 3
    refused = CliRunner().invoke(build(lambda: workspace), convert)
    assert "1 × forgotten" in str(refused.exception)
    assert not any(folder.exists() for folder in (out, *made_of_it[:2]))


def test_a_forgotten_message_is_not_read_and_its_answer_goes_with_it() -> None:
    made, tally = read(TALK, forgotten=lambda guild: frozenset({"3"} if guild == GUILD else ()))
    assert [spoken(row)[0] for row in made] == ["Anna asks?", "ben: Ben again?\nanna: Anna, too?"]
    assert tally.dropped == {"forgotten": 1, "answers a dropped message": 1}


def test_forgotten_messages_are_kept_with_their_server(workspace: Workspace) -> None:
    forget_messages(workspace, GUILD, ["3"])
    forget_messages(workspace, GUILD, ["1"])
    assert forgotten_messages(workspace, GUILD) == {"1", "3"}
    assert forgotten_messages(workspace, "101") == frozenset()
    path = guild_folder(workspace, GUILD) / "forgotten.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("[")
    with pytest.raises(UnreadableData, match=r"100/forgotten\.json"):
        forgotten_messages(workspace, GUILD)


@pytest.mark.parametrize("left", [".log.forgotten", ".log.part", ".log.7-9.making.old"])
def test_what_a_crash_left_is_cleared_away(workspace: Workspace, datasets: Path, left: str) -> None:
    shutil.copytree(datasets / "log", datasets / left)
    forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA, BEN])
    assert sorted(path.name for path in datasets.iterdir()) == ["mix", "other"]


def test_words_that_a_crash_left_alone_are_found(workspace: Workspace, datasets: Path) -> None:
    (datasets / "log").rename(datasets / ".log.7-9.making.old")
    (datasets / "mix").rename(datasets / ".mix.forgotten")
    assert forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA]).examples == 2
    assert sorted(path.name for path in datasets.iterdir()) == ["log", "other"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sessions": 3}'])
def test_a_run_that_does_not_tell_what_it_learnt_is_marked_and_named(
    workspace: Workspace, datasets: Path, text: str
) -> None:
    spoilt = learn(workspace, "r1", rows_of(datasets / "log")) / "data.json"
    spoilt.write_text(text)
    learn(workspace, "r2", rows_of(datasets / "log"))
    done = forget([datasets.parent], [], workspace.artifact_root / "runs", users=[ANNA])
    assert (done.retrain, done.unreadable) == (("r1", "r2"), (str(spoilt),))


def test_an_export_is_named_until_it_is_made_anew(workspace: Workspace, datasets: Path, tmp_path: Path) -> None:
    home, runs, out = datasets.parent, workspace.artifact_root / "runs", tmp_path / "x"
    card = export_rows(out, "x", rows_of(datasets / "log"), Target.SHAREGPT)
    assert card.permission == policy().permission.quote()
    remember(workspace, out, card, Lineage(read_links(datasets / "log")), export=True)
    with pytest.raises(ExportNotForgotten, match="nothing can be taken out of it"):
        forget([home], [out], runs, users=[ANNA])
    assert [forget([home], [], runs, users=[ANNA]).exports for _ in range(2)] == [(str(out),)] * 2
    card = export_rows(out, "x", rows_of(datasets / "log"), Target.SHAREGPT)
    remember(workspace, out, card, Lineage(read_links(datasets / "log")), export=True)
    assert forget([home], [], runs, users=[ANNA]).exports == ()
    shutil.rmtree(out)
    assert forget([home], [], runs, users=[BEN]).exports == ()
    assert kept_links(home) == []


def test_nobody_is_forgotten_where_no_server_is_known(workspace: Workspace, tmp_path: Path) -> None:
    asked = ["data", "forget", "--user", ANNA]
    assert isinstance(CliRunner().invoke(build(lambda: workspace), asked).exception, ServerUnknown)
    write_ledger(tmp_path / "ledger.json", ledger())
    done = understudy(workspace, *asked, "--ledger", str(tmp_path / "ledger.json"), "--json")
    assert (done["examples"], done["retrain"]) == (0, [])
    for path in (tmp_path / "ledger.json", ledger_path(workspace, GUILD)):
        assert read_ledger(path).users[ANNA].status == "revoked"


def test_a_conversion_of_chat_that_fails_leaves_no_words(tmp_path: Path) -> None:
    def full(rows: int, conversations: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "export.json"
    file.write_text(json.dumps(export(TALK)), encoding="utf-8")
    with pytest.raises(OSError, match="No space"):
        convert(file, tmp_path / "out", Recipe(Reading(chatlog=policy())), on_progress=full)
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]


def test_an_export_in_parts_is_one_dataset(workspace: Workspace, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, messages in enumerate((TALK[:2], TALK[2:])):
        (parts / f"export [part {number}].json").write_text(json.dumps(export(messages), indent=1), encoding="utf-8")
    recorded = ["--reference", "T-1", "--scope", GUILD, "--date", "2026-01-02"]
    understudy(workspace, "data", "permission", "record", *recorded, "--json")
    understudy(workspace, "data", "consent", "grant", "--user", ANNA, "--user", BEN, "--guild", GUILD, "--json")
    made = understudy(
        workspace, "data", "convert", str(parts), "--persona", "old-keeper", "--out", str(tmp_path / "out"), "--json"
    )
    assert (made["rows"], made["used"], made["conversations"]) == (7, 7, 3)
