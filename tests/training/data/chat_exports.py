"""Exports of a chat as DiscordChatExporter writes them, and what allows them to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from training.data.canonical import Tally
from training.data.chatlog import ChatLogPolicy, convert_export
from training.data.consent import ConsentLedger, Entry, Permission, Webhook
from training.data.reading import Reading
from training.schema import Conversation

GUILD, CHANNEL = "100", "200"
ANNA, BEN, ZOE = "11", "12", "13"
KEEPER = "71"
WEBHOOK = "91"
NAMES = {ANNA: "anna", BEN: "ben", ZOE: "zoe", KEEPER: "Old Keeper", WEBHOOK: "Gull"}
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Row:
    number: int
    value: dict[str, Any]


def said(
    by: str, text: str, at: float, *, id: str = "", to: str | None = None, name: str = "", **more: Any
) -> dict[str, Any]:
    """One message, `at` so many seconds after the start; `to` is the message that it replies to."""
    bot = by in (KEEPER, WEBHOOK) or more.pop("bot", False)
    reference = {"messageId": to, "channelId": CHANNEL, "guildId": GUILD}
    return {
        "id": id or f"m{at:g}",
        "type": "Reply" if to else "Default",
        "timestamp": (START + timedelta(seconds=at)).isoformat(),
        "content": text,
        "author": {
            "id": by,
            "name": name or NAMES.get(by, by),
            "nickname": name or NAMES.get(by, by),
            "discriminator": "4821" if by != WEBHOOK and bot else "0000",
            "isBot": bot,
        },
        "attachments": [],
        "embeds": [],
        "mentions": [],
        **({"reference": reference} if to else {}),
        **more,
    }


def export(messages: Iterable[Any]) -> dict[str, Any]:
    return {"guild": {"id": GUILD, "name": "Us"}, "channel": {"id": CHANNEL}, "messages": list(messages)}


def ledger(**users: Entry) -> ConsentLedger:
    """Anna and Ben agreed, Zoe did not; the gull's words are Ben's."""
    agreed = Entry(status="granted", scope=("train",))
    return ConsentLedger(
        policy_version="2",
        guild_id=GUILD,
        users={ANNA: agreed, BEN: agreed, ZOE: Entry(status="revoked")} | {k.lstrip("u"): v for k, v in users.items()},
        webhooks={WEBHOOK: Webhook(characters={"Gull": BEN, "Crab": ZOE})},
    )


def policy(**fields: Any) -> ChatLogPolicy:
    allowed = Permission(reference="T-1", scope=(GUILD,), date=date(2026, 1, 2))
    return ChatLogPolicy(**{"permission": allowed, "consent": ledger(), "persona": "Old Keeper"} | fields)


def read(messages: Iterable[Any], **fields: Any) -> tuple[list[Conversation], Tally]:
    """What an export becomes; the tally always adds up."""
    tally = Tally()
    value = export(messages)
    reading = Reading(source="log", chatlog=policy(**fields))
    made = list(convert_export(iter([Row(1, value)]), reading, tally))  # type: ignore[list-item]
    assert tally.rows == len(value["messages"]) == tally.used + sum(tally.dropped.values())
    return made, tally


def spoken(conversation: Conversation) -> list[str]:
    """The turns, in order."""
    return [message.content for message in conversation.messages]
