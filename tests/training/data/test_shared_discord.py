"""The shared role-play channel becomes what its expectations say."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from training.data.anonymise.anonymiser import Anonymiser
from training.data.canonical import Tally
from training.data.chatlog import ChatLogPolicy
from training.data.consent import Permission, read_ledger, read_proxies
from training.data.formats import Reading, read_any
from training.errors import PermissionMissing
from training.schema import Conversation

DISCORD = Path(__file__).resolve().parents[4] / "shared" / "data" / "discord"
CHANNEL = DISCORD / "rp_channel"
EXPORT = CHANNEL / "dce_export.json"
PERMISSION = Permission(reference="T-1", scope=("100000000000000001",), date=date(2026, 1, 2))

pytestmark = pytest.mark.skipif(not EXPORT.exists(), reason="the shared samples are not here")


def convert(persona: str | None, **fields: Any) -> tuple[list[Conversation], Tally]:
    policy = ChatLogPolicy(
        permission=PERMISSION,
        consent=read_ledger(CHANNEL / "consent_ledger.json"),
        persona=persona,
        anonymiser=lambda roster, characters: Anonymiser(b"key", roster, characters),
        **fields,
    )
    tally = Tally()
    return list(read_any(EXPORT, Reading(chatlog=policy), tally)), tally


@pytest.fixture(scope="module")
def sessions() -> list[Conversation]:
    return convert("Elio Solis")[0]


def text_of(conversation: Conversation) -> str:
    return "\n".join(message.content for message in conversation.messages)


def users(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages if message.role == "user"]


def test_the_sessions_are_those_expected(sessions: list[Conversation]) -> None:
    expected = json.loads((CHANNEL / "expectations.json").read_bytes())["sessions"]
    assert len(sessions) == len(expected)
    for conversation, wanted in zip(sessions, expected, strict=True):
        for words in wanted.get("must_not_contain", ()):
            assert words not in text_of(conversation)
    assert len(users(sessions[0])) == expected[0]["user_turns"]
    assert users(sessions[0])[0] == expected[0]["first_user"]


def test_an_email_has_one_pseudonym_in_both_turns(sessions: list[Conversation]) -> None:
    asked, answered = (re.findall(r"\S+@[\w.-]+\w", sessions[1].messages[turn].content) for turn in (2, 3))
    assert len(asked) == 1
    assert asked == answered


def test_the_webhooks_characters_are_told_apart(sessions: list[Conversation]) -> None:
    spoken = [message.content for message in sessions[2].messages]
    assert spoken[1::2] == ['"Turn back to what?"', '"...Fine. Ten degrees south."']
    assert spoken[2] == "Mira: Elio, enough. Let her steer."
    assert spoken[0].endswith(': "Then we should turn back."')


def test_no_member_is_named(sessions: list[Conversation]) -> None:
    everything = "\n".join(row.model_dump_json() for row in sessions)
    assert not re.search(r"mara|theo|zed|31000000000000000", everything, re.IGNORECASE)
    assert "<:sadcat:812345678901234567>" in everything


def test_every_message_is_accounted_for() -> None:
    _, tally = convert("Elio Solis")
    assert (tally.rows, tally.used) == (43, 22)
    assert tally.rows == tally.used + sum(tally.dropped.values())


def test_without_a_persona_mira_has_a_conversation_too() -> None:
    made, _ = convert(None)
    # The ledger knows Elio by name, and no other bot bears it.
    assert [row.meta["persona"] for row in made] == ["Elio Solis", "Elio Solis", "Elio Solis", "Mira", "Elio Solis"]


@pytest.mark.parametrize("name", ["tupperbox_export_fixture.json", "310000000000000002=pluralkit_export_fixture.json"])
def test_a_proxy_list_tells_whose_elio_is(name: str, sessions: list[Conversation]) -> None:
    owner, _, file = name.rpartition("=")
    proxies = read_proxies([f"{owner}={DISCORD / file}" if owner else str(DISCORD / file)])
    assert proxies.owners["elio solis"] == {"310000000000000002"}
    assert convert("elio-solis", proxies=proxies)[0] == sessions


def test_without_permission_it_is_refused() -> None:
    with pytest.raises(PermissionMissing, match="express permission"):
        list(read_any(EXPORT, Reading(), Tally()))
