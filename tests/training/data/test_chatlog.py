"""Chat logs: who answers whom, what is left out, and that nobody is used who did not agree."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.chat_exports import (
    ANNA,
    BEN,
    GUILD,
    KEEPER,
    WEBHOOK,
    ZOE,
    Row,
    export,
    policy,
    read,
    said,
    spoken,
)
from training.data.canonical import Tally
from training.data.chatlog import convert_export
from training.data.consent import Entry, Permission, ProxyList
from training.data.reading import Reading
from training.errors import PermissionMissing, UnreadableData, UnusableLedger, UnusablePermission
from training.schema import Conversation

DAY = 86_400


# --- turns -----------------------------------------------------------------------------------------------------------


def test_lines_of_one_speaker_are_one_turn() -> None:
    [made], _ = read(
        [said(ANNA, "Hello?", 0), said(ANNA, "Anyone?", 60), said(KEEPER, "Here.", 90), said(KEEPER, "Sit.", 99)]
    )
    assert spoken(made) == ["Hello?\nAnyone?", "Here.\nSit."]
    assert made.meta["persona"] == "Old Keeper"
    assert made.license == "consent of its authors"


def test_half_an_hour_of_silence_ends_a_session() -> None:
    talk = [said(ANNA, "One?", 0), said(KEEPER, "One.", 9), said(ANNA, "Two?", 1800), said(KEEPER, "Two.", 1810)]
    assert len(read(talk)[0]) == 1
    later = [said(ANNA, "Three?", 1810 + 1801), said(KEEPER, "Three.", 1810 + 1805)]
    one, other = read(talk + later)[0]
    assert one.meta["group"] != other.meta["group"]


def test_bots_keep_no_session_open() -> None:
    noise = [said("77", "level up", at, bot=True) for at in range(600, 3600, 600)]
    talk = [said(ANNA, "One?", 0), said(KEEPER, "One.", 9), *noise, said(ANNA, "2?", 3700), said(KEEPER, "2.", 3710)]
    assert len(read(talk)[0]) == 2


def test_a_reference_counts_more_than_what_stands_next() -> None:
    [made], tally = read(
        [
            said(ANNA, "Who are you?", 0, id="q"),
            said(BEN, "And how old?", 5),
            said(KEEPER, "The keeper.", 20, to="q"),
            said(BEN, "So how old?", 30),
            said(KEEPER, "Very.", 40),
        ]
    )
    assert spoken(made) == ["anna: Who are you?", "The keeper.", "ben: So how old?", "Very."]
    assert tally.dropped == {"no answer of a persona": 1}


def test_a_late_reference_joins_the_answer_it_belongs_to() -> None:
    [made], _ = read(
        [
            said(ANNA, "Who?", 0, id="q"),
            said(KEEPER, "Me.", 9),
            said(ANNA, "Why?", 20),
            said(KEEPER, "Because.", 30),
            said(KEEPER, "Only me, I mean.", 40, to="q"),
        ]
    )
    assert spoken(made) == ["Who?", "Me.\nOnly me, I mean.", "Why?", "Because."]


def test_an_unprompted_line_is_no_answer() -> None:
    [made], tally = read(
        [said(KEEPER, "Storm.", 0), said(ANNA, "Oh?", 5), said(KEEPER, "Yes.", 9), said(KEEPER, "Well.", 900)]
    )
    assert spoken(made) == ["Oh?", "Yes."]
    assert tally.dropped == {"answers nothing": 2}


def test_one_webhook_speaks_for_several_characters() -> None:
    """Both have the webhook's author id: only the name tells them apart."""
    talk = [
        said(ANNA, "Who steers?", 0),
        said(WEBHOOK, "I do.", 5, name="Gull"),
        said(WEBHOOK, "You never.", 9, name="Crab"),
        said(WEBHOOK, "I do, too.", 15, name="Gull"),
    ]
    [made], _ = read(talk, persona="gull", consent=policy().consent.decided(ZOE, "granted", ["train"]))
    assert spoken(made) == ["anna: Who steers?", "I do.", "Crab: You never.", "I do, too."]
    # Zoe, whose words the crab speaks, has not agreed.
    [made], tally = read(talk, persona="gull")
    assert spoken(made) == ["Who steers?", "I do."]
    assert tally.dropped == {"no consent": 1, "answers a dropped message": 1}


def test_without_a_persona_each_known_character_has_conversations_of_its_own() -> None:
    made, tally = read([said(ANNA, "Hm?", 0), said(WEBHOOK, "Kraa.", 5), said(ANNA, "?!", 9)], persona=None)
    assert [row.meta["persona"] for row in made] == ["Gull"]
    assert tally.used == 2


def test_a_member_may_be_the_persona_where_that_is_said() -> None:
    talk = [said(ANNA, "Hm?", 0), said(BEN, "I am the keeper.", 5)]
    [made], _ = read(talk, persona_authors=frozenset({BEN}))
    assert spoken(made) == ["Hm?", "I am the keeper."]
    assert made.meta["persona"] == "Old Keeper"
    assert not read([said(ANNA, "Hm?", 0), said(ZOE, "I am.", 5)], persona_authors=frozenset({ZOE}))[0]


def test_a_proxys_reply_link_counts_as_a_reference() -> None:
    link = {"description": f"**[Reply to:](https://discord.com/channels/{GUILD}/200/900)** so"}
    [made], _ = read(
        [said(ANNA, "A?", 0, id="900"), said(BEN, "B?", 5, id="901"), said(WEBHOOK, "To A.", 9, embeds=[link])],
        persona="Gull",
    )
    assert spoken(made) == ["A?", "To A."]


def test_a_mention_of_the_persona_becomes_its_name() -> None:
    [made], _ = read([said(ANNA, f"<@{KEEPER}> <:wave:123> at <t:1764000000:R>?", 0), said(KEEPER, "Aye.", 9)])
    assert spoken(made)[0] == "Old Keeper <:wave:123> at <t:1764000000:R>?"


def test_an_export_in_reverse_order_reads_the_same() -> None:
    talk = [said(ANNA, "One?", 0), said(KEEPER, "One.", 9), said(ANNA, "Two?", DAY), said(KEEPER, "Two.", DAY + 9)]
    forward, backward = read(talk)[0], read(reversed(talk))[0]
    assert sorted(map(spoken, forward)) == sorted(map(spoken, backward))


# --- what is left out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("((brb phone))", "out of character"),
        ("(ooc: fade to black?)", "out of character"),
        ("// sure, brb", "out of character"),
        ("[ooc] one moment", "out of character"),
        ("OOC: who plays the crab", "out of character"),
        ("((never closed", "out of character"),
        ("!rank", "command"),
        ("/roll 2d6", "command"),
        ("pk;switch", "command"),
        ("https://example.org/a <https://example.org/b>", "links only"),
        (" \u200b\n", "no text"),
        ("> what zoe said", "out of character"),
    ],
)
def test_what_is_not_said_in_character_is_dropped(text: str, reason: str) -> None:
    [made], tally = read([said(ANNA, "Hello?", 0), said(ANNA, text, 5), said(KEEPER, "Aye.", 9)])
    assert spoken(made) == ["Hello?", "Aye."]
    assert tally.dropped == {reason: 1}


@pytest.mark.parametrize(
    "text", ["...Fine.", "?!", "“!”", "*waves* (softly)", "see https://example.org", "吃了吗？", "🌊"]
)
def test_what_is_said_in_character_stays(text: str) -> None:
    [made], _ = read([said(ANNA, text, 0), said(KEEPER, "Aye.", 9)])
    assert spoken(made)[0] == text


def test_an_aside_or_a_quotation_within_a_message_goes() -> None:
    [made], _ = read([said(ANNA, "> zoe: secret\n*sits* ((brb)) Hello?\n// later", 0), said(KEEPER, "Aye.", 9)])
    assert spoken(made)[0] == "*sits*  Hello?"


def test_system_messages_bots_and_deleted_users_are_dropped() -> None:
    _, tally = read(
        [
            said(ANNA, "pinned", 0, type="ChannelPinnedMessage"),
            said("77", "level up", 1, bot=True),
            said("456226577798135808", "hello", 2, name="Deleted User"),
            said(KEEPER, "Aye.", 3, interaction={"id": "5"}),
            said(WEBHOOK, "Build failed", 4, name="Pipeline"),
            "not a message",
            said(ANNA, "x", 6, timestamp="soon"),
        ]
    )
    assert tally.dropped == {
        "system message": 1,
        "another bot": 1,
        "deleted user": 1,
        "answer to a command": 1,
        "a character of nobody known": 1,
        "not a message": 2,
    }


def test_without_a_persona_a_bot_that_may_be_one_is_told_how_to_be() -> None:
    _, tally = read([said(ANNA, "Hm?", 0), said(KEEPER, "Aye.", 5)], persona=None)
    assert all("--persona NAME" in reason for reason in tally.dropped)


def test_a_refusal_goes_with_its_question() -> None:
    [made], tally = read(
        [
            said(ANNA, "Tell me.", 0),
            said(KEEPER, "As an AI language model, I cannot.", 5),
            said(ANNA, "Tell me, Keeper.", 9),
            said(KEEPER, "There was a ship.", 15),
        ]
    )
    assert spoken(made) == ["Tell me, Keeper.", "There was a ship."]
    assert tally.dropped == {"refusal boilerplate": 1, "answered by a refusal": 1}


# --- consent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["z", None])
def test_the_answer_to_somebody_who_did_not_agree_goes_too(reply: str | None) -> None:
    made, tally = read(
        [
            said(ANNA, "Hm.", 0),
            said(ZOE, "Keeper, my secret?", 5, id="z"),
            said(KEEPER, "Your secret is safe.", 9, to=reply),
            said(KEEPER, "And it is a good one.", 12),
            said(ANNA, "And mine?", 20),
            said(KEEPER, "You have none.", 25),
        ]
    )
    assert spoken(made[0]) == ["And mine?", "You have none."]
    assert tally.dropped["answers a dropped message"] == 2


def test_who_called_the_persona_is_answered_though_another_speaks_in_between() -> None:
    made, _ = read([said(ZOE, "Keeper, my secret?", 0), said(ANNA, "*laughs*", 3), said(KEEPER, "It is safe.", 9)])
    assert not made


def test_a_reply_to_a_reply_to_a_dropped_message_goes_too() -> None:
    made, tally = read(
        [
            said(ZOE, "My secret.", 0, id="z"),
            said(ANNA, "zoe has a secret!", 5, id="a", to="z"),
            said(KEEPER, "What a secret.", 9, to="a"),
        ]
    )
    assert not made
    assert tally.dropped == {"no consent": 1, "answers a dropped message": 2}


def test_a_reply_to_a_message_that_is_not_there_goes() -> None:
    """It may answer somebody who did not agree, in an earlier session or before the export begins."""
    made, tally = read([said(ANNA, "Hm?", 0), said(KEEPER, "Your secret is safe.", 9, to="elsewhere")])
    assert not made
    assert tally.dropped["answers a message outside its session"] == 1


def test_a_reply_to_a_message_that_comes_later_goes() -> None:
    made, tally = read([said(ANNA, "Hm?", 0, to="z"), said(ZOE, "My secret.", 5, id="z"), said(KEEPER, "Aye.", 9)])
    assert not made
    assert tally.dropped["answers a message outside its session"] == 1


@pytest.mark.parametrize(
    "entry",
    [
        Entry(status="granted", scope=("publish",)),
        Entry(status="granted", scope=("train",), policy_version="1"),
        Entry(status="revoked", scope=("train",)),
    ],
    ids=["another scope", "an older policy", "revoked"],
)
def test_consent_is_for_a_scope_and_a_policy(entry: Entry) -> None:
    consent = policy().consent
    consent = consent.model_copy(update={"users": {**consent.users, ANNA: entry}})
    made, _ = read([said(ANNA, "Hello?", 0), said(KEEPER, "Aye.", 9)], consent=consent)
    assert not made


def test_a_name_that_two_members_use_needs_both() -> None:
    talk = [said(ANNA, "Hm?", 0), said(WEBHOOK, "Kraa.", 5, name="Heron")]
    proxies = ProxyList({"heron": frozenset({BEN})})
    assert read(talk, persona="Heron", proxies=proxies)[0]
    for owners in ({BEN, ZOE}, {""}):
        assert not read(talk, persona="Heron", proxies=ProxyList({"heron": frozenset(owners)}))[0]


NAMED = st.sampled_from([ANNA, BEN, ZOE, KEEPER, "Gull", "Crab", "Nobody", "77", "456226577798135808"])


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chats in which every message says who wrote it, and how many answers it is away from whom."""
    at, messages = 0, []
    for number in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([1, 60, 500, 2000]))
        by = draw(NAMED)
        to = draw(st.none() | st.integers(0, number + 1))
        name = by if by in ("Gull", "Crab", "Nobody") else ""
        text = draw(st.sampled_from(["words", "Keeper?", "!go", "((aside))", "", "x\n> y"])) + f" w{number}w"
        author = WEBHOOK if name else by
        more = {"bot": True} if by == "77" else {}
        target = None if to is None else f"i{to}"
        messages.append(said(author, text, at, id=f"i{number}", to=target, name=name, **more))
    return messages


@settings(max_examples=150, deadline=None)
@given(chats(), st.sampled_from(["Old Keeper", "Gull", None]))
def test_nobody_is_used_who_did_not_agree(messages: list[dict[str, Any]], persona: str | None) -> None:
    made, _ = read(messages, persona=persona)
    used = {int(n) for row in made for turn in spoken(row) for n in re.findall(r"w(\d+)w", turn)}
    for number in used:
        author = messages[number]["author"]
        assert author["id"] in (ANNA, BEN, KEEPER) or author["name"] == "Gull"
        # Whatever it replies to, and so on to the first, is used or at least may be.
        reference = messages[number].get("reference")
        if reference:
            target = int(reference["messageId"][1:])
            assert target < len(messages)
            assert messages[target]["author"]["name"] not in ("zoe", "Crab", "Nobody", "77")
    for row in made:
        Conversation.model_validate(row.model_dump())
    assert len({row.id for row in made}) == len(made)


# --- permission ------------------------------------------------------------------------------------------------------


def test_without_permission_nothing_is_read() -> None:
    with pytest.raises(PermissionMissing, match="understudy data permission record"):
        list(convert_export(iter([Row(1, export([]))]), Reading(source="log"), Tally()))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("fields", "said_of_it"),
    [
        ({"scope": ("999",)}, r"does not cover server 100 \(Us\) or channel 200: its scope is \"999\""),
        ({"date": date.today() + timedelta(days=3)}, "yet to come"),
        ({"expires": date(2026, 1, 3)}, "expired on 2026-01-03"),
    ],
)
def test_a_permission_is_for_a_place_and_a_time(fields: dict[str, Any], said_of_it: str) -> None:
    given_one = Permission(**{"reference": "T-1", "scope": ("200",), "date": date(2026, 1, 2)} | fields)
    with pytest.raises(UnusablePermission, match=said_of_it):
        read([], permission=given_one)


def test_a_ledger_is_one_servers() -> None:
    with pytest.raises(UnusableLedger, match=r"l\.json cannot be used .* of server 999"):
        read([], consent=policy().consent.model_copy(update={"guild_id": "999"}), consent_name="l.json")


def test_an_export_without_messages_is_refused() -> None:
    reading = Reading(source="log", chatlog=policy())
    with pytest.raises(UnreadableData, match="row 1, field messages"):
        list(convert_export(iter([Row(1, {"guild": {"id": GUILD}})]), reading, Tally()))  # type: ignore[list-item]


def test_every_conversation_quotes_the_permission() -> None:
    [made], _ = read([said(ANNA, "Hello?", 0), said(KEEPER, "Aye.", 9)])
    assert made.meta["permission"] == "T-1 (Discord, 2026-01-02, for 100)"
