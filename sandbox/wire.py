"""Messages as Discord writes them, for the bot and for the page."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.errors import Json
from sandbox.messages import Attachment, Message
from sandbox.people import BOT_ID, GUILD_ID

Link = Callable[[Attachment], str]


def wire_message(message: Message, link: Link, reader: str) -> Json:
    """A message as Discord writes it; `link` gives files their addresses, `reader` is who asks."""
    shown = message.shown_in_embeds()
    author = message.author.wire()
    wire: Json = {
        "id": message.id,
        "type": message.kind,
        "channel_id": message.channel_id,
        "author": {**author, "discriminator": "0000"}
        if message.webhook_id and message.webhook_id != BOT_ID
        else author,
        "content": message.content,
        "timestamp": message.timestamp,
        "edited_timestamp": message.edited,
        "tts": False,
        "mention_everyone": message.mention_everyone,
        "mentions": [user.wire() for user in message.mentions],
        "mention_roles": list(message.mention_roles),
        "attachments": [wire_attachment(a, link) for a in message.attachments.values() if a.filename not in shown],
        "embeds": [_wire_embed(embed, message, link) for embed in message.embeds],
        "components": message.components,
        "pinned": False,
        "flags": int(message.flags),
    }
    if message.reactions:
        wire["reactions"] = [_wire_reaction(emoji, users, reader) for emoji, users in message.reactions.items()]
    optional = {
        "nonce": message.nonce,
        "webhook_id": message.webhook_id,
        "application_id": message.application_id,
        "interaction_metadata": message.metadata,
    }
    wire |= {key: value for key, value in optional.items() if value is not None}
    if message.thread:
        wire["thread"] = message.thread.wire(set())
    if message.announces:
        wire["message_reference"] = {"type": 0, "channel_id": message.announces.id, "guild_id": GUILD_ID}
    if message.answers:
        answered = message.answers
        wire["message_reference"] = {"type": 0, "channel_id": answered.channel_id, "message_id": answered.id}
        wire["message_reference"]["guild_id"] = GUILD_ID
        if answered.answers is None:
            wire["referenced_message"] = None if answered.removed else wire_message(answered, link, reader)
    return wire


def wire_attachment(attachment: Attachment, link: Link) -> Json:
    """A file as Discord writes it, in a message or among what a command's options name."""
    wire: Json = {
        "id": attachment.id,
        "filename": attachment.filename,
        "size": len(attachment.data),
        "url": link(attachment),
        "proxy_url": link(attachment),
        "content_type": attachment.content_type,
    }
    if attachment.description:
        wire["description"] = attachment.description
    if attachment.ephemeral:
        wire["ephemeral"] = True
    return wire


def _wire_embed(embed: Json, message: Message, link: Link) -> Json:
    by_name = {attachment.filename: attachment for attachment in message.attachments.values()}

    def resolved(url: str) -> str:
        attachment = by_name.get(url.removeprefix("attachment://"))
        return link(attachment) if attachment and url.startswith("attachment://") else url

    wire = {"type": "rich", **embed}
    if embed.get("fields"):
        wire["fields"] = [{"inline": False, **entry} for entry in embed["fields"]]
    for part, key in (("image", "url"), ("thumbnail", "url"), ("author", "icon_url"), ("footer", "icon_url")):
        if url := (embed.get(part) or {}).get(key):
            wire[part] = {**embed[part], key: resolved(url), f"proxy_{key}": resolved(url)}
    return wire


def _wire_reaction(emoji: str, users: list[str], reader: str) -> Json:
    return {
        "emoji": {"id": None, "name": emoji},
        "count": len(users),
        "count_details": {"burst": 0, "normal": len(users)},
        "me": reader in users,
        "me_burst": False,
        "burst_colors": [],
    }


def emptied(wire: Json) -> Json:
    """A message as an app without the MESSAGE_CONTENT intent sees it."""
    return {**wire, "content": "", "embeds": [], "attachments": [], "components": []}
