"""Turns what happens in the sandbox into the gateway's dispatches, as far as the bot may see it."""

from __future__ import annotations

from sandbox.gateway import NO_INTENTS, Gateway, Intent
from sandbox.messages import Attachment, Message
from sandbox.people import BOT_ID, GUILD_ID, Channel, Member, Permission, Thread, User
from sandbox.state import World
from sandbox.wire import emptied, wire_message


class Dispatcher:
    """Turns what happens in the world into dispatches, as far as the bot may see it."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world = world
        self._gateway = gateway

    def _sees(self, channel_id: str) -> bool:
        channel = self._world.channel(channel_id)
        return Permission.VIEW_CHANNEL in self._world.guild.permissions(self._world.bot, channel)

    def _message(self, event: str, message: Message) -> None:
        # An ephemeral message reaches the app only as the answer to its own request.
        if message.only_for is not None or not self._sees(message.channel_id):
            return
        data = wire_message(message, Attachment.cdn_url, BOT_ID)
        data["guild_id"] = GUILD_ID
        member = self._world.guild.members.get(message.author.id)
        if member:
            data["member"] = member.wire()
        self._gateway.dispatch(event, data, Intent.GUILD_MESSAGES, None if message.open_to_app() else emptied(data))

    def message_posted(self, message: Message) -> None:
        """MESSAGE_CREATE."""
        self._message("MESSAGE_CREATE", message)

    def message_changed(self, message: Message) -> None:
        """MESSAGE_UPDATE."""
        self._message("MESSAGE_UPDATE", message)

    def message_removed(self, message: Message) -> None:
        """MESSAGE_DELETE."""
        if message.only_for is None and self._sees(message.channel_id):
            gone = {"id": message.id, "channel_id": message.channel_id, "guild_id": GUILD_ID}
            self._gateway.dispatch("MESSAGE_DELETE", gone, Intent.GUILD_MESSAGES)

    def reaction_added(self, message: Message, user: User, emoji: str) -> None:
        """MESSAGE_REACTION_ADD."""
        if message.only_for is not None or not self._sees(message.channel_id):
            return
        data = {
            "user_id": user.id,
            "channel_id": message.channel_id,
            "message_id": message.id,
            "message_author_id": message.author.id,
            "guild_id": GUILD_ID,
            "member": self._world.guild.members[user.id].wire_with_user(),
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
        }
        self._gateway.dispatch("MESSAGE_REACTION_ADD", data, Intent.GUILD_MESSAGE_REACTIONS)

    def typing_started(self, channel: Channel, user: User) -> None:
        """TYPING_START."""
        if not self._sees(channel.id):
            return
        data = {
            "channel_id": channel.id,
            "guild_id": GUILD_ID,
            "user_id": user.id,
            "timestamp": int(self._world.clock.now()),
            "member": self._world.guild.members[user.id].wire_with_user(),
        }
        self._gateway.dispatch("TYPING_START", data, Intent.GUILD_MESSAGE_TYPING)

    def member_joined(self, member: Member) -> None:
        """GUILD_MEMBER_ADD."""
        self._gateway.dispatch(
            "GUILD_MEMBER_ADD", {**member.wire_with_user(), "guild_id": GUILD_ID}, Intent.GUILD_MEMBERS
        )

    def member_changed(self, member: Member) -> None:
        """GUILD_MEMBER_UPDATE, which needs no intent when it is about the bot."""
        needs = NO_INTENTS if member.user.id == BOT_ID else Intent.GUILD_MEMBERS
        self._gateway.dispatch("GUILD_MEMBER_UPDATE", {**member.wire_with_user(), "guild_id": GUILD_ID}, needs)

    def channel_changed(self, channel: Channel) -> None:
        """CHANNEL_UPDATE."""
        self._gateway.dispatch("CHANNEL_UPDATE", self._world.guild.wire_channel(channel), Intent.GUILDS)

    def thread_opened(self, thread: Thread) -> None:
        """THREAD_CREATE."""
        if self._sees(thread.id):
            data = {**self._world.guild.wire_channel(thread), "newly_created": True}
            self._gateway.dispatch("THREAD_CREATE", data, Intent.GUILDS)

    def thread_changed(self, thread: Thread) -> None:
        """THREAD_UPDATE."""
        if self._sees(thread.id):
            self._gateway.dispatch("THREAD_UPDATE", self._world.guild.wire_channel(thread), Intent.GUILDS)

    def thread_joined(self, thread: Thread, user: User) -> None:
        """THREAD_MEMBERS_UPDATE, which needs only GUILDS when it is about the bot."""
        if not self._sees(thread.id):
            return
        member = {**thread.wire_member(user.id), "member": self._world.guild.members[user.id].wire_with_user()}
        data = {"id": thread.id, "guild_id": GUILD_ID, "member_count": len(thread.joined), "added_members": [member]}
        self._gateway.dispatch(
            "THREAD_MEMBERS_UPDATE", data, Intent.GUILDS if user.id == BOT_ID else Intent.GUILD_MEMBERS
        )

    def commands_changed(self) -> None:
        """The app synced them itself, so there is nothing to tell it."""
