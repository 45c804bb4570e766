"""Carries one row of the outbox to its channel: renders it, sends or edits its message, or finds it again.

Everything goes by the bot's token with channel and message ids, never by an interaction's token, which dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from io import BytesIO

import discord
from discord.utils import time_snowflake

from bot import cards, check_cards, data_cards, result_files, talk
from bot.ballots import vote_buttons
from bot.buttons import card_buttons, result_buttons
from bot.door import Door
from bot.ledger import Kind, Ledger, Row
from bot.limits import NONCE
from bot.result_files import Files
from bot.voices import Voices
from tasks.jobs import AdapterVersion, Catalog, Event
from training.evaluation.schema import Suite

UNKNOWN_WEBHOOK = 10015
THREAD_EXISTS = 160004
# Discord's clock and ours may differ by as much; a busy channel says no more than this within it.
LOOK_BACK_SECONDS = 300
LOOKED_THROUGH = 500


class Courier:
    """Knows how each kind of row becomes a message."""

    def __init__(self, door: Door, ledger: Ledger) -> None:
        self._door = door
        self._ledger = ledger
        self._voices = Voices(door)

    async def post(self, row: Row, plain: bool) -> str | None:
        """Send a row's message, or open its thread; its id, or None where what it belongs to was given up.

        Raises discord.HTTPException, OSError or aiohttp.ClientError.

        plain: as one line of text, without embeds, files or a name of its own, where Discord refused the message.
        """
        match row.kind:
            case Kind.CARD:
                return await self._post_card(row, plain)
            case Kind.RESULT:
                return await self._post_result(row, plain)
            case Kind.REPLY:
                return await self._post_reply(row, plain)
            case Kind.THREAD:
                return await self._open_thread(row, plain)
            case Kind.SAMPLE:
                return await self._post_sample(row, plain)

    async def edit(self, row: Row, message_id: str, plain: bool) -> None:
        """Let a card show its newest state."""
        message = self._channel(row).get_partial_message(int(message_id))
        text, embed = await self._card(row.event, plain)
        await message.edit(content=text, embed=embed, view=card_buttons(row.event.job, row.event.state))

    async def find(self, row: Row) -> str | None:
        """The id of the message that an interrupted `post` of this row left in the channel, if it got that far."""
        channel_id = await self._thread_of(row) if row.kind is Kind.SAMPLE else row.channel_id
        if channel_id is None:
            return None
        async for message in self._own_messages(row, channel_id):
            if await self._shows(message, row) and not await asyncio.to_thread(self._ledger.owns, str(message.id)):
                return str(message.id)
        return None

    # --- sending ---------------------------------------------------------------------------------------------------

    async def _post_card(self, row: Row, plain: bool) -> str:
        text, embed = await self._card(row.event, plain)
        sent = await self._channel(row).send(
            text,
            embed=embed or discord.utils.MISSING,
            view=card_buttons(row.event.job, row.event.state) or discord.utils.MISSING,
            nonce=nonce(row),
        )
        return str(sent.id)

    async def _post_result(self, row: Row, plain: bool) -> str:
        event = row.event
        if event.check is not None:
            told = await self._door.voting.heard(event.job.guild_id, event.check)
            told = told.model_copy(update={"before": await self._door.queue.before(told)})
            event = event.model_copy(update={"check": told})
        catalog = await self._door.known_catalog(event.job.guild_id)
        voices = await self._door.queue.voices(event.job, event.report)
        if voices:
            await self._door.voting.note_trainer(event.job)
        text = _result_text(event, voices, catalog)
        files = {} if plain else await self._files(event)
        starter = event.job.origin.user_id
        sent = await self._channel(row).send(
            f"{text}\n-# {cards.result_marker(row.job_id)}" if plain else text,
            embeds=[] if plain else _result_embeds(event, catalog, files),
            files=[discord.File(BytesIO(content), name) for name, content in files.items()],
            view=_result_view(event, voices) or discord.utils.MISSING,
            nonce=nonce(row),
            # The one message that is meant to call someone.
            allowed_mentions=discord.AllowedMentions(
                everyone=False, roles=False, users=[discord.Object(int(starter))] if starter else False
            ),
        )
        return str(sent.id)

    async def _post_reply(self, row: Row, plain: bool) -> str:
        name = row.event.reply.name if row.event.reply else ""
        webhook = None if plain else await self._voices.of(int(row.channel_id), name)
        if webhook is not None:
            try:
                said = await webhook.send(
                    talk.reply_parts(row.event, as_persona=True)[row.part],
                    username=name,
                    allowed_mentions=discord.AllowedMentions.none(),
                    wait=True,
                )
                return str(said.id)
            except discord.NotFound as error:
                if error.code != UNKNOWN_WEBHOOK:
                    raise
                self._voices.forget(int(row.channel_id))
        sent = await self._channel(row).send(talk.reply_parts(row.event, as_persona=False)[row.part], nonce=nonce(row))
        return str(sent.id)

    async def _files(self, event: Event) -> Files:
        if event.report is not None:
            return await asyncio.to_thread(result_files.of_training, event.report)
        if event.check is None:
            return {}
        catalog = await self._door.known_catalog(event.job.guild_id)
        names = catalog.personas if catalog else {}
        return await asyncio.to_thread(result_files.of_check, event.check, names)

    async def _open_thread(self, row: Row, plain: bool) -> str | None:
        """Open the thread under a result, whose id is that of the message; else post what it was to hold as one.

        plain: Discord refused the thread.
        """
        result = await asyncio.to_thread(self._ledger.message_of, row.job_id, Kind.RESULT)
        if result is None:
            return None
        if not plain and self._may_open_threads(row):
            try:
                message = self._channel(row).get_partial_message(int(result))
                return str((await message.create_thread(name=check_cards.thread_name(row.event))).id)
            except discord.HTTPException as error:
                if error.code == THREAD_EXISTS:
                    return result
                # What the bot may do is known from the gateway, and may have changed a moment ago.
                if error.status != 403:
                    raise
        sent = await self._channel(row).send(embed=check_cards.samples_embed(row.event), nonce=nonce(row))
        return str(sent.id)

    def _may_open_threads(self, row: Row) -> bool:
        channel = self._door.get_channel(int(row.channel_id))
        if not isinstance(channel, discord.TextChannel):
            return False
        may = channel.permissions_for(channel.guild.me)
        return may.create_public_threads and may.send_messages_in_threads

    async def _post_sample(self, row: Row, plain: bool) -> str | None:
        thread = await self._thread_of(row)
        if thread is None:
            # One message in the channel shows them all, if anything does.
            return await asyncio.to_thread(self._ledger.message_of, row.job_id, Kind.THREAD)
        sent = await self._in(thread, row).send(
            check_cards.sample_text(row.event, row.part) if plain else None,
            embed=discord.utils.MISSING if plain else check_cards.sample_embed(row.event, row.part),
            nonce=nonce(row),
        )
        return str(sent.id)

    async def _thread_of(self, row: Row) -> str | None:
        """The thread under the result of a row's job, if one was opened; it has the id of the result's message."""
        shown = await asyncio.to_thread(self._ledger.message_of, row.job_id, Kind.THREAD)
        result = await asyncio.to_thread(self._ledger.message_of, row.job_id, Kind.RESULT)
        return shown if shown == result else None

    # --- finding ---------------------------------------------------------------------------------------------------

    async def _own_messages(self, row: Row, channel_id: str) -> AsyncIterator[discord.Message]:
        since = datetime.fromtimestamp(row.begun_at - LOOK_BACK_SECONDS, UTC)
        after = discord.Object(time_snowflake(since))
        channel = self._in(channel_id, row)
        async for message in channel.history(limit=LOOKED_THROUGH, after=after, oldest_first=True):
            ours = message.author == self._door.user or message.webhook_id is not None
            # Answers to commands show the same embeds; they are not what the channel is owed.
            if ours and message.interaction_metadata is None:
                yield message

    async def _shows(self, message: discord.Message, row: Row) -> bool:
        if row.kind is not Kind.REPLY:
            signed = [(embed.footer.text or "").split(" · ")[0] for embed in message.embeds]
            return marker(row) in [*signed, message.content.rpartition("\n-# ")[2]]
        as_persona = message.webhook_id is not None
        wanted = talk.reply_parts(row.event, as_persona)[row.part].strip()
        return wanted == (message.content or await self._webhook_content(message, row)).strip()

    async def _webhook_content(self, message: discord.Message, row: Row) -> str:
        # Without the message content intent, history leaves out what a webhook said; the webhook itself may read it.
        webhook = await self._voices.of(int(row.channel_id), row.event.reply.name if row.event.reply else "")
        if webhook is None or message.webhook_id != webhook.id:
            return ""
        return (await webhook.fetch_message(message.id)).content

    # --- rendering -------------------------------------------------------------------------------------------------

    def _channel(self, row: Row) -> discord.PartialMessageable:
        return self._in(row.channel_id, row)

    def _in(self, channel_id: str, row: Row) -> discord.PartialMessageable:
        return self._door.get_partial_messageable(int(channel_id), guild_id=int(row.event.job.guild_id))

    async def _card(self, event: Event, plain: bool) -> tuple[str | None, discord.Embed | None]:
        catalog = await self._door.known_catalog(event.job.guild_id)
        embed = _card_embed(event, catalog)
        return (f"{embed.title}\n-# {cards.card_marker(event.job_id)}", None) if plain else (None, embed)


def marker(row: Row) -> str:
    """What a row's message is signed with, by which it is found again; replies bear no mark but their words."""
    match row.kind:
        case Kind.CARD:
            return cards.card_marker(row.job_id)
        case Kind.THREAD:
            return check_cards.samples_marker(row.job_id)
        case Kind.SAMPLE:
            return check_cards.sample_marker(row.event, row.part)
        case _:
            return cards.result_marker(row.job_id)


def _card_embed(event: Event, catalog: Catalog | None) -> discord.Embed:
    match event.job.kind:
        case "data":
            return data_cards.data_card(event, catalog)
        case "check":
            return check_cards.check_card(event, event.at, catalog)
        case _:
            return cards.job_card(event, event.at, catalog)


def _result_text(event: Event, voices: Sequence[AdapterVersion], catalog: Catalog | None) -> str:
    match event.job.kind:
        case "data":
            return data_cards.result_text(event)
        case "check":
            return check_cards.result_text(event, catalog)
        case _:
            return cards.result_text(event, voices, catalog)


def _result_view(event: Event, voices: Sequence[AdapterVersion]) -> discord.ui.View | None:
    """What may be pressed under a result: of a check of a version by its own questions, that people vote on it."""
    if event.check is not None and event.check.spec.version is not None and event.check.spec.suite is Suite.PERSONA:
        return vote_buttons("open", event.job_id)
    return result_buttons(event.job_id, voices)


def _result_embeds(event: Event, catalog: Catalog | None, files: Files) -> list[discord.Embed]:
    match event.job.kind:
        case "data":
            return data_cards.result_embeds(event, catalog)
        case "check":
            return check_cards.result_embeds(event, catalog, files)
        case _:
            return cards.result_embeds(event, catalog, chart=cards.CHART_FILE in files)


def nonce(row: Row) -> str:
    """The same for every attempt at one message, so that Discord itself refuses to post it twice within minutes."""
    made = f"{row.job_id}:{row.kind.value}:{row.part}"
    if len(made) > NONCE:
        raise ValueError(f"nonce {made!r} is longer than {NONCE}")
    return made
