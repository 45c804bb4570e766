"""Who and what the sandbox's one guild consists of: permissions, roles, members and channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntFlag
from typing import ClassVar

from sandbox.errors import Json
from sandbox.limits import DISCORD_EPOCH_MS, THREAD_ARCHIVE_DEFAULT

GUILD_ID = "1200000000000000000"
BOT_ID = "1200000000000000099"
GUILD_NAME = "The Workshop"
JOINED = "2024-02-01T12:00:00.000000+00:00"


class Permission(IntFlag):
    """The permission bits that the sandbox checks or shows."""

    ADMINISTRATOR = 1 << 3
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    MANAGE_ROLES = 1 << 28
    MANAGE_WEBHOOKS = 1 << 29
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    SEND_MESSAGES_IN_THREADS = 1 << 38
    MODERATE_MEMBERS = 1 << 40


ALL = Permission(sum(Permission))
NOTHING = Permission(0)
EVERYONE_MAY = (
    Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.ADD_REACTIONS
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
)


@dataclass
class Role:
    """A role of the guild."""

    id: str
    name: str
    permissions: Permission
    position: int
    colour: int = 0

    def wire(self) -> Json:
        """The role as Discord writes it."""
        return {
            "id": self.id,
            "name": self.name,
            "permissions": str(int(self.permissions)),
            "position": self.position,
            "color": self.colour,
            "colors": {"primary_color": self.colour, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }


@dataclass(frozen=True)
class User:
    """A user, the bot among them."""

    id: str
    username: str
    global_name: str | None
    bot: bool = False

    def wire(self) -> Json:
        """The user as Discord writes it."""
        return {
            "id": self.id,
            "username": self.username,
            "global_name": self.global_name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": None,
        }


@dataclass
class Member:
    """A user's place in the guild."""

    user: User
    role_ids: list[str] = field(default_factory=list)
    joined: str = JOINED

    def wire(self) -> Json:
        """The member without the user, as messages carry it."""
        return {
            "roles": list(self.role_ids),
            "nick": None,
            "avatar": None,
            "joined_at": self.joined,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
        }

    def wire_with_user(self) -> Json:
        """The member with the user, as the guild and interactions carry it."""
        return {**self.wire(), "user": self.user.wire()}


@dataclass(frozen=True)
class Overwrite:
    """What one role or member may do more, or less, in one channel."""

    allow: Permission = NOTHING
    deny: Permission = NOTHING


@dataclass
class Channel:
    """A text channel; `overwrites` is keyed by the id of a role or member."""

    speaking: ClassVar[Permission] = Permission.SEND_MESSAGES

    id: str
    name: str
    topic: str
    position: int
    overwrites: dict[str, Overwrite] = field(default_factory=dict)
    last_message_id: str | None = None

    def wire(self, roles: set[str]) -> Json:
        """The channel as Discord writes it; `roles` tells which overwrites are a role's."""
        return {
            "id": self.id,
            "type": 0,
            "guild_id": GUILD_ID,
            "name": self.name,
            "topic": self.topic,
            "position": self.position,
            "permission_overwrites": [
                {"id": key, "type": 0 if key in roles else 1, "allow": str(int(o.allow)), "deny": str(int(o.deny))}
                for key, o in self.overwrites.items()
            ],
            "parent_id": None,
            "nsfw": False,
            "rate_limit_per_user": 0,
            "last_message_id": self.last_message_id,
            "flags": 0,
        }


@dataclass
class Thread(Channel):
    """A public thread of a text channel. It has no overwrites: its parent's count."""

    speaking: ClassVar[Permission] = Permission.SEND_MESSAGES_IN_THREADS

    parent_id: str = field(kw_only=True)
    owner_id: str = field(kw_only=True)
    created: str = field(kw_only=True)
    archive_after: int = THREAD_ARCHIVE_DEFAULT
    """Minutes without a message. The sandbox keeps it, but archives nothing by itself."""
    slowmode: int = 0
    joined: dict[str, str] = field(default_factory=dict)
    """When each member joined, by user id."""
    archived: bool = False
    archive_changed: str | None = None
    """When it last went into the archive or came back."""
    locked: bool = False
    message_count: int = 0
    total_sent: int = 0

    def wire(self, roles: set[str]) -> Json:
        """The thread as Discord writes it for the bot."""
        wire: Json = {
            "id": self.id,
            "type": 11,
            "guild_id": GUILD_ID,
            "parent_id": self.parent_id,
            "owner_id": self.owner_id,
            "name": self.name,
            "last_message_id": self.last_message_id,
            "rate_limit_per_user": self.slowmode,
            "message_count": self.message_count,
            "total_message_sent": self.total_sent,
            "member_count": len(self.joined),
            "thread_metadata": {
                "archived": self.archived,
                "archive_timestamp": self.archive_changed or self.created,
                "auto_archive_duration": self.archive_after,
                "locked": self.locked,
                "create_timestamp": self.created,
            },
            "flags": 0,
        }
        if BOT_ID in self.joined:
            wire["member"] = self.wire_member(BOT_ID)
        return wire

    def wire_member(self, user_id: str) -> Json:
        """A user's place in the thread as Discord writes it."""
        return {"id": self.id, "user_id": user_id, "join_timestamp": self.joined[user_id], "flags": 0}


class Guild:
    """The one guild: its members and channels, and who may do what where."""

    def __init__(self) -> None:
        self.roles = {
            role.id: role
            for role in (
                Role(GUILD_ID, "@everyone", EVERYONE_MAY, 0),
                Role("1200000000000000011", "Trainer", NOTHING, 1, 0x4FA38A),
                Role(
                    "1200000000000000012",
                    "Understudy",
                    EVERYONE_MAY | Permission.MANAGE_WEBHOOKS | Permission.MANAGE_MESSAGES | Permission.MANAGE_THREADS,
                    2,
                ),
                Role("1200000000000000010", "Moderator", Permission.MODERATE_MEMBERS, 3, 0xC98A3B),
            )
        }
        self.bot = User(BOT_ID, "Understudy", None, bot=True)
        people = [("Mara", ["Moderator"]), ("Tariq", ["Trainer"])]
        people += [(name, []) for name in ("Nell", "Oskar", "Priya", "Quinn", "Remy")]
        self.members = {BOT_ID: Member(self.bot, self._role_ids(["Understudy"]))}
        for number, (name, roles) in enumerate(people, start=1):
            user = User(f"12000000000000000{number:02}", name.lower(), name)
            self.members[user.id] = Member(user, self._role_ids(roles))
        self.channels = {
            channel.id: channel
            for channel in (
                Channel("1200000000000000020", "workshop", "Personas are trained and judged here.", 0),
                Channel("1200000000000000021", "tavern", "Personas talk here.", 1),
            )
        }
        self.threads: dict[str, Thread] = {}

    def _role_ids(self, names: list[str]) -> list[str]:
        by_name = {role.name: role.id for role in self.roles.values()}
        return [by_name[name] for name in names]

    def member(self, key: str) -> Member | None:
        """The member with this id or (in any case) name."""
        if key in self.members:
            return self.members[key]
        return next((m for m in self.members.values() if m.user.username.lower() == key.lower()), None)

    def place(self, key: str) -> Channel | None:
        """The channel or thread with this id."""
        return self.channels.get(key) or self.threads.get(key)

    def channel(self, key: str) -> Channel | None:
        """The channel with this id or name."""
        return self.channels.get(key) or next((c for c in self.channels.values() if c.name == key), None)

    def active_threads(self, member: Member) -> list[Thread]:
        """The threads that the member sees and that are not archived."""
        active = [thread for thread in self.threads.values() if not thread.archived]
        return [thread for thread in active if Permission.VIEW_CHANNEL in self.permissions(member, thread)]

    def role_names(self, member: Member) -> list[str]:
        """The names of the member's roles."""
        return [self.roles[role_id].name for role_id in member.role_ids]

    def assign(self, member: Member, names: list[str]) -> None:
        """Give the member exactly these roles."""
        member.role_ids = self._role_ids(names)

    def permissions(self, member: Member, channel: Channel | None = None) -> Permission:
        """What the member may do in the guild, or in the channel with its overwrites."""
        granted = self.roles[GUILD_ID].permissions
        for role_id in member.role_ids:
            granted |= self.roles[role_id].permissions
        if Permission.ADMINISTRATOR in granted:
            return ALL
        if channel is None:
            return granted
        if isinstance(channel, Thread):
            channel = self.channels[channel.parent_id]
        granted = _overwritten(granted, [channel.overwrites.get(GUILD_ID)])
        granted = _overwritten(granted, [channel.overwrites.get(role_id) for role_id in member.role_ids])
        return _overwritten(granted, [channel.overwrites.get(member.user.id)])

    def wire_channel(self, channel: Channel) -> Json:
        """The channel as Discord writes it."""
        return channel.wire(set(self.roles))

    def wire(self, members: list[Member]) -> Json:
        """The guild as GUILD_CREATE carries it, with the members that the session may see."""
        return {
            **self.wire_brief(),
            "icon": None,
            "owner_id": next(m.user.id for m in self.members.values() if not m.user.bot),
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "system_channel_flags": 0,
            "emojis": [],
            "stickers": [],
            "roles": [role.wire() for role in self.roles.values()],
            "channels": [self.wire_channel(channel) for channel in self.channels.values()],
            "threads": [thread.wire(set()) for thread in self.active_threads(self.members[BOT_ID])],
            "members": [member.wire_with_user() for member in members],
            "member_count": len(self.members),
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "joined_at": JOINED,
            "large": False,
            "unavailable": False,
        }

    def wire_brief(self) -> Json:
        """The little that an interaction says of its guild, and the name."""
        return {"id": GUILD_ID, "name": GUILD_NAME, "locale": "en-US", "features": []}


def snowflake_of(moment: datetime) -> int:
    """The first id of a moment: whoever has it was made then."""
    return (int(moment.astimezone(UTC).timestamp() * 1000) - DISCORD_EPOCH_MS) << 22


def _overwritten(granted: Permission, overwrites: list[Overwrite | None]) -> Permission:
    """All denials of one layer first, then all its grants, as Discord does."""
    for overwrite in overwrites:
        if overwrite:
            granted &= ~overwrite.deny
    for overwrite in overwrites:
        if overwrite:
            granted |= overwrite.allow
    return granted
