"""Pays channels what votes owe them: the call, the result and the end of the call, each once.

A message is marked before it is sent and again after. One found marked "sending" at the next start is in doubt, and is
looked for in the channel before it is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import discord
from discord.utils import time_snowflake

from bot import vote_cards
from bot.ballot_box import NOBODY, Poll
from bot.ballots import vote_buttons
from bot.cards import persona_name
from bot.door import Door
from bot.duels import AWAY
from bot.notices import Notice, NoticeKind
from bot.voting import Voting, versions_of
from tasks.errors import NoSuchJob
from tasks.jobs import Origin
from training.evaluation.schema import Rubric, Vote, VotePair
from training.evaluation.votes import agreement, decided, judgements, rubric_agreement, strengths, tally

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 1800.0
# 1 s, 2 s, … and then every half hour, for about a day.
MOST_TRIES = 60
FEW_TRIES = 5
LOOK_SECONDS = 60.0
UNKNOWN_MESSAGE = 10008
# Discord's clock and ours may differ by as much; a busy channel says no more than this within it.
LOOK_BACK_SECONDS = 300
LOOKED_THROUGH = 500


class VoteCourier:
    """Closes votes whose time is up, and sends what is owed."""

    def __init__(self, door: Door, voting: Voting) -> None:
        self._door = door
        self._voting = voting
        self._ballots = voting.ballots

    async def run(self) -> None:
        """Work until cancelled."""
        looked = False
        while True:
            self._voting.bell.clear()
            try:
                await self._voting.close_overdue()
                if not looked:
                    await self._voting.close_settled()
                    looked = True
                while owed := await asyncio.to_thread(self._ballots.owed, time.time()):
                    for notice in owed:
                        await self._deliver(notice)
                wait = await asyncio.to_thread(self._seconds_left)
            except Exception:
                logger.exception("Serving votes failed; it is tried again.")
                wait = RETRY_SECONDS
            try:
                await asyncio.wait_for(self._voting.bell.wait(), wait)
            except TimeoutError:
                continue

    def _seconds_left(self) -> float:
        """Until a vote closes or a message may be tried again, or the file is to be looked at all the same."""
        moments = [at for at in (self._ballots.next_deadline(), self._ballots.next_due()) if at is not None]
        # Votes may also be forgotten by another process, which rings no bell.
        return max(0.0, min([*moments, time.time() + LOOK_SECONDS]) - time.time())

    # --- sending ---------------------------------------------------------------------------------------------------

    async def _deliver(self, notice: Notice, plain: bool = False) -> None:
        """Send one message; as a line of text without an embed where Discord refused it otherwise."""
        poll = await asyncio.to_thread(self._ballots.poll, notice.poll)
        assert poll is not None
        try:
            await self._settle(notice, poll, plain)
        except discord.HTTPException as error:
            passing = error.status >= 500 or error.status in (401, 403, 404, 429)
            if passing and error.code != UNKNOWN_MESSAGE and notice.attempts < MOST_TRIES:
                await self._put_off(notice, error)
            elif not passing and not plain:
                logger.error("Discord refuses the %s of vote %s; it is said plainly: %s", notice.kind, poll.id, error)
                await self._deliver(notice, plain=True)
            else:
                logger.error("The %s of vote %s is given up: %s", notice.kind, poll.id, error)
                await asyncio.to_thread(self._ballots.park, notice)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await self._put_off(notice, error)
        except Exception as error:
            # What nobody foresaw may pass, such as a busy disk; what does not is given up.
            logger.exception("The %s of vote %s cannot be shown.", notice.kind, poll.id)
            if notice.attempts < FEW_TRIES:
                await self._put_off(notice, error)
            elif not plain:
                await self._deliver(notice, plain=True)
            else:
                await asyncio.to_thread(self._ballots.park, notice)

    async def _put_off(self, notice: Notice, error: BaseException) -> None:
        pause = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** min(notice.attempts, 32))
        logger.warning("The %s of vote %s waits %.0f s: %s", notice.kind, notice.poll, pause, error)
        await asyncio.to_thread(self._ballots.put_off, notice, time.time() + pause)

    async def _settle(self, notice: Notice, poll: Poll, plain: bool) -> None:
        if notice.kind is NoticeKind.OVER:
            await self._end_call(notice, poll, plain)
            return
        found = await self._find(notice, poll) if notice.in_doubt else None
        if found is None:
            await asyncio.to_thread(self._ballots.begin, notice)
            send = self._call if notice.kind is NoticeKind.CALL else self._result
            found = await send(poll, plain)
        await asyncio.to_thread(self._ballots.sent, notice, found)

    async def _call(self, poll: Poll, plain: bool) -> str:
        pairs = await asyncio.to_thread(self._ballots.pairs, poll.id)
        sent = await self._channel(poll).send(
            **_told(vote_cards.call_embed(poll, pairs, await self._name(poll)), plain),
            view=vote_buttons("enter", poll.id),
            nonce=f"{poll.id}:{NoticeKind.CALL}",
        )
        return str(sent.id)

    async def _result(self, poll: Poll, plain: bool) -> str:
        name = await self._name(poll)
        lessons = await self._lessons(poll)
        embed = await asyncio.to_thread(self._counted, poll, name, lessons.missing)
        sent = await self._channel(poll).send(
            **_told(embed, plain, vote_cards.result_text(poll, name)),
            view=vote_buttons("use", poll.id) if lessons.any else discord.utils.MISSING,
            nonce=f"{poll.id}:{NoticeKind.RESULT}",
            # The one message that is meant to call someone.
            allowed_mentions=discord.AllowedMentions(
                everyone=False,
                roles=False,
                users=False if poll.asker == NOBODY else [discord.Object(int(poll.asker))],
            ),
        )
        return str(sent.id)

    async def _lessons(self, poll: Poll) -> _Lessons:
        """What can be learnt from this vote."""
        pairs, votes, rubrics = await asyncio.to_thread(self._cast, poll)
        typed = {pair.id for pair in pairs if pair.asked_by == "member"}
        try:
            origin = Origin(door="discord", guild_id=poll.guild_id)
            withheld = typed and typed - await self._door.duels.agreed(origin, poll.persona)
        except (*AWAY, NoSuchJob) as error:  # whoever presses the button asks again
            logger.info("What vote %s may be used for is looked up later: %s", poll.id, error)
            withheld = set()
        clear = {pair.id for pair in pairs if decided(pair, votes)}
        taught = clear | {pair.id for pair in pairs if judgements(pair, votes, rubrics)}
        if taught and taught <= withheld:
            return _Lessons(any=False, missing=vote_cards.NOT_AGREED)
        return _Lessons(any=bool(taught), missing=None if clear - withheld else vote_cards.TOO_EVEN)

    def _cast(self, poll: Poll) -> tuple[list[VotePair], list[Vote], list[Rubric]]:
        ballots = self._ballots
        return ballots.pairs(poll.id), ballots.votes(poll.id), ballots.rubrics(poll.id)

    def _counted(self, poll: Poll, name: str, missing: str | None) -> discord.Embed:
        """How the vote ended."""
        pairs, votes = self._ballots.pairs(poll.id), self._ballots.votes(poll.id)
        found = tally(pairs, votes, *versions_of(pairs))
        box = self._ballots.closed(poll.guild_id, poll.persona)
        rated = self._ballots.ratings(poll.guild_id, poll.persona)
        known = vote_cards.KnownVotes(
            ranked=strengths(box.pairs, box.votes),
            alpha=agreement(box.pairs, box.votes),
            rated={question: rubric_agreement(rated, question) for question in vote_cards.RUBRIC},
        )
        rubrics = self._ballots.rubrics(poll.id)
        counted = vote_cards.Counted(pairs, votes, rubrics, found, missing)
        return vote_cards.result_embed(poll, name, counted, known)

    async def _end_call(self, notice: Notice, poll: Poll, plain: bool) -> None:
        """Take the button from the call; that it is edited twice does no harm."""
        call = await asyncio.to_thread(self._ballots.message_of, poll.id, NoticeKind.CALL)
        if call is None:
            await asyncio.to_thread(self._ballots.park, notice)
            return
        pairs = await asyncio.to_thread(self._ballots.pairs, poll.id)
        told = _told(vote_cards.over_embed(poll, pairs, await self._name(poll)), plain)
        await self._channel(poll).get_partial_message(int(call)).edit(**told, view=None)
        await asyncio.to_thread(self._ballots.sent, notice, call)

    # --- finding ---------------------------------------------------------------------------------------------------

    async def _find(self, notice: Notice, poll: Poll) -> str | None:
        """The id of the message that an interrupted try left in the channel, if it got that far.

        It can be no older than the try, however much was said in the channel since the vote was opened or closed.
        """
        marker = vote_cards.call_marker if notice.kind is NoticeKind.CALL else vote_cards.result_marker
        began = notice.begun_at or (
            poll.opened_at if notice.kind is NoticeKind.CALL else poll.closed_at or poll.closes_at
        )
        after = discord.Object(time_snowflake(datetime.fromtimestamp(began - LOOK_BACK_SECONDS, UTC)))
        async for message in self._channel(poll).history(limit=LOOKED_THROUGH, after=after, oldest_first=True):
            signed = [*(embed.footer.text for embed in message.embeds), message.content.rpartition("\n-# ")[2]]
            if message.author == self._door.user and marker(poll.id) in signed:
                return str(message.id)
        return None

    def _channel(self, poll: Poll) -> discord.PartialMessageable:
        return self._door.get_partial_messageable(int(poll.channel_id), guild_id=int(poll.guild_id))

    async def _name(self, poll: Poll) -> str:
        return persona_name(poll.persona, await self._door.known_catalog(poll.guild_id))


@dataclass(frozen=True)
class _Lessons:
    """Whether a vote gives rows to learn from, and why no pair of preferences, if it gives none."""

    any: bool
    missing: str | None = None


def _told(embed: discord.Embed, plain: bool, above: str | None = None) -> dict[str, Any]:
    """The words of a message: an embed with a line above it, or all of it as a few lines of text."""
    if not plain:
        return {"content": above, "embed": embed}
    lines = [*([above] if above else []), embed.title or "", f"-# {embed.footer.text}"]
    return {"content": "\n".join(lines)}
