"""The HTTP API's routes for threads: opening, changing and joining them, and which there are."""

from __future__ import annotations

import logging

from sandbox import errors, limits
from sandbox.errors import Json, Problems
from sandbox.messages import Message
from sandbox.people import BOT_ID, GUILD_ID, Channel, Permission, Thread
from sandbox.rest import Answer, Call, Route
from sandbox.state import World

logger = logging.getLogger(__name__)

PUBLIC = 11
# What may be changed of a thread: Discord's word, and the field it goes to.
CHANGEABLE = {
    "name": "name",
    "archived": "archived",
    "locked": "locked",
    "auto_archive_duration": "archive_after",
    "rate_limit_per_user": "slowmode",
}


class Threads:
    """Public threads. Private ones and those of forums are not built."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        """Every route of this part."""
        member = "/channels/{channel_id}/thread-members/{user_id}"
        return [
            Route("POST", "/channels/{channel_id}/messages/{message_id}/threads", self._open_under, status=201),
            Route("POST", "/channels/{channel_id}/threads", self._open, status=201),
            Route("PATCH", "/channels/{channel_id}", self._change),
            Route("GET", "/guilds/{guild_id}/threads/active", self._active),
            Route("GET", "/channels/{channel_id}/thread-members", self._members),
            # Discord's own document lists @me apart from other ids, and it must be matched first.
            Route("PUT", "/channels/{channel_id}/thread-members/@me", self._join),
            Route("PUT", member, self._add),
        ]

    # --- opening --------------------------------------------------------------------------------------------------

    def _open_under(self, call: Call) -> Answer:
        channel = self._parent(call)
        message = self._world.public_message(channel, call.params["message_id"])
        if message.id in self._world.guild.threads:
            raise errors.thread_exists()
        return self._opened(channel, call.form, message)

    def _open(self, call: Call) -> Answer:
        channel = self._parent(call)
        if call.form.get("type") != PUBLIC:
            logger.warning("A private thread was refused: the sandbox has not built those.")
            raise errors.unbuilt()
        return self._opened(channel, call.form, None)

    def _parent(self, call: Call) -> Channel:
        channel = self._world.seen(call.params["channel_id"], Permission.CREATE_PUBLIC_THREADS)
        if isinstance(channel, Thread):
            raise errors.wrong_channel_type()
        return channel

    def _opened(self, channel: Channel, form: Json, under: Message | None) -> Json:
        _check(form, named=True)
        archive_after = form.get("auto_archive_duration") or limits.THREAD_ARCHIVE_DEFAULT
        owner = self._world.bot.user
        more = {"archive_after": archive_after, "slowmode": form.get("rate_limit_per_user") or 0}
        thread = self._world.open_thread(channel, owner, form["name"].strip(), under, **more)
        return self._world.guild.wire_channel(thread)

    # --- what is there --------------------------------------------------------------------------------------------

    def _thread(self, call: Call, *needed: Permission) -> Thread:
        channel = self._world.seen(call.params["channel_id"], *needed)
        if not isinstance(channel, Thread):
            raise errors.wrong_channel_type()
        return channel

    def _change(self, call: Call) -> Answer:
        """Change a thread; its owner may do so without MANAGE_THREADS, unless it is locked or shall be."""
        if call.params["channel_id"] in self._world.guild.channels:
            logger.warning("A change of a channel was refused: the sandbox has built those of threads alone.")
            raise errors.unbuilt()
        thread, form = self._thread(call), call.form
        if thread.owner_id != BOT_ID or thread.locked or "locked" in form:
            self._world.require(thread, Permission.MANAGE_THREADS)
        _check(form, named=False)
        changes = {CHANGEABLE[key]: value for key, value in form.items() if key in CHANGEABLE and value is not None}
        if "name" in changes:
            changes["name"] = changes["name"].strip()
        self._world.change_thread(thread, **changes)
        return self._world.guild.wire_channel(thread)

    def _active(self, call: Call) -> Answer:
        if call.params["guild_id"] != GUILD_ID:
            raise errors.unknown_guild()
        threads = self._world.guild.active_threads(self._world.bot)
        mine = [thread.wire_member(BOT_ID) for thread in threads if BOT_ID in thread.joined]
        return {"threads": [thread.wire(set()) for thread in threads], "members": mine, "has_more": False}

    def _members(self, call: Call) -> Answer:
        thread = self._thread(call)
        return [thread.wire_member(user_id) for user_id in thread.joined]

    def _join(self, call: Call) -> Answer:
        self._world.join_thread(self._thread(call), self._world.bot.user)
        return None

    def _add(self, call: Call) -> Answer:
        member = self._world.guild.members.get(call.params["user_id"])
        thread = self._thread(call, Permission.SEND_MESSAGES_IN_THREADS)
        if member is None:
            raise errors.unknown_member()
        self._world.join_thread(thread, member.user)
        return None


def _check(form: Json, *, named: bool) -> None:
    """Refuse with 50035 what Discord refuses in the form of a new or changed thread."""
    problems = Problems()
    name = form.get("name")
    if named or name is not None:
        problems.between(("name",), name.strip() if isinstance(name, str) else name, 1, limits.THREAD_NAME)
    archive_after = form.get("auto_archive_duration")
    if archive_after is not None:
        problems.choice(("auto_archive_duration",), archive_after, limits.THREAD_ARCHIVE_AFTER)
    slowmode = form.get("rate_limit_per_user")
    if slowmode is not None and not (isinstance(slowmode, int) and 0 <= slowmode <= limits.THREAD_SLOWMODE_S):
        message = f"int value should be between 0 and {limits.THREAD_SLOWMODE_S}."
        problems.add(("rate_limit_per_user",), "NUMBER_TYPE_MAX", message)
    for key in ("archived", "locked"):
        if not isinstance(form.get(key, False), bool | None):
            problems.add((key,), "BOOLEAN_TYPE_CONVERT", "Must be either true or false.")
    problems.refuse_if_any()
