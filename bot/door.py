"""The Discord client as commands and buttons see it."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlsplit

import discord

from bot.duels import Duels
from bot.voting import Voting
from tasks.client import Client
from tasks.errors import RedisAway, WorkersAway
from tasks.jobs import Catalog


class Door(discord.Client):
    """A Discord client that knows the queue and who may train; reached as `interaction.client`."""

    voting: Voting
    duels: Duels

    def __init__(
        self,
        *,
        queue: Client,
        trainer_role: str,
        intents: discord.Intents,
        files_at: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(intents=intents, **options)
        self.queue = queue
        self.trainer_role = trainer_role
        self._files_at = files_at

    def reachable(self, url: str) -> str:
        """The address of an attachment as a worker reaches it: in a sandbox Discord that is not the one it is given."""
        if self._files_at is None:
            return url
        return self._files_at.rstrip("/") + urlsplit(url)._replace(scheme="", netloc="").geturl()

    async def known_catalog(self, guild_id: str) -> Catalog | None:
        """The server's catalog, for what does without it while nothing is known."""
        try:
            return await self.queue.catalog(guild_id)
        except (RedisAway, WorkersAway):
            return None


Ask: TypeAlias = discord.Interaction[Door]
