"""Permissions, consent ledgers and proxy lists: read, written, refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from training.cli import build
from training.data.consent import (
    ConsentLedger,
    ledger_path,
    permission_path,
    read_ledger,
    read_permission,
    read_proxies,
    write_ledger,
)
from training.data.scope import Place, covers
from training.errors import PermissionMissing, UnderstudyError, UnusableLedger, UnusablePermission
from training.schema import Workspace

GUILD, USER = "100", "11"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(artifact_root=tmp_path / "a", dataset_warehouse=tmp_path / "w", cache_dir=tmp_path / "c")


def data(workspace: Workspace, *words: str) -> Any:
    """What `understudy data … --json` prints; expected errors come through."""
    result = CliRunner().invoke(build(lambda: workspace), ["data", *words, "--json"])
    if isinstance(result.exception, UnderstudyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- at the terminal -------------------------------------------------------------------------------------------------


def test_a_permission_is_recorded_and_shown(workspace: Workspace) -> None:
    data(workspace, "permission", "record", "--reference", "T-1", "--scope", GUILD, "--date", "2026-01-02")
    shown = data(workspace, "permission", "show", "--guild", GUILD)
    assert shown == {"reference": "T-1", "scope": [GUILD], "date": "2026-01-02", "granted_by": "Discord"}
    assert read_permission(permission_path(workspace, GUILD), "x").quote() == "T-1 (Discord, 2026-01-02, for 100)"


@pytest.mark.parametrize(
    ("field", "value"), [("--reference", " "), ("--scope", "here"), ("--date", "tomorrow"), ("--reference", "a\nb")]
)
def test_a_permission_that_says_nothing_is_refused(workspace: Workspace, field: str, value: str) -> None:
    if value == "tomorrow":
        value = str((datetime.now(UTC) + timedelta(days=2)).date())
    options = {"--reference": "T-1", "--scope": GUILD, "--date": "2026-01-02"} | {field: value}
    words = [word for pair in options.items() for word in pair]
    with pytest.raises(UnusablePermission):
        data(workspace, "permission", "record", "--guild", GUILD, *words)
    with pytest.raises(PermissionMissing):
        data(workspace, "permission", "show", "--guild", GUILD)


def test_consent_is_granted_revoked_and_remembered(workspace: Workspace) -> None:
    data(workspace, "consent", "grant", "--guild", GUILD, "--user", USER, "--policy", "2026-01")
    assert read_ledger(ledger_path(workspace, GUILD)).allows(USER)
    assert not read_ledger(ledger_path(workspace, GUILD)).allows(USER, "publish")
    said = data(workspace, "consent", "revoke", "--guild", GUILD, "--user", USER)
    assert said["users"][USER]["status"] == "revoked"
    assert [entry["status"] for entry in said["users"][USER]["history"]] == ["granted"]
    assert not read_ledger(ledger_path(workspace, GUILD)).allows(USER)
    assert data(workspace, "consent", "list", "--guild", GUILD) == said


def test_a_new_policy_ends_old_consent(workspace: Workspace) -> None:
    data(workspace, "consent", "grant", "--guild", GUILD, "--user", USER, "--policy", "1")
    data(workspace, "consent", "grant", "--guild", GUILD, "--user", "12", "--policy", "2")
    found = read_ledger(ledger_path(workspace, GUILD))
    assert (found.allows(USER), found.allows("12")) == (False, True)


def test_a_character_is_given_to_its_member(workspace: Workspace) -> None:
    words = ["--guild", GUILD, "--user", USER, "--webhook", "91", "--name", "Gull"]
    assert data(workspace, "consent", "character", *words)["webhooks"]["91"]["characters"] == {"Gull": USER}


def test_one_servers_ledger_is_not_anothers(workspace: Workspace) -> None:
    data(workspace, "consent", "grant", "--guild", GUILD, "--user", USER)
    path = str(ledger_path(workspace, GUILD))
    with pytest.raises(UnusableLedger, match="of server 100, not of 200"):
        data(workspace, "consent", "grant", "--guild", "200", "--user", USER, "--ledger", path)


@pytest.mark.parametrize("words", [["--guild", "../x", "--user", USER], ["--guild", GUILD, "--user", "anna"]])
def test_what_is_no_id_is_refused(workspace: Workspace, words: list[str]) -> None:
    result = CliRunner().invoke(build(lambda: workspace), ["data", "consent", "grant", *words])
    assert result.exit_code == 2
    assert not workspace.artifact_root.exists()


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"policy_version":"1","users":{"11":{"status":"granted"},"11":{"status":"revoked"}}}', "twice"),
        ('{"users":{}}', "field policy_version"),
        ('{"policy_version":"1","users":{"11":{"status":"maybe"}}}', "field users.11.status"),
        ('{"policy_version":"1","users":{"anna":{"status":"granted"}}}', "field users.anna"),
    ],
)
def test_a_ledger_that_is_unclear_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "consent.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnusableLedger, match=said):
        read_ledger(path)


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ({"status": "granted", "scope": "train"}, True),
        ({"status": "Granted", "scope": "publish, train", "note": "by mail"}, True),
        ({"granted": True, "scope": ["train"], "policy_version": 1}, True),
        ({"granted": True, "scope": {"train": True, "publish": False}}, True),
        ({"granted": True, "scope": ["train"], "expires": "2999-01-01"}, True),
        ({"granted": True}, False),
        ({"granted": "yes", "scope": "train"}, False),
        ({"granted": False, "status": "granted", "scope": "train"}, False),
        ({"granted": True, "status": "revoked", "scope": "train"}, False),
        ({"status": "granted", "scope": "training"}, False),
        ({"status": "granted", "scope": "train", "revoked_at": "2026-01-01"}, False),
        ({"status": "granted", "scope": "train", "policy_version": "0"}, False),
        ({"status": "granted", "scope": "train", "expires_at": "2020-01-01"}, False),
        ({"status": "granted", "scope": ["train"], "expires": "2020-01-01T00:00:00Z"}, False),
        ({"status": "granted", "scope": ["train"], "expires": "2999-01-01", "until": "2020-01-01"}, False),
        ({"status": "granted", "scope": "train", "until": "some day"}, False),
        ({"status": "granted", "scope": {"train": "no"}}, False),
    ],
)
def test_a_ledger_of_another_hand_grants_only_what_is_plain(
    tmp_path: Path, entry: dict[str, Any], allowed: bool
) -> None:
    path = tmp_path / "consent.json"
    path.write_text(json.dumps({"policy_version": 1, "note": "ours", "users": {USER: entry}}), encoding="utf-8")
    found = read_ledger(path)
    assert found.allows(USER) is allowed
    assert not found.allows("12")
    write_ledger(path, found.decided(USER, "revoked"))
    assert json.loads(path.read_bytes())["note"] == "ours"


PORT = Place("333333333333333333", "444444444444444444", "Hollow Keep", "tavern")


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("333333333333333333", True),
        (333333333333333333, True),
        ("guild 333333333333333333", True),
        (["guild:333333333333333333"], True),
        ({"guild_id": "333333333333333333"}, True),
        ("all channels of Hollow Keep", True),
        ("the server hollow keep", True),
        ("#tavern", True),
        ("the tavern channel", True),
        ("channel tavern of Hollow Keep", True),
        ("999999999999999999", False),
        ("this server", False),
        ("everything", False),
        ("Hollow Keepers", False),
        ("tavern talk of Another Keep", False),
        ("channel #harbour of Hollow Keep", False),
        ("channel 555555555555555555 of 333333333333333333", False),
        ("333333333333333333 except channel 444444444444444444", False),
        ("Hollow Keep, which is 999999999999999999", False),
    ],
)
def test_a_scope_names_its_server_or_channel(tmp_path: Path, scope: Any, covered: bool) -> None:
    found = read_permission(_permission(tmp_path, scope=scope, note="x"), "log")
    assert any(covers(line, PORT) for line in found.scope) is covered
    if not covered:
        with pytest.raises(UnusablePermission, match=r"does not cover server 3+ \(Hollow Keep\) or channel 4+"):
            found.check(date(2026, 2, 1), PORT)


def test_words_are_completed_by_the_id_beside_them(tmp_path: Path) -> None:
    found = read_permission(_permission(tmp_path, scope="this server", guild_id=PORT.guild), "log")
    found.check(date(2026, 2, 1), PORT)
    assert found.quote() == f"T-1 (Discord, 2026-01-02, for this server, guild_id {PORT.guild})"


@pytest.mark.parametrize("key", ["date", "granted_at", "granted", "issued"])
def test_a_permissions_date_may_be_a_moment(tmp_path: Path, key: str) -> None:
    path = _permission(tmp_path, **({"date": None} | {key: "2026-01-02T10:00:00Z"}))
    assert read_permission(path, "log").date == date(2026, 1, 2)


@pytest.mark.parametrize(
    "more", [{"revoked": True}, {"status": "pending"}, {"granted": False}, {"expires_at": "2026-01-03T00:00:00Z"}]
)
def test_a_permission_that_is_over_does_not_serve(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UnusablePermission):
        read_permission(_permission(tmp_path, **more), "log").check(date(2026, 2, 1), PORT)


def _permission(folder: Path, **fields: Any) -> Path:
    told = {"reference": "T-1", "scope": PORT.guild, "date": "2026-01-02"} | fields
    path = folder / "permission.json"
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}), encoding="utf-8")
    return path


def test_a_ledger_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = ConsentLedger(policy_version="1").decided(USER, "granted", ["train"]).with_character("91", "Gull", USER)
    write_ledger(tmp_path / "consent.json", made)
    assert read_ledger(tmp_path / "consent.json") == made
    assert (tmp_path / "consent.json").stat().st_mode & 0o077 == 0


def test_proxy_lists_tell_whose_a_character_is(tmp_path: Path) -> None:
    tuppers = {"tuppers": [{"user_id": 11, "name": "Gull", "nick": "Sea Gull", "tag": "🌊"}], "groups": []}
    members = {"version": 2, "tag": "⚓", "members": [{"name": "crab", "display_name": "Old Crab"}]}
    (tmp_path / "t.json").write_text(json.dumps(tuppers), encoding="utf-8")
    (tmp_path / "p.json").write_text(json.dumps(members), encoding="utf-8")
    found = read_proxies([str(tmp_path / "t.json"), f"12={tmp_path / 'p.json'}"])
    assert found.owners["gull"] == found.owners["sea gull"] == found.owners["gull 🌊"] == {"11"}
    assert found.owners["old crab ⚓"] == {"12"}
    # Whose a system is, its export does not tell.
    assert read_proxies([str(tmp_path / "p.json")]).owners["crab"] == {""}


@pytest.mark.parametrize("text", ["{}", '{"tuppers":[{}]}', '{"tuppers":7}', '{"members":["x"]}', "nothing"])
def test_what_is_no_proxy_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    with pytest.raises(UnusableLedger, match=r"t\.json"):
        read_proxies([str(tmp_path / "t.json")])
