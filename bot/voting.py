"""The rules of blind votes: who may vote, on what, for how long, and when it is clear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import discord

from bot.ballot_box import Ballots, Closed, Poll, new_id
from bot.errors import (
    AccountTooYoung,
    MayNotVote,
    NoSuchVote,
    NothingToVoteOn,
    TrainerMayNotVote,
    VoteClosed,
    VoteOpenAlready,
)
from bot.phrases import count
from tasks.jobs import JobView, Origin
from training.evaluation.schema import BallotBox, CheckReport, Contender, Suite, Vote, VotePair
from training.evaluation.votes import Tally, Version, people_line, tally
from training.schema import WHOLE_CAST

MOST_QUESTIONS = 5
MOST_JUDGED = 20
HOUR = 3600.0


@dataclass(frozen=True)
class Rules:
    """What an operator settled about votes; `role` is a name or an id, None: none is asked for.

    questions: the operator's own, beside those of the sheets.
    """

    role: str | None
    account_days: int
    hours: int
    trainers: bool
    questions: tuple[str, ...] = ()


class Voting:
    """All that votes need; `bell` is rung when a channel may be owed something."""

    def __init__(self, ballots: Ballots, rules: Rules) -> None:
        self.ballots = ballots
        self.rules = rules
        self.bell = asyncio.Event()

    # --- opening and closing ---------------------------------------------------------------------------------------

    async def open(
        self,
        origin: Origin,
        pairs: Sequence[VotePair],
        trained_by: Collection[str],
        *,
        about: str | None = None,
        hours: int | None = None,
    ) -> Poll:
        """Open a vote in the channel that it was asked for in; raises VoteOpenAlready.

        trained_by: the user ids of those who trained a version. about: the job whose result it is on.
        """
        assert origin.channel_id is not None
        assert origin.user_id is not None
        now = time.time()
        poll = Poll(
            id=new_id(),
            guild_id=origin.guild_id,
            channel_id=origin.channel_id,
            persona=pairs[0].persona,
            about=about,
            asker=origin.user_id,
            opened_at=now,
            closes_at=now + (hours or self.rules.hours) * HOUR,
        )
        excluded = () if self.rules.trainers else tuple(trained_by)
        if not await asyncio.to_thread(self.ballots.open, poll, pairs, excluded):
            raise VoteOpenAlready
        self.bell.set()
        return poll

    async def close_overdue(self) -> None:
        """Close the votes whose time is up."""
        now = time.time()
        for poll_id in await asyncio.to_thread(self.ballots.overdue, now):
            await asyncio.to_thread(self.ballots.end, poll_id, Closed.DEADLINE, now)

    # --- voting ----------------------------------------------------------------------------------------------------

    async def poll_of(self, guild_id: str, pair_id: str) -> Poll:
        """The vote that a pair of this guild belongs to; raises NoSuchVote."""
        poll = await asyncio.to_thread(self.ballots.poll_of, pair_id)
        if poll is None or poll.guild_id != guild_id:
            raise NoSuchVote
        return poll

    async def poll(self, guild_id: str, poll_id: str) -> Poll:
        """A vote of this guild; raises NoSuchVote."""
        poll = await asyncio.to_thread(self.ballots.poll, poll_id)
        if poll is None or poll.guild_id != guild_id:
            raise NoSuchVote
        return poll

    async def admitted(self, poll: Poll, member: discord.User | discord.Member) -> str:
        """The pseudonym of a member who may vote now.

        Raises VoteClosed, MayNotVote, AccountTooYoung or TrainerMayNotVote.
        """
        if not poll.is_open(time.time()):
            raise VoteClosed
        _require_role(self.rules.role, member)
        if datetime.now(UTC) - member.created_at < timedelta(days=self.rules.account_days):
            raise AccountTooYoung(days=count(self.rules.account_days, "day"))
        voter = self.ballots.pseudonym(poll.guild_id, str(member.id))
        if await asyncio.to_thread(self.ballots.is_excluded, poll.id, voter):
            raise TrainerMayNotVote
        return voter

    async def cast(self, poll: Poll, vote: Vote) -> bool:
        """Keep a choice, and close the vote where that made it clear; whether it did. Raises VoteClosed."""
        if not await asyncio.to_thread(self.ballots.cast, vote, time.time()):
            raise VoteClosed
        found = await asyncio.to_thread(self._count, poll.id)
        if not found.settled:
            return False
        await asyncio.to_thread(self.ballots.end, poll.id, Closed.SETTLED, time.time())
        self.bell.set()
        return True

    async def heard(self, guild_id: str, check: CheckReport) -> CheckReport:
        """The check with line 9: what all closed votes say of its version against what it was compared with."""
        spec = check.spec
        if spec.suite is not Suite.PERSONA or spec.version is None:
            return check
        box = await asyncio.to_thread(self.ballots.closed, guild_id, check.persona)
        line = people_line(tally(box.pairs, box.votes, spec.version, spec.against_version or None))
        measured = (known for known in check.lines if known.id != line.id)
        return check.model_copy(update={"lines": (*measured, line)})

    async def judged(self, guild_id: str, persona: str) -> BallotBox | None:
        """The newest closed votes that a language model may be measured on: no question that a member typed."""
        box = await asyncio.to_thread(self.ballots.closed, guild_id, persona)
        pairs = tuple(pair for pair in box.pairs if pair.asked_by != "member")[:MOST_JUDGED]
        shown = {pair.id for pair in pairs}
        votes = tuple(vote for vote in box.votes if vote.pair in shown)
        return BallotBox(pairs=pairs, votes=votes) if votes else None

    def _count(self, poll_id: str) -> Tally:
        pairs = self.ballots.pairs(poll_id)
        return tally(pairs, self.ballots.votes(poll_id), *versions_of(pairs))


def versions_of(pairs: Sequence[VotePair]) -> tuple[Version, Version]:
    """The two versions that a vote is on, the newer one first."""
    older, newer = sorted((pairs[0].first.version, pairs[0].second.version), key=lambda version: version or 0)
    return newer, older


def pairs_of(view: JobView) -> list[VotePair]:
    """What a finished training or check can be voted on: its samples whose two answers differ, at most five.

    Of a check with another version the two versions' answers, else the adapter's and the base model's. Raises
    NothingToVoteOn.
    """
    persona, newer, older, answered = _answered(view)
    usable = [
        (question, before.strip(), after.strip())
        for question, before, after in answered
        if before.strip() and after.strip() and before.strip() != after.strip()
    ]
    if not usable:
        raise NothingToVoteOn(reason="no question was answered in two ways")
    return [
        VotePair(
            id=new_id(),
            persona=persona,
            question=question,
            first=Contender(version=older, answer=before),
            second=Contender(version=newer, answer=after),
            asked_by="sheet",
        )
        for question, before, after in usable[:MOST_QUESTIONS]
    ]


def _answered(view: JobView) -> tuple[str, Version, Version, list[tuple[str, str, str]]]:
    """(persona, newer version, older one, (question, answer of the older, answer of the newer) each)."""
    if view.check is not None:
        spec, samples = view.check.spec, view.check.samples
        if spec.version is None:
            raise NothingToVoteOn(reason="the base model alone was checked")
        if samples and all(sample.before is not None for sample in samples):
            told = [(sample.question, sample.before or "", sample.adapter) for sample in samples]
            return view.check.persona, spec.version, spec.against_version or None, told
        return view.check.persona, spec.version, None, [(s.question, s.base, s.adapter) for s in samples]
    persona = view.report.spec.persona if view.report else None
    if view.report is None or view.version is None or persona in (None, WHOLE_CAST):
        raise NothingToVoteOn(reason="it trained no version of one persona")
    return str(persona), view.version, None, [(s.question, s.base, s.adapter) for s in view.report.samples]


def _require_role(role: str | None, member: Any) -> None:
    if role is None:
        return
    held = member.roles if isinstance(member, discord.Member) else []
    if not any(str(one.id) == role or one.name.casefold() == role.casefold() for one in held):
        raise MayNotVote(role=role)
