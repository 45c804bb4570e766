"""Chat logs: which accounts may speak as whom, what comes twice, and files in every packing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from tests.training.data.chat_exports import (
    ANNA,
    BEN,
    GUILD,
    KEEPER,
    Row,
    export,
    ledger,
    policy,
    read,
    said,
    spoken,
)
from training.cli import build
from training.data.canonical import Tally
from training.data.chatlog import convert_export
from training.data.consent import ProxyList, write_ledger
from training.data.lineage import Lineage
from training.data.reading import Reading
from training.errors import PermissionMissing, UnusableLedger
from training.schema import Workspace

DAY = 86_400


# --- accounts --------------------------------------------------------------------------------------------------------


def test_a_bot_of_a_characters_name_needs_the_consent_of_its_owner() -> None:
    def talk(name: str) -> list[Any]:
        return [said(ANNA, "Hm?", 0), said("999", "Kraa.", 5, name=name, bot=True)]

    # The ledger says that the gull's words are Ben's, who agreed, and the crab's are Zoe's, who did not.
    for fields in ({"persona": None}, {"persona": "Gull"}):
        assert len(read(talk("Gull"), **fields)[0]) == 1
        assert len(read(talk("Crab"), **fields | {"persona": fields["persona"] and "Crab"})[0]) == 0
    for name, fields in (("Gull Evil Twin", {"persona": None}), ("Gull", {"persona": "Sea Gull"})):
        made, _ = read(talk(name), **fields)
        assert not made
    two = [*talk("Gull"), said(ANNA, "And?", 9), said("998", "Kraa!", 12, name="Gull", bot=True)]
    assert not read(two, persona=None)[0], "two accounts of one name"


def test_a_bot_is_the_persona_by_its_whole_name_alone() -> None:
    talk = [said(ANNA, "Hm?", 0), said("999", "Kraa.", 5, name="Gull Evil Twin", bot=True)]
    made, tally = read(talk, persona="gull")
    assert not made
    assert tally.dropped["another bot; give its whole name with --persona, or its id with --persona-author"] == 1
    for fields in (
        {"persona": "gull evil TWIN"},
        {"aliases": ("gull-evil-twin",)},
        {"persona_authors": frozenset({"999"})},
    ):
        assert read(talk, **fields)[0]


def test_another_bots_id_is_no_name() -> None:
    talk = [said(ANNA, "Hm?", 0), said("999", "Aye.", 5, name=KEEPER, bot=True)]
    assert not read(talk, persona_authors=frozenset({KEEPER}))[0]


def test_of_two_bots_of_one_name_only_the_one_that_is_named_speaks() -> None:
    talk = [
        said(ANNA, "Hm?", 0),
        said(KEEPER, "Aye.", 5),
        said(BEN, "What?", 9),
        said("999", "Nay.", 15, name="old keeper", bot=True),
    ]
    several = "two accounts speak as Old Keeper: name one with --persona-author"
    made, tally = read(talk)
    assert not made
    assert tally.dropped[several] == 2
    [made_of_one], tally = read(talk, persona_authors=frozenset({KEEPER}))
    assert spoken(made_of_one) == ["Hm?", "Aye."]
    assert tally.dropped[several] == 1
    # One that is forgotten stands in nobody's way.
    [made_of_one], tally = read(talk, consent=policy().consent.decided("999", "revoked"))
    assert spoken(made_of_one) == ["Hm?", "Aye."]


def test_a_second_bot_in_a_later_part_of_the_chat_is_refused() -> None:
    parts = [
        Row(n, export([said(ANNA, "Hm?", n * DAY), said(by, "Aye.", n * DAY + 5, name="Old Keeper", bot=True)]))
        for n, by in enumerate((KEEPER, "999"))
    ]
    made = list(convert_export(iter(parts), Reading(source="log", chatlog=policy()), Tally()))  # type: ignore[arg-type]
    assert len(made) == 1


def test_a_bot_is_known_by_its_id_and_stays_out_once_it_is_forgotten() -> None:
    lineage = Lineage()
    talk = [said(ANNA, "Hm?", 0), said(KEEPER, "Aye.", 5)]
    assert read(talk, lineage=lineage)[0]
    assert [link.authors for link in lineage.links] == [(ANNA, KEEPER)]
    assert read(talk, consent=policy().consent.decided(KEEPER, "revoked"))[1].dropped["no consent"] == 1


def test_once_webhooks_are_listed_another_one_speaks_for_nobody() -> None:
    talk = [said(ANNA, "Hm?", 0), said("92", "Kraa.", 5, name="Heron", bot=True)]
    talk[1]["author"]["discriminator"] = "0000"
    fields = {"persona": "Heron", "proxies": ProxyList({"heron": frozenset({BEN})})}
    made, tally = read(talk, **fields)
    assert not made
    assert tally.dropped["a character of nobody known"] == 1
    unlisted = policy().consent.model_copy(update={"webhooks": {}})
    assert read(talk, **fields, consent=unlisted)[0]
    # The server's own ledger lists one, whatever is brought along.
    assert not read(talk, **fields, consent=unlisted, own_ledger=lambda guild: policy().consent)[0]


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_message_is_read_once_wherever_it_comes_again() -> None:
    talk = [said(ANNA, "One?", 0), said(KEEPER, "One.", 9), said(ANNA, "Two?", 20), said(KEEPER, "Two.", 30)]
    made, tally = read([*talk, talk[0], said(ANNA, "Three?", 40), said(KEEPER, "One, again.", 50, id="m9")])
    assert [spoken(row) for row in made] == [["One?", "One.", "Two?", "Two."]]
    assert tally.dropped == {"a message that came before": 2, "no answer of a persona": 1}


def test_a_message_is_read_once_though_parts_of_a_chat_overlap() -> None:
    talk = [said(ANNA, "One?", 0), said(KEEPER, "One.", 9)]
    tally = Tally()
    parts = iter([Row(1, export(talk)), Row(2, export(talk))])
    made = list(convert_export(parts, Reading(source="log", chatlog=policy()), tally))  # type: ignore[arg-type]
    assert (len(made), tally.dropped) == (1, {"a message that came before": 2})


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(artifact_root=tmp_path / "a", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path / "c")


def inspect(workspace: Workspace, *words: str) -> Any:
    """What `understudy data inspect … --json` prints; expected errors come through."""
    result = CliRunner().invoke(build(lambda: workspace), ["data", *words, "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write(path: Path, pack: Callable[[bytes], bytes] = bytes, *, last: bool = False) -> str:
    """An export at that place; `last` puts its server behind the messages."""
    value = export([said(ANNA, f"Hm{' hm' * 9}?", 0), said(KEEPER, "Aye.", 9)])
    value = dict(reversed(value.items())) if last else value
    path.write_bytes(pack(json.dumps(value, indent=1).encode()))
    return str(path)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("log.json", bytes),
        ("log.json.gz", gzip.compress),
        ("log.json", gzip.compress),
        ("log.json.zst", zstandard.compress),
        ("log.gz", zstandard.compress),
    ],
)
def test_a_packed_export_is_known_by_what_is_in_it(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    given = write(tmp_path / name, pack)
    with pytest.raises(PermissionMissing, match=f"^{given} holds messages from Discord"):
        inspect(workspace, "inspect", given)
    recorded = ["--reference", "T-1", "--scope", GUILD, "--date", "2026-01-02"]
    inspect(workspace, "permission", "record", *recorded)
    inspect(workspace, "consent", "grant", "--user", ANNA, "--guild", GUILD)
    assert inspect(workspace, "inspect", given, "--persona", "Old Keeper")["used"] == 2
    # Wherever the file names its server.
    monkeypatch.setattr("training.commands.logs.HEAD_BYTES", 64)
    assert (
        inspect(workspace, "inspect", write(tmp_path / name, pack, last=True), "--persona", "Old Keeper")["used"] == 2
    )


def test_a_ledger_of_another_server_is_named_as_its_file_is(workspace: Workspace, tmp_path: Path) -> None:
    inspect(workspace, "permission", "record", "--reference", "T-1", "--scope", GUILD, "--date", "2026-01-02")
    write_ledger(tmp_path / "l.json", ledger().model_copy(update={"guild_id": "999"}))
    words = ["inspect", write(tmp_path / "log.json"), "--consent", str(tmp_path / "l.json")]
    with pytest.raises(UnusableLedger, match=r"^l\.json cannot be used .* of server 999, not of 100"):
        inspect(workspace, *words)
    with pytest.raises(UnusableLedger, match=r"^l\.json cannot"):
        inspect(workspace, "consent", "list", "--guild", GUILD, "--ledger", str(tmp_path / "l.json"))
