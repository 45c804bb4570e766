"""Under which name a persona speaks in a channel: its own, by a webhook of the bot, where that is allowed."""

from __future__ import annotations

import logging

import discord

from bot.limits import WEBHOOK_NAME, width

logger = logging.getLogger(__name__)

WEBHOOK = "Understudy"
TOO_MANY_WEBHOOKS = 30007
_REFUSED_IN_NAMES = ("discord", "clyde")


class Voices:
    """The bot's own webhook in each channel, made when it is first needed."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self._webhooks: dict[int, discord.Webhook] = {}

    async def of(self, channel_id: int, name: str) -> discord.Webhook | None:
        """The webhook to speak as `name`; None where only the bot itself may speak."""
        if not 0 < width(name) <= WEBHOOK_NAME or any(part in name.casefold() for part in _REFUSED_IN_NAMES):
            return None
        channel = self._client.get_channel(channel_id)
        if (
            not isinstance(channel, discord.TextChannel)
            or not channel.permissions_for(channel.guild.me).manage_webhooks
        ):
            return None
        if channel_id not in self._webhooks:
            found = await self._find_or_make(channel)
            if found is None:
                return None
            self._webhooks[channel_id] = found
        return self._webhooks[channel_id]

    def forget(self, channel_id: int) -> None:
        """Drop a webhook that Discord no longer takes messages from."""
        self._webhooks.pop(channel_id, None)

    async def _find_or_make(self, channel: discord.TextChannel) -> discord.Webhook | None:
        own = self._client.user
        try:
            for webhook in await channel.webhooks():
                if webhook.token and webhook.user and own and webhook.user.id == own.id:
                    return webhook
            return await channel.create_webhook(name=WEBHOOK)
        except discord.HTTPException as error:
            if error.status == 403 or error.code == TOO_MANY_WEBHOOKS:
                logger.warning("No webhook in channel %s (%s); the bot speaks itself.", channel.id, error.text)
                return None
            raise
