"""The Discord client as commands and buttons see it."""

from __future__ import annotations

from typing import Any, TypeAlias

import discord

from tasks.client import Client
from tasks.errors import RedisAway, WorkersAway
from tasks.jobs import Catalog


class Door(discord.Client):
    """A Discord client that knows the queue and who may train; reached as `interaction.client`."""

    def __init__(self, *, queue: Client, trainer_role: str, intents: discord.Intents, **options: Any) -> None:
        super().__init__(intents=intents, **options)
        self.queue = queue
        self.trainer_role = trainer_role

    async def known_catalog(self, guild_id: str) -> Catalog | None:
        """The server's catalog, for what does without it while nothing is known."""
        try:
            return await self.queue.catalog(guild_id)
        except (RedisAway, WorkersAway):
            return None


Ask: TypeAlias = discord.Interaction[Door]
