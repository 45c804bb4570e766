"""Who may do what, and where the bot itself may post; all from the interaction alone, so it costs no time."""

from __future__ import annotations

from collections.abc import Mapping

import discord

from bot.door import Ask
from bot.errors import ChannelClosed, MayNotTrain, NotInAServer, NotYourJob
from tasks.jobs import Job, Origin

TO_TALK = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "read_message_history": "Read Message History",
}
TO_REPORT = {**TO_TALK, "embed_links": "Embed Links", "attach_files": "Attach Files"}


def origin_of(interaction: Ask) -> Origin:
    """Who asks, in which channel of which server; raises NotInAServer."""
    if interaction.guild_id is None or interaction.channel_id is None:
        raise NotInAServer
    return Origin(
        door="discord",
        guild_id=str(interaction.guild_id),
        channel_id=str(interaction.channel_id),
        user_id=str(interaction.user.id),
    )


def is_trainer(interaction: Ask) -> bool:
    """Whether the member has the trainer role or Moderate Members."""
    wanted = interaction.client.trainer_role
    roles = interaction.user.roles if isinstance(interaction.user, discord.Member) else []
    return _moderates(interaction) or any(
        str(role.id) == wanted or role.name.casefold() == wanted.casefold() for role in roles
    )


def require_trainer(interaction: Ask) -> None:
    """Raise MayNotTrain unless the member has the trainer role or Moderate Members."""
    if not is_trainer(interaction):
        raise MayNotTrain(role=interaction.client.trainer_role)


def require_starter(interaction: Ask, job: Job, wish: str) -> None:
    """Raise NotYourJob unless the member, who wishes to cancel, pause or resume it, started it or may moderate."""
    if job.origin.user_id != str(interaction.user.id) and not _moderates(interaction):
        raise NotYourJob(wish=wish)


def require_channel(interaction: Ask, needed: Mapping[str, str]) -> None:
    """Raise ChannelClosed unless the bot has these permissions (name to words) in the channel it will owe messages."""
    may = interaction.app_permissions
    if isinstance(interaction.channel, discord.Thread):
        needed = {**needed, "send_messages_in_threads": "Send Messages in Threads"}
        needed.pop("send_messages")
    missing = [words for name, words in needed.items() if not (may.administrator or getattr(may, name))]
    if missing:
        raise ChannelClosed(missing=", ".join(missing))


def _moderates(interaction: Ask) -> bool:
    return interaction.permissions.moderate_members or interaction.permissions.administrator
