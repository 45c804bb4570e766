"""The bot object: commands, buttons and relay put together; every exception becomes words here, once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping

import discord
from discord import app_commands

from bot.ballot_box import Ballots
from bot.ballots import RUBRIC_FORM, BallotButton, VoteButton, rate
from bot.buttons import DatasetButton, JobButton
from bot.commands.dataset import dataset
from bot.commands.finetune import finetune
from bot.commands.persona import persona
from bot.commands.persona_chat import persona_chat
from bot.connect import connector
from bot.courier import Courier
from bot.door import Ask, Door
from bot.duels import Duels
from bot.errors import explain
from bot.forms import Act, receive
from bot.ledger import Ledger
from bot.persona_buttons import FACT_FORM, FactButton, FactsButton, VoiceButton, confirm_fact
from bot.relay import Relay, ended
from bot.settings import BotSettings
from bot.vote_courier import VoteCourier
from bot.voting import Rules, Voting
from tasks.client import Client

logger = logging.getLogger(__name__)

READY = 'READY {"process":"bot"}'
EVERYWHERE = "everywhere"
FORMS: Mapping[str, Act] = {RUBRIC_FORM: rate, FACT_FORM: confirm_fact}


class Commands(app_commands.CommandTree[Door]):
    """The command tree, with the one net under all commands."""

    async def on_error(self, interaction: Ask, error: app_commands.AppCommandError, /) -> None:
        """Answer with a plain sentence."""
        await explain(interaction, error)


class Understudy(Door):
    """The Discord door of the house."""

    def __init__(self, settings: BotSettings, queue: Client, ledger: Ledger, ballots: Ballots) -> None:
        super().__init__(
            queue=queue,
            trainer_role=settings.discord_trainer_role,
            files_at=settings.discord_sandbox,
            # Roles and channels of a server; nothing that people write, and nothing privileged.
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            connector=connector(settings),
            max_messages=None,
            # Nothing here waits for a server's members, so its channels and roles are all that must have arrived.
            guild_ready_timeout=1.0,
        )
        self._guild_ids = settings.discord_guild_ids
        self._ledger = ledger
        self._relay = Relay(queue, ledger, Courier(self, ledger), settings.discord_card_seconds)
        self.voting = Voting(ballots, _rules(settings))
        self.duels = Duels(queue, self.voting)
        self._votes = VoteCourier(self, self.voting)
        self._serving: list[asyncio.Task[None]] = []
        self._told_ready = False
        self.tree = Commands(self)
        self.tree.add_command(finetune)
        self.tree.add_command(persona_chat)
        self.tree.add_command(dataset)
        self.tree.add_command(persona)

    async def setup_hook(self) -> None:
        """Register what must answer from the first moment on; the senders wait for the channels to be known."""
        self.add_dynamic_items(JobButton, DatasetButton, VoiceButton, FactButton, FactsButton, VoteButton, BallotButton)
        await self._sync()
        self._serving = [
            asyncio.create_task(self._when_ready(self._relay.run), name="relay"),
            asyncio.create_task(self._when_ready(self._votes.run), name="votes"),
        ]

    async def on_ready(self) -> None:
        """Say once that the bot is ready; discord.py calls this after every new session."""
        if not self._told_ready:
            self._told_ready = True
            print(READY, flush=True)

    async def on_interaction(self, interaction: Ask) -> None:
        """Take forms that members send; discord.py brings all else to where it belongs."""
        await receive(interaction, FORMS)

    async def close(self) -> None:
        """Stop the senders first: a message cut off by the closing connection would be in doubt for no reason."""
        await ended(*self._serving)
        await super().close()

    async def _when_ready(self, serve: Callable[[], Awaitable[None]]) -> None:
        await self.wait_until_ready()
        await serve()

    # --- registering commands --------------------------------------------------------------------------------------

    async def _sync(self) -> None:
        """Tell Discord the commands where it does not know them yet: it allows 200 new ones a day in each server."""
        commands = self.tree.get_commands()
        told = json.dumps([command.to_dict(self.tree) for command in commands], sort_keys=True)
        digest = hashlib.sha256(f"{self.application_id} {told}".encode()).hexdigest()
        names = {command.name for command in commands}
        scopes: dict[str, discord.Object | None] = {} if self._guild_ids else {EVERYWHERE: None}
        for guild_id in self._guild_ids:
            scopes[str(guild_id)] = discord.Object(guild_id)
            self.tree.copy_global_to(guild=discord.Object(guild_id))
        if self._guild_ids:
            self.tree.clear_commands(guild=None)
        known = await asyncio.to_thread(self._ledger.command_sets)
        for scope, guild in scopes.items():
            await self._sync_scope(scope, guild, digest, names, known.get(scope))
        for scope in known.keys() - scopes.keys():
            await self._leave_scope(scope)

    async def _sync_scope(
        self, scope: str, guild: discord.Object | None, digest: str, names: set[str], known: str | None
    ) -> None:
        try:
            # A server that removed the bot and took it back has lost its commands, whatever the ledger says.
            if known == digest and {command.name for command in await self.tree.fetch_commands(guild=guild)} == names:
                return
            await self.tree.sync(guild=guild)
        except discord.Forbidden:
            logger.error("Server %s does not let this bot register commands: is it invited there?", scope)
            return
        await asyncio.to_thread(self._ledger.synced, scope, digest)

    async def _leave_scope(self, scope: str) -> None:
        """Take the commands back from where they are no longer offered, or members would see them twice."""
        try:
            await self.tree.sync(guild=None if scope == EVERYWHERE else discord.Object(int(scope)))
        except discord.Forbidden:
            logger.info("Server %s is no longer this bot's.", scope)
        await asyncio.to_thread(self._ledger.synced, scope, None)


def _rules(settings: BotSettings) -> Rules:
    return Rules(
        role=settings.discord_vote_role,
        account_days=settings.discord_vote_account_days,
        hours=settings.discord_vote_hours,
        trainers=settings.discord_vote_trainers,
        questions=settings.vote_questions,
    )
