"""One interaction: what a member asked of the app, how it may be answered, and what the gateway says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from sandbox import limits
from sandbox.commands import Misused, Used
from sandbox.errors import Json
from sandbox.messages import Attachment, Message
from sandbox.people import BOT_ID, GUILD_ID, Channel, Member
from sandbox.state import World
from sandbox.wire import wire_attachment, wire_message

USER, CHANNEL, ROLE, MENTIONABLE, ATTACHMENT = 6, 7, 8, 9, 11


class Asks(IntEnum):
    """What an interaction is about."""

    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL = 5


class Answers(IntEnum):
    """How an app may acknowledge."""

    MESSAGE = 4
    DEFERRED_MESSAGE = 5
    DEFERRED_UPDATE = 6
    UPDATE = 7
    CHOICES = 8
    MODAL = 9


TOLD = {
    Answers.MESSAGE: "message",
    Answers.DEFERRED_MESSAGE: "deferred",
    Answers.DEFERRED_UPDATE: "deferred",
    Answers.UPDATE: "update",
    Answers.CHOICES: "choices",
    Answers.MODAL: "modal",
}


class Asker(Protocol):
    """The member's client, which learns what became of an interaction."""

    def answered(self, nonce: str, kind: str) -> None:
        """The app acknowledged."""

    def suggested(self, nonce: str, choices: list[Json]) -> None:
        """The app answered an autocompletion."""

    def shown(self, modal: Json) -> None:
        """The app answered with a modal; a client shows one at a time."""

    def failed(self, nonce: str, sentence: str) -> None:
        """The app did not acknowledge in time."""


@dataclass
class Interaction:
    """One use of a command, a component or a modal. `original` is the message that `@original` stands for."""

    id: str
    token: str
    asks: Asks
    member: Member
    channel: Channel
    asker: Asker
    nonce: str
    created: float
    data: Json
    name: str = ""
    pressed: Message | None = None
    """The message whose component was used, or from which the modal came."""
    opener: Interaction | None = None
    """The interaction that was answered with the modal."""
    acknowledged: bool = False
    original: Message | None = None

    def fitting(self) -> tuple[int, ...]:
        """The answers that it may get."""
        if self.asks is Asks.AUTOCOMPLETE:
            return (Answers.CHOICES,)
        fitting = [Answers.MESSAGE, Answers.DEFERRED_MESSAGE]
        if self.pressed:
            fitting += [Answers.DEFERRED_UPDATE, Answers.UPDATE]
        if self.asks is not Asks.MODAL:
            fitting.append(Answers.MODAL)
        return tuple(fitting)

    def metadata(self) -> Json:
        """What a message made by this interaction says of it."""
        wire: Json = {
            "id": self.id,
            "type": int(self.asks),
            "user": self.member.user.wire(),
            "authorizing_integration_owners": {"0": GUILD_ID},
        }
        if self.name:
            wire |= {"name": self.name, "command_type": 1}
        if self.opener:
            wire["triggering_interaction_metadata"] = self.opener.metadata()
        elif self.pressed:
            wire["interacted_message_id"] = self.pressed.id
        return wire

    def wire(self, world: World) -> Json:
        """The data of INTERACTION_CREATE."""
        guild, channel, member = world.guild, self.channel, self.member
        granted = str(int(guild.permissions(member, channel)))
        payload: Json = {
            "id": self.id,
            "application_id": BOT_ID,
            "type": int(self.asks),
            "token": self.token,
            "version": 1,
            "data": self.data,
            "guild_id": GUILD_ID,
            "guild": guild.wire_brief(),
            "channel_id": channel.id,
            "channel": {**guild.wire_channel(channel), "permissions": granted},
            "member": {**member.wire_with_user(), "permissions": granted},
            "locale": "en-US",
            "guild_locale": "en-US",
            "app_permissions": str(int(guild.permissions(world.bot, channel))),
            "entitlements": [],
            "authorizing_integration_owners": {"0": GUILD_ID},
            "context": 0,
            "attachment_size_limit": limits.FILE_BYTES,
        }
        if self.pressed:
            payload["message"] = wire_message(self.pressed, Attachment.cdn_url, BOT_ID)
        return payload


def command_data(used: Used, world: World, member: Member) -> Json:
    """What an interaction says of the command that was used; raises Misused where an option names nothing."""
    command = used.command
    data: Json = {"id": command["id"], "name": command["name"], "type": command["type"], "options": used.options}
    if "guild_id" in command:
        data["guild_id"] = command["guild_id"]
    if resolved := _resolved(used.options, world, member):
        data["resolved"] = resolved
    return data


def _resolved(options: Sequence[Json], world: World, asking: Member) -> Json:
    """The users, roles, channels and files that the options name, by id."""
    guild = world.guild
    resolved: dict[str, Json] = {}
    for option in options:
        if option.get("options"):
            resolved |= _resolved(option["options"], world, asking)
        kind, key = option["type"], str(option.get("value"))
        if kind in {USER, MENTIONABLE} and key in guild.members:
            member = guild.members[key]
            resolved.setdefault("users", {})[key] = member.user.wire()
            granted = str(int(guild.permissions(member)))
            resolved.setdefault("members", {})[key] = {**member.wire(), "permissions": granted}
        elif kind in {ROLE, MENTIONABLE} and key in guild.roles:
            resolved.setdefault("roles", {})[key] = guild.roles[key].wire()
        elif kind == CHANNEL and (channel := guild.place(key)):
            granted = str(int(guild.permissions(asking, channel)))
            resolved.setdefault("channels", {})[key] = {**guild.wire_channel(channel), "permissions": granted}
        elif kind == ATTACHMENT and key in world.uploads:
            attachment = wire_attachment(world.uploads[key], Attachment.cdn_url)
            resolved.setdefault("attachments", {})[key] = attachment
        elif kind == ATTACHMENT:
            raise Misused(f"The file of the option {option['name']} is gone. Choose it again.")
        elif kind in {USER, CHANNEL, ROLE, MENTIONABLE}:
            raise Misused(f"The option {option['name']} names nobody and nothing here.")
    return resolved
