"""What has happened in the sandbox: messages, files, webhooks; and who is told when something changes.

All of it is in memory. It outlives a restart of the bot, as Discord does, but not a restart of the sandbox.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from sandbox.clock import Clock
from sandbox.errors import Json, missing_permissions, unknown_channel, unknown_message
from sandbox.forms import ALLOWED_IN_CHANNEL, NO_FLAGS, Before, Draft, Flag, Upload, mentioned
from sandbox.limits import FILENAME
from sandbox.people import BOT_ID, GUILD_ID, Channel, Guild, Member, Overwrite, Permission, User

UPLOADS_KEPT = 20


@dataclass(frozen=True)
class Attachment:
    """A stored file of a message."""

    id: str
    channel_id: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    description: str | None = None
    ephemeral: bool = False

    def cdn_url(self) -> str:
        """The address that the bot sees; what goes with a command lies apart from what goes with a message."""
        folder = f"ephemeral-attachments/{BOT_ID}" if self.ephemeral else f"attachments/{self.channel_id}"
        return f"https://cdn.discordapp.com/{folder}/{self.id}/{quote(self.filename)}"

    def page_url(self) -> str:
        """The address that the sandbox's page sees."""
        return f"/attachments/{self.id}/{quote(self.filename)}"


@dataclass
class Message:
    """One message of a channel. `only_for` is the id of the one user who sees it, if it is ephemeral."""

    id: str
    channel_id: str
    author: User
    timestamp: str
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: dict[str, Attachment] = field(default_factory=dict)
    flags: Flag = NO_FLAGS
    kind: int = 0
    edited: str | None = None
    nonce: str | int | None = None
    only_for: str | None = None
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[str] = field(default_factory=list)
    mention_everyone: bool = False
    webhook_id: str | None = None
    application_id: str | None = None
    interaction_id: str | None = None
    metadata: Json | None = None
    answers: Message | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    removed: bool = False

    def visible_to(self, user_id: str) -> bool:
        """Whether the user sees the message."""
        return self.only_for is None or self.only_for == user_id

    def open_to_app(self) -> bool:
        """Whether the app may read it without the MESSAGE_CONTENT intent: its own, and those that mention it."""
        return BOT_ID in {self.author.id, self.application_id, *(user.id for user in self.mentions)}

    def before(self) -> Before:
        """What an edit starts from."""
        names = {attachment.id: attachment.filename for attachment in self.attachments.values()}
        return Before(self.content, self.embeds, self.components, self.flags, names)

    def shown_in_embeds(self) -> set[str]:
        """Names of the files that an embed shows, which Discord then does not list as attachments."""
        urls = [str((embed.get(key) or {}).get("url")) for embed in self.embeds for key in ("image", "thumbnail")]
        urls += [str((e.get(k) or {}).get("icon_url")) for e in self.embeds for k in ("author", "footer")]
        return {url.removeprefix("attachment://") for url in urls if url.startswith("attachment://")}


@dataclass
class Webhook:
    """An incoming webhook that the app made in a channel."""

    id: str
    token: str
    channel_id: str
    name: str

    def wire(self, bot: User) -> Json:
        """The webhook as Discord writes it."""
        return {
            "id": self.id,
            "type": 1,
            "guild_id": GUILD_ID,
            "channel_id": self.channel_id,
            "name": self.name,
            "avatar": None,
            "token": self.token,
            "application_id": BOT_ID,
            "user": bot.wire(),
        }


class Watcher(Protocol):
    """Whoever is told of what happens: the gateway, and the page."""

    def message_posted(self, message: Message) -> None:
        """A new message."""

    def message_changed(self, message: Message) -> None:
        """An edited message, or one whose reactions changed."""

    def message_removed(self, message: Message) -> None:
        """A message is gone."""

    def reaction_added(self, message: Message, user: User, emoji: str) -> None:
        """Somebody reacted."""

    def typing_started(self, channel: Channel, user: User) -> None:
        """Somebody types."""

    def member_changed(self, member: Member) -> None:
        """A member's roles changed."""

    def channel_changed(self, channel: Channel) -> None:
        """A channel's overwrites changed."""

    def commands_changed(self) -> None:
        """The app synced its commands."""


class World:
    """The guild and all that was said in it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.guild = Guild()
        self.watchers: list[Watcher] = []
        self.webhooks: dict[str, Webhook] = {}
        self.uploads: dict[str, Attachment] = {}
        self._messages: dict[str, dict[str, Message]] = {channel: {} for channel in self.guild.channels}

    @property
    def bot(self) -> Member:
        """The app's own member."""
        return self.guild.members[BOT_ID]

    def channel(self, channel_id: str) -> Channel:
        """The channel with this id; raises 10003."""
        channel = self.guild.channels.get(channel_id)
        if channel is None:
            raise unknown_channel()
        return channel

    def messages(self, channel_id: str) -> list[Message]:
        """All messages of a channel, oldest first."""
        return list(self._messages[channel_id].values())

    def message(self, channel_id: str, message_id: str) -> Message:
        """One message; raises 10008."""
        message = self._messages[channel_id].get(message_id)
        if message is None:
            raise unknown_message()
        return message

    def find_attachment(self, attachment_id: str) -> Attachment | None:
        """A stored file of a command, or of a message that still exists."""
        if attachment_id in self.uploads:
            return self.uploads[attachment_id]
        for messages in self._messages.values():
            for message in messages.values():
                if attachment_id in message.attachments:
                    return message.attachments[attachment_id]
        return None

    # --- what people and the app do -------------------------------------------------------------------------------

    def new_message(self, channel: Channel, author: User, draft: Draft) -> Message:
        """A message that is made but not posted yet, so that its maker can fill in where it comes from."""
        message = Message(self.clock.snowflake(), channel.id, author, self.clock.iso())
        self._fill(message, draft)
        return message

    def post(self, message: Message) -> Message:
        """Put a made message into its channel."""
        self._messages[message.channel_id][message.id] = message
        if message.only_for is None:
            self.guild.channels[message.channel_id].last_message_id = message.id
        self._tell(lambda watcher: watcher.message_posted(message))
        return message

    def edit(self, message: Message, draft: Draft) -> Message:
        """Change a message to what the draft says; the loading state ends."""
        self._fill(message, draft)
        message.flags &= ~Flag.LOADING
        message.edited = self.clock.iso()
        self._tell(lambda watcher: watcher.message_changed(message))
        return message

    def remove(self, message: Message) -> None:
        """Delete a message and its files."""
        del self._messages[message.channel_id][message.id]
        message.flags &= ~Flag.LOADING
        message.removed = True
        self._tell(lambda watcher: watcher.message_removed(message))

    def upload(self, channel: Channel, filename: str, content_type: str, data: bytes) -> Attachment:
        """Keep a file that a member will use a command with; only so many are kept, as Discord's links expire."""
        while len(self.uploads) >= UPLOADS_KEPT:
            self.uploads.pop(next(iter(self.uploads)))
        key = self.clock.snowflake()
        stored = Attachment(key, channel.id, stored_name(filename), content_type, data, ephemeral=True)
        self.uploads[key] = stored
        return stored

    def react(self, message: Message, user: User, emoji: str) -> None:
        """Add a reaction; a second one of the same kind by the same user changes nothing."""
        users = message.reactions.setdefault(emoji, [])
        if user.id not in users:
            users.append(user.id)
            self._tell(lambda watcher: watcher.reaction_added(message, user, emoji))
            self._tell(lambda watcher: watcher.message_changed(message))

    def unreact(self, message: Message, user: User, emoji: str) -> None:
        """Take a reaction back."""
        users = message.reactions.get(emoji, [])
        if user.id in users:
            users.remove(user.id)
            if not users:
                del message.reactions[emoji]
            self._tell(lambda watcher: watcher.message_changed(message))

    def type(self, channel: Channel, user: User) -> None:
        """Show that somebody types."""
        self._tell(lambda watcher: watcher.typing_started(channel, user))

    def say(self, channel: Channel, author: User, content: str, nonce: str | None = None) -> Message:
        """Post what a member typed; the length was checked where it was typed."""
        message = self.new_message(channel, author, Draft(content, [], [], NO_FLAGS, ALLOWED_IN_CHANNEL, (), None))
        message.nonce = nonce
        return self.post(message)

    def set_roles(self, name: str, roles: Iterable[str]) -> None:
        """Give a member, by id or name, exactly these roles, by name."""
        member = self.guild.member(name)
        if member is None:
            raise KeyError(name)
        self.guild.assign(member, list(roles))
        self._tell(lambda watcher: watcher.member_changed(member))

    def set_overwrite(self, channel_name: str, target_id: str, overwrite: Overwrite) -> None:
        """Allow or deny a role or member something in one channel."""
        channel = self.guild.channel(channel_name)
        if channel is None:
            raise KeyError(channel_name)
        channel.overwrites[target_id] = overwrite
        self._tell(lambda watcher: watcher.channel_changed(channel))

    def sync_commands(self) -> None:
        """Tell everybody that the app's commands changed."""
        self._tell(lambda watcher: watcher.commands_changed())

    def new_webhook(self, channel: Channel, name: str) -> Webhook:
        """Make a webhook in a channel."""
        webhook = Webhook(self.clock.snowflake(), secrets.token_urlsafe(51), channel.id, name)
        self.webhooks[webhook.id] = webhook
        return webhook

    def require(self, channel: Channel, *needed: Permission) -> None:
        """Raise 50013 unless the bot has these permissions in the channel."""
        granted = self.guild.permissions(self.bot, channel)
        if any(permission not in granted for permission in needed):
            raise missing_permissions()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _fill(self, message: Message, draft: Draft) -> None:
        message.content, message.components = draft.content, draft.components
        message.flags = draft.flags | (message.flags & Flag.LOADING)
        kept = message.attachments if draft.kept is None else {key: message.attachments[key] for key in draft.kept}
        added = [self._store(message.channel_id, upload) for upload in draft.uploads]
        message.attachments = kept | {attachment.id: attachment for attachment in added}
        message.embeds = draft.embeds
        users, roles, everyone = mentioned(draft.content, draft.allowed)
        if not self._may_ping_all(message):
            roles, everyone = [], False
        message.mention_everyone = everyone
        message.mentions = [self.guild.members[user].user for user in users if user in self.guild.members]
        message.mention_roles = [role for role in roles if role in self.guild.roles]

    def _may_ping_all(self, message: Message) -> bool:
        """Whether the author may mention everyone and roles; webhooks are no members, and may."""
        member = self.guild.members.get(message.author.id)
        channel = self.guild.channels[message.channel_id]
        return member is None or Permission.MENTION_EVERYONE in self.guild.permissions(member, channel)

    def _store(self, channel_id: str, upload: Upload) -> Attachment:
        key = self.clock.snowflake()
        return Attachment(key, channel_id, upload.filename, upload.content_type, upload.data, upload.description)

    def _tell(self, tell: Callable[[Watcher], None]) -> None:
        for watcher in self.watchers:
            tell(watcher)


def stored_name(filename: str) -> str:
    """A file's name as Discord keeps it: letters, digits, and what stands between them."""
    name = re.sub(r"[^\w.-]+", "_", filename.replace("\\", "/").rpartition("/")[2]).strip("_")
    return name[-FILENAME:] or "file"


def history(
    messages: list[Message], *, before: str | None, after: str | None, around: str | None, limit: int
) -> list[Message]:
    """A slice of a channel's messages, newest first, as Discord pages them; ids compare as numbers."""
    if around is not None:
        older = [message for message in messages if int(message.id) < int(around)]
        newer = [message for message in messages if int(message.id) >= int(around)]
        half = limit // 2
        return [*older[len(older) - half if half < len(older) else 0 :], *newer[: limit - half]][::-1]
    if before is not None:
        messages = [message for message in messages if int(message.id) < int(before)]
    if after is not None:
        return [message for message in messages if int(message.id) > int(after)][:limit][::-1]
    return messages[-limit:][::-1]
