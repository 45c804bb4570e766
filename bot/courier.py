"""Carries one row of the outbox to its channel: renders it, sends or edits its message, or finds it again.

Everything goes by the bot's token with channel and message ids, never by an interaction's token, which dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO

import discord
from discord.utils import time_snowflake

from bot import cards, data_cards, talk
from bot.buttons import Deed, buttons, card_buttons
from bot.door import Door
from bot.ledger import Kind, Ledger, Row
from bot.limits import NONCE
from bot.voices import Voices
from tasks.jobs import Catalog, Event
from training.charts import loss_chart

UNKNOWN_WEBHOOK = 10015
# Discord's clock and ours may differ by as much; a busy channel says no more than this within it.
LOOK_BACK_SECONDS = 300
LOOKED_THROUGH = 500


class Courier:
    """Knows how each kind of row becomes a message."""

    def __init__(self, door: Door, ledger: Ledger) -> None:
        self._door = door
        self._ledger = ledger
        self._voices = Voices(door)

    async def post(self, row: Row, plain: bool) -> str:
        """Send a row's message; its id. Raises discord.HTTPException, OSError or aiohttp.ClientError.

        plain: as one line of text, without embeds, files or a name of its own, where Discord refused the message.
        """
        match row.kind:
            case Kind.CARD:
                return await self._post_card(row, plain)
            case Kind.RESULT:
                return await self._post_result(row, plain)
            case Kind.REPLY:
                return await self._post_reply(row, plain)

    async def edit(self, row: Row, message_id: str, plain: bool) -> None:
        """Let a card show its newest state."""
        message = self._channel(row).get_partial_message(int(message_id))
        text, embed = await self._card(row.event, plain)
        await message.edit(content=text, embed=embed, view=card_buttons(row.event.job, row.event.state))

    async def find(self, row: Row) -> str | None:
        """The id of the message that an interrupted `post` of this row left in the channel, if it got that far."""
        async for message in self._own_messages(row):
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
        catalog = await self._door.known_catalog(event.job.guild_id)
        voices = await self._door.queue.voices(event.job, event.report)
        text = data_cards.result_text(event) if _is_data(event) else cards.result_text(event, voices, catalog)
        files = []
        if not plain and event.report is not None and event.report.curve:
            title = f"{event.report.spec.job_name}: loss"
            picture = await asyncio.to_thread(loss_chart, event.report.curve, title=title)
            files.append(discord.File(BytesIO(picture), cards.CHART_FILE))
        starter = event.job.origin.user_id
        offered = not all(voice.live for voice in voices)
        sent = await self._channel(row).send(
            f"{text}\n-# {cards.result_marker(row.job_id)}" if plain else text,
            embeds=[] if plain else _result_embeds(event, catalog, chart=bool(files)),
            files=files,
            view=buttons(event.job_id, Deed.LIVE) if offered else discord.utils.MISSING,
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

    # --- finding ---------------------------------------------------------------------------------------------------

    async def _own_messages(self, row: Row) -> AsyncIterator[discord.Message]:
        since = datetime.fromtimestamp(row.created_at - LOOK_BACK_SECONDS, UTC)
        after = discord.Object(time_snowflake(since))
        async for message in self._channel(row).history(limit=LOOKED_THROUGH, after=after, oldest_first=True):
            ours = message.author == self._door.user or message.webhook_id is not None
            # Answers to commands show the same embeds; they are not what the channel is owed.
            if ours and message.interaction_metadata is None:
                yield message

    async def _shows(self, message: discord.Message, row: Row) -> bool:
        if row.kind is not Kind.REPLY:
            marker = cards.card_marker(row.job_id) if row.kind is Kind.CARD else cards.result_marker(row.job_id)
            signed = [(embed.footer.text or "").split(" · ")[0] for embed in message.embeds]
            return marker in [*signed, message.content.rpartition("\n-# ")[2]]
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
        return self._door.get_partial_messageable(int(row.channel_id), guild_id=int(row.event.job.guild_id))

    async def _card(self, event: Event, plain: bool) -> tuple[str | None, discord.Embed | None]:
        catalog = await self._door.known_catalog(event.job.guild_id)
        embed = data_cards.data_card(event, catalog) if _is_data(event) else cards.job_card(event, event.at, catalog)
        return (f"{embed.title}\n-# {cards.card_marker(event.job_id)}", None) if plain else (None, embed)


def _is_data(event: Event) -> bool:
    return event.job.kind == "data"


def _result_embeds(event: Event, catalog: Catalog | None, chart: bool) -> list[discord.Embed]:
    if _is_data(event):
        return data_cards.result_embeds(event, catalog)
    return cards.result_embeds(event, catalog, chart=chart)


def nonce(row: Row) -> str:
    """The same for every attempt at one message, so that Discord itself refuses to post it twice within minutes."""
    made = f"{row.job_id}:{row.kind.value}:{row.part}"
    if len(made) > NONCE:
        raise ValueError(f"nonce {made!r} is longer than {NONCE}")
    return made
