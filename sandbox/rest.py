"""The HTTP API's routes for the app itself, its commands, the guild, channels and messages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox import errors, limits
from sandbox.commands import Registry
from sandbox.errors import Json, Problems, Refusal
from sandbox.forms import ALLOWED_IN_CHANNEL, SETTABLE_IN_CHANNEL, Draft, Upload, check_message
from sandbox.gateway import Gateway
from sandbox.messages import Attachment, Message
from sandbox.people import BOT_ID, GUILD_ID, Channel, Member, Permission, Thread
from sandbox.state import World, history
from sandbox.wire import emptied, wire_message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One request to the HTTP API, already read. `params` are the variables of the route's template."""

    method: str
    template: str
    params: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    uploads: tuple[Upload, ...] = ()

    @property
    def form(self) -> Json:
        """The body as an object; raises 50035 when it is something else."""
        if isinstance(self.body, dict):
            return self.body
        problems = Problems()
        problems.add((), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        problems.refuse_if_any()
        raise AssertionError


Answer = Json | list[Json] | None


@dataclass(frozen=True)
class Route:
    """A method and path template, and who answers it with which status; None is answered as 204."""

    method: str
    template: str
    answer: Callable[[Call], Answer]
    needs_token: bool = True
    status: int = 200


class Rest:
    """Answers with the bot's own token; see hooks.py for webhooks and interactions."""

    def __init__(self, world: World, registry: Registry, gateway: Gateway) -> None:
        self._world = world
        self._registry = registry
        self._gateway = gateway
        self._nonces: dict[str, tuple[float, Message]] = {}

    def routes(self) -> list[Route]:
        """Every route of this part."""
        commands = "/applications/{application_id}/commands"
        guild_commands = "/applications/{application_id}/guilds/{guild_id}/commands"
        messages = "/channels/{channel_id}/messages"
        message = "/channels/{channel_id}/messages/{message_id}"
        reaction = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me"
        return [
            Route("GET", "/users/@me", lambda _: self._me()),
            Route("GET", "/oauth2/applications/@me", lambda _: self._application()),
            Route("GET", "/applications/@me", lambda _: self._application()),
            Route("GET", "/gateway", lambda _: {"url": "wss://gateway.discord.gg"}, needs_token=False),
            Route("GET", "/gateway/bot", lambda _: self._gateway_bot()),
            Route("GET", commands, self._list_commands),
            Route("PUT", commands, self._sync_commands),
            Route("GET", guild_commands, self._list_commands),
            Route("PUT", guild_commands, self._sync_commands),
            Route("GET", "/guilds/{guild_id}", self._guild),
            Route("GET", "/guilds/{guild_id}/channels", self._channels),
            Route("GET", "/guilds/{guild_id}/roles", self._roles),
            Route("GET", "/guilds/{guild_id}/members", self._members),
            Route("GET", "/guilds/{guild_id}/members/{user_id}", self._member),
            Route("GET", "/channels/{channel_id}", self._channel),
            Route("POST", "/channels/{channel_id}/typing", self._type),
            Route("GET", messages, self._history),
            Route("POST", messages, self._create),
            Route("GET", message, self._read),
            Route("PATCH", message, self._edit),
            Route("DELETE", message, self._delete),
            Route("PUT", reaction, self._react),
            Route("DELETE", reaction, self._unreact),
        ]

    # --- the app --------------------------------------------------------------------------------------------------

    def _me(self) -> Json:
        return {**self._world.bot.user.wire(), "verified": True, "mfa_enabled": False, "flags": 0, "locale": "en-US"}

    def _application(self) -> Json:
        owner = next(m.user for m in self._world.guild.members.values() if not m.user.bot)
        return {
            "id": BOT_ID,
            "name": self._world.bot.user.username,
            "icon": None,
            "description": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "owner": owner.wire(),
            "team": None,
            "verify_key": "0" * 64,
            "rpc_origins": [],
            "flags": self._gateway.application_flags,
        }

    def _gateway_bot(self) -> Json:
        return {
            "url": "wss://gateway.discord.gg",
            "shards": 1,
            "session_start_limit": {
                "total": limits.IDENTIFIES_A_DAY,
                "remaining": self._gateway.identifies_left(),
                "reset_after": 24 * 3600 * 1000,
                "max_concurrency": 1,
            },
        }

    def _scope(self, call: Call) -> str | None:
        if call.params["application_id"] != BOT_ID:
            raise Refusal(403, 20012, "You are not authorized to perform this action on this application")
        guild_id = call.params.get("guild_id")
        if guild_id not in {None, GUILD_ID}:
            raise errors.missing_access()
        return guild_id

    def _list_commands(self, call: Call) -> Answer:
        return self._registry.of(self._scope(call))

    def _sync_commands(self, call: Call) -> Answer:
        synced = self._registry.sync(call.body, self._scope(call))
        self._world.sync_commands()
        return synced

    # --- the guild ------------------------------------------------------------------------------------------------

    def _in_guild(self, call: Call) -> None:
        if call.params["guild_id"] != GUILD_ID:
            raise errors.unknown_guild()

    def _guild(self, call: Call) -> Answer:
        self._in_guild(call)
        whole = self._world.guild.wire([])
        hidden = {"channels", "threads", "members", "presences", "voice_states", "joined_at", "large", "unavailable"}
        return {key: value for key, value in whole.items() if key not in hidden}

    def _channels(self, call: Call) -> Answer:
        self._in_guild(call)
        guild = self._world.guild
        seen = [c for c in guild.channels.values() if Permission.VIEW_CHANNEL in guild.permissions(self._world.bot, c)]
        return [guild.wire_channel(channel) for channel in seen]

    def _roles(self, call: Call) -> Answer:
        self._in_guild(call)
        return [role.wire() for role in self._world.guild.roles.values()]

    def _members(self, call: Call) -> Answer:
        self._in_guild(call)
        if not self._gateway.may_list_members:
            raise errors.missing_access()
        after = int(call.query.get("after", 0))
        listed: list[Member] = sorted(self._world.guild.members.values(), key=lambda member: int(member.user.id))
        wanted = [member for member in listed if int(member.user.id) > after]
        return [member.wire_with_user() for member in wanted[: int(call.query.get("limit", 1))]]

    def _member(self, call: Call) -> Answer:
        self._in_guild(call)
        member = self._world.guild.members.get(call.params["user_id"])
        if member is None:
            raise errors.unknown_member()
        return member.wire_with_user()

    # --- channels -------------------------------------------------------------------------------------------------

    def _seen(self, call: Call, *needed: Permission) -> Channel:
        """The channel of a call; raises 50001 when the bot cannot see it, 50013 when it lacks what is needed."""
        return self._world.seen(call.params["channel_id"], *needed)

    def _may_speak(self, call: Call) -> Channel:
        """The channel of a call in which the bot may send; raises 160005 in a locked thread."""
        channel = self._seen(call)
        self._world.require(channel, channel.speaking)
        if isinstance(channel, Thread) and channel.locked:
            granted = self._world.guild.permissions(self._world.bot, channel)
            if Permission.MANAGE_THREADS not in granted:
                raise errors.thread_locked()
        return channel

    def _channel(self, call: Call) -> Answer:
        return self._world.guild.wire_channel(self._seen(call))

    def _type(self, call: Call) -> Answer:
        self._world.type(self._may_speak(call), self._world.bot.user)
        return None

    def _wire(self, message: Message) -> Json:
        wire = wire_message(message, Attachment.cdn_url, BOT_ID)
        return wire if self._gateway.may_read_all or message.open_to_app() else emptied(wire)

    def _history(self, call: Call) -> Answer:
        channel = self._seen(call)
        if Permission.READ_MESSAGE_HISTORY not in self._world.guild.permissions(self._world.bot, channel):
            return []
        limit = call.query.get("limit", str(limits.HISTORY_DEFAULT))
        problems = Problems()
        if not limit.isdigit() or not 1 <= int(limit) <= limits.HISTORY:
            message = f"int value should be between 1 and {limits.HISTORY}."
            problems.add(("limit",), "NUMBER_TYPE_MAX", message)
        for key in ("before", "after", "around"):
            if not call.query.get(key, "0").isdigit():
                problems.add((key,), "NUMBER_TYPE_COERCE", f'Value "{call.query[key]}" is not snowflake.')
        problems.refuse_if_any()
        public = [message for message in self._world.messages(channel.id) if message.only_for is None]
        bounds = {key: call.query.get(key) for key in ("before", "after", "around")}
        return [self._wire(message) for message in history(public, **bounds, limit=int(limit))]

    def _create(self, call: Call) -> Answer:
        channel = self._may_speak(call)
        body = call.form
        refuse_unbuilt(body)
        draft = check_message(body, call.uploads, settable=SETTABLE_IN_CHANNEL, allowed=ALLOWED_IN_CHANNEL)
        self._require_for(channel, draft)
        nonce = _checked_nonce(body)
        if body.get("enforce_nonce") and nonce is not None and (known := self._sent_as(nonce)):
            return self._wire(known)
        answered = self._answered(channel, body.get("message_reference"))
        message = self._world.new_message(channel, self._world.bot.user, draft)
        message.nonce, message.answers = nonce, answered
        if answered:
            message.kind = 19
            if draft.allowed.replied_user and answered.author not in message.mentions:
                message.mentions.append(answered.author)
        self._world.post(message)
        if nonce is not None:
            self._remember(str(nonce), message)
        return self._wire(message)

    def _require_for(self, channel: Channel, draft: Draft) -> None:
        if draft.embeds:
            self._world.require(channel, Permission.EMBED_LINKS)
        if draft.uploads:
            self._world.require(channel, Permission.ATTACH_FILES)

    def _remember(self, nonce: str, message: Message) -> None:
        now = self._world.clock.now()
        fresh = {n: sent for n, sent in self._nonces.items() if now - sent[0] <= limits.NONCE_REMEMBERED_S}
        self._nonces = {**fresh, nonce: (now, message)}

    def _sent_as(self, nonce: str | int) -> Message | None:
        sent = self._nonces.get(str(nonce))
        if sent and self._world.clock.now() - sent[0] <= limits.NONCE_REMEMBERED_S:
            return sent[1]
        return None

    def _answered(self, channel: Channel, reference: Json | None) -> Message | None:
        if not reference:
            return None
        self._world.require(channel, Permission.READ_MESSAGE_HISTORY)
        try:
            found = self._world.message(channel.id, str(reference.get("message_id")))
            if found.only_for is None:
                return found
        except Refusal:
            pass
        if not reference.get("fail_if_not_exists", True):
            return None
        problems = Problems()
        problems.add(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        problems.refuse_if_any()
        return None

    def _public(self, call: Call, *needed: Permission) -> Message:
        """The message of a call; raises 10008."""
        return self._world.public_message(self._seen(call, *needed), call.params["message_id"])

    def _open_to_change(self, call: Call, *needed: Permission) -> Message:
        """The message of a call that changes it; raises 50083 in an archived thread."""
        return self._world.changeable(self._public(call, *needed))

    def _read(self, call: Call) -> Answer:
        return self._wire(self._public(call, Permission.READ_MESSAGE_HISTORY))

    def _own(self, message: Message) -> bool:
        return message.author.id == BOT_ID

    def _edit(self, call: Call) -> Answer:
        message = self._open_to_change(call)
        if not self._own(message):
            raise errors.foreign_message()
        draft = check_message(
            call.form,
            call.uploads,
            settable=SETTABLE_IN_CHANNEL,
            allowed=ALLOWED_IN_CHANNEL,
            before=message.before(),
        )
        self._require_for(self._world.channel(message.channel_id), draft)
        return self._wire(self._world.edit(message, draft))

    def _delete(self, call: Call) -> Answer:
        message = self._open_to_change(call)
        if not self._own(message):
            self._world.require(self._world.channel(message.channel_id), Permission.MANAGE_MESSAGES)
        self._world.remove(message)
        return None

    def _react(self, call: Call) -> Answer:
        message = self._open_to_change(call, Permission.READ_MESSAGE_HISTORY)
        emoji = call.params["emoji"]
        # The sandbox has no emoji of its own, and Unicode's are never plain ASCII.
        if emoji.isascii():
            raise errors.unknown_emoji()
        if emoji not in message.reactions:
            self._world.require(self._world.channel(message.channel_id), Permission.ADD_REACTIONS)
        self._world.react(message, self._world.bot.user, emoji)
        return None

    def _unreact(self, call: Call) -> Answer:
        self._world.unreact(self._open_to_change(call), self._world.bot.user, call.params["emoji"])
        return None


def refuse_unbuilt(body: Json) -> None:
    """Refuse, with a line in the log, the kinds of message that the sandbox does not have."""
    for key in ("poll", "sticker_ids", "shared_client_theme"):
        if body.get(key):
            logger.warning("A message with %s was refused: the sandbox has not built those.", key)
            raise errors.unbuilt()


def _checked_nonce(body: Json) -> str | int | None:
    nonce: str | int | None = body.get("nonce")
    problems = Problems()
    if isinstance(nonce, str):
        problems.longer(("nonce",), nonce, limits.NONCE)
    elif nonce is not None and not isinstance(nonce, int):
        problems.add(("nonce",), "NONCE_TYPE_INVALID", "A nonce is a text or a whole number")
    problems.refuse_if_any()
    return nonce
