"""Checks of the bot's house: the settings, the token, and the link that invites the bot."""

from __future__ import annotations

import discord

from bot.connect import connector
from bot.settings import BotSettings
from tasks.doctor import Check
from tasks.settings import load_settings
from training.errors import UnderstudyError

# What the bot does in a channel, and no more.
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
    manage_webhooks=True,
)


def invite_link(application_id: int) -> str:
    """The address at which a server's owner invites the bot with the permissions it needs."""
    return discord.utils.oauth_url(
        application_id, permissions=PERMISSIONS, scopes=("bot", "applications.commands"), disable_guild_select=False
    )


async def examine() -> list[Check]:
    """Whether the token opens Discord, and the invite link."""
    try:
        settings = load_settings(BotSettings)
    except UnderstudyError as error:
        return [Check(name="bot settings", ok=False, found="they cannot be used", fix=str(error))]
    client = discord.Client(intents=discord.Intents.none(), connector=connector(settings))
    try:
        await client.login(settings.discord_token.get_secret_value())
        info = await client.application_info()
    except discord.LoginFailure:
        fix = "Copy the token again from the Discord developer portal (Bot → Reset Token) into DISCORD_TOKEN."
        return [Check(name="Discord token", ok=False, found="Discord refuses it", fix=fix)]
    except (discord.HTTPException, OSError) as error:
        fix = "Check this machine's network and Discord's status page, then try again."
        return [Check(name="Discord", ok=False, found=f"not reached ({type(error).__name__})", fix=fix)]
    finally:
        await client.close()
    return [
        Check(name="Discord token", ok=True, found=f"it is {info.name}'s"),
        Check(name="invite link", ok=True, found=invite_link(info.id)),
    ]
