"""The Discord client as commands and buttons see it."""

from __future__ import annotations

from typing import Any, TypeAlias

import discord

from tasks.client import Client


class Door(discord.Client):
    """A Discord client that knows the queue and who may train; reached as `interaction.client`."""

    def __init__(self, *, queue: Client, trainer_role: str, intents: discord.Intents, **options: Any) -> None:
        super().__init__(intents=intents, **options)
        self.queue = queue
        self.trainer_role = trainer_role


Ask: TypeAlias = discord.Interaction[Door]
