"""What has happened in the sandbox: messages, threads, files, webhooks; and who is told when something changes.

All of it is in memory. It outlives a restart of the bot, as Discord does, but not a restart of the sandbox.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from sandbox.clock import Clock
from sandbox.errors import missing_access, missing_permissions, thread_archived, unknown_channel, unknown_message
from sandbox.forms import ALLOWED_IN_CHANNEL, NO_FLAGS, Draft, Flag, Upload, mentioned
from sandbox.limits import FILENAME
from sandbox.messages import Attachment, Message, Webhook
from sandbox.people import BOT_ID, Channel, Guild, Member, Overwrite, Permission, Thread, User, snowflake_of

UPLOADS_KEPT = 20
THREAD_CREATED, STARTER = 18, 21


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

    def member_joined(self, member: Member) -> None:
        """Somebody joined the guild."""

    def member_changed(self, member: Member) -> None:
        """A member's roles changed."""

    def channel_changed(self, channel: Channel) -> None:
        """A channel's overwrites changed."""

    def thread_opened(self, thread: Thread) -> None:
        """A new thread."""

    def thread_changed(self, thread: Thread) -> None:
        """A thread was renamed, archived, locked, or came back."""

    def thread_joined(self, thread: Thread, user: User) -> None:
        """Somebody joined a thread."""

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
        """The channel or thread with this id; raises 10003."""
        channel = self.guild.place(channel_id)
        if channel is None:
            raise unknown_channel()
        return channel

    def seen(self, channel_id: str, *needed: Permission) -> Channel:
        """A channel that the bot sees; raises 50001 when it cannot, 50013 when it lacks what is needed there."""
        channel = self.channel(channel_id)
        if Permission.VIEW_CHANNEL not in self.guild.permissions(self.bot, channel):
            raise missing_access()
        self.require(channel, *needed)
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

    def public_message(self, channel: Channel, message_id: str) -> Message:
        """One message that is not ephemeral: those exist for their interaction's token only; raises 10008."""
        message = self.message(channel.id, message_id)
        if message.only_for is not None:
            raise unknown_message()
        return message

    def changeable(self, message: Message) -> Message:
        """The message itself; raises 50083 if it stands in an archived thread."""
        thread = self.guild.threads.get(message.channel_id)
        if thread and thread.archived:
            raise thread_archived()
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
        channel = self.channel(message.channel_id)
        if isinstance(channel, Thread) and message.only_for is None:
            self._enter(channel, message)
        self._messages[channel.id][message.id] = message
        if message.only_for is None:
            channel.last_message_id = message.id
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
        if (thread := self.guild.threads.get(message.channel_id)) and _counts(message):
            thread.message_count -= 1
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

    def open_thread(
        self, parent: Channel, owner: User, name: str, under: Message | None, *, archive_after: int, slowmode: int = 0
    ) -> Thread:
        """Open a public thread under a message, whose id it takes, or one that the channel is told of."""
        key, now = under.id if under else self.clock.snowflake(), self.clock.iso()
        thread = Thread(key, name, "", 0, parent_id=parent.id, owner_id=owner.id, created=now, joined={owner.id: now})
        thread.archive_after, thread.slowmode = archive_after, slowmode
        self.guild.threads[key] = thread
        self._messages[key] = {}
        self._tell(lambda watcher: watcher.thread_opened(thread))
        if under:
            under.thread, under.flags = thread, under.flags | Flag.HAS_THREAD
            self._notice(thread, owner, STARTER, answers=under)
            self._tell(lambda watcher: watcher.message_changed(under))
        else:
            self._notice(parent, owner, THREAD_CREATED, content=name, announces=thread)
        return thread

    def change_thread(self, thread: Thread, **changes: str | int | bool) -> None:
        """Set some of a thread's fields, by name."""
        if changes.get("archived", thread.archived) != thread.archived:
            thread.archive_changed = self.clock.iso()
        for name, value in changes.items():
            setattr(thread, name, value)
        self._tell(lambda watcher: watcher.thread_changed(thread))

    def join_thread(self, thread: Thread, user: User) -> None:
        """Make a member one of the thread's; a second time changes nothing."""
        if user.id not in thread.joined:
            thread.joined[user.id] = self.clock.iso()
            self._tell(lambda watcher: watcher.thread_joined(thread, user))

    def enrol(self, name: str, roles: Iterable[str] = (), *, created: datetime | None = None) -> Member:
        """Let somebody join the guild, with roles by name; `created` is when their account was made, else now."""
        key = self.clock.snowflake()
        if created is not None:
            key = str(next(n for n in itertools.count(snowflake_of(created)) if str(n) not in self.guild.members))
        member = Member(User(key, name.lower(), name), joined=self.clock.iso())
        self.guild.assign(member, list(roles))
        self.guild.members[key] = member
        self._tell(lambda watcher: watcher.member_joined(member))
        return member

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

    def _notice(
        self,
        channel: Channel,
        author: User,
        kind: int,
        *,
        content: str = "",
        answers: Message | None = None,
        announces: Thread | None = None,
    ) -> None:
        """Post one of Discord's own messages, in somebody's name."""
        message = Message(self.clock.snowflake(), channel.id, author, self.clock.iso(), content, kind=kind)
        message.answers, message.announces = answers, announces
        self.post(message)

    def _enter(self, thread: Thread, message: Message) -> None:
        """What a message does to its thread: it comes back from the archive, counts it, and its author joins."""
        if thread.archived:
            self.change_thread(thread, archived=False)
        if not _counts(message):
            return
        thread.message_count += 1
        thread.total_sent += 1
        if message.author.id in self.guild.members:
            self.join_thread(thread, message.author)

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
        channel = self.channel(message.channel_id)
        return member is None or Permission.MENTION_EVERYONE in self.guild.permissions(member, channel)

    def _store(self, channel_id: str, upload: Upload) -> Attachment:
        key = self.clock.snowflake()
        return Attachment(key, channel_id, upload.filename, upload.content_type, upload.data, upload.description)

    def _tell(self, tell: Callable[[Watcher], None]) -> None:
        for watcher in self.watchers:
            tell(watcher)


def _counts(message: Message) -> bool:
    """Whether a thread counts it: neither its first line nor what one member alone sees."""
    return message.kind != STARTER and message.only_for is None


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
