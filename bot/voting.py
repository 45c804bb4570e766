"""The rules of blind votes: who may vote, on what, for how long, and when it is clear."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import discord

from bot.ballot_box import Ballots, Closed, Poll, new_id
from bot.check_cards import told_samples
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
from tasks.jobs import Job, JobView, Origin
from training.evaluation.schema import BallotBox, CheckReport, Suite, Vote, VotePair
from training.evaluation.votes import Tally, Version, people_line, tally
from training.schema import WHOLE_CAST

log = logging.getLogger(__name__)
MOST_QUESTIONS = 5
MOST_JUDGED = 20
HOUR = 3600.0
AskedBy = Literal["sheet", "operator", "member"]
"""Where a question is from."""


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
        excluded: Collection[str],
        *,
        about: str | None = None,
        hours: int | None = None,
    ) -> Poll:
        """Open a vote in the channel that it was asked for in; raises VoteOpenAlready.

        excluded: the pseudonyms of those whose votes would not count. about: the job whose result it is on.
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
        if not await asyncio.to_thread(self.ballots.open, poll, pairs, tuple(excluded)):
            raise VoteOpenAlready
        self.bell.set()
        return poll

    async def require_none_open(self, guild_id: str, about: str) -> None:
        """Raise VoteOpenAlready where a vote on this job's result is open."""
        if await asyncio.to_thread(self.ballots.is_voted_on, guild_id, about):
            raise VoteOpenAlready

    async def note_trainer(self, job: Job) -> None:
        """Remember who started a job, who does not vote on what came of it, for as long as there are votes."""
        await asyncio.to_thread(self.ballots.note_trainer, job.guild_id, job.id, job.origin.user_id)

    async def close_overdue(self) -> None:
        """Close the votes whose time is up."""
        now = time.time()
        for poll_id in await asyncio.to_thread(self.ballots.overdue, now):
            await asyncio.to_thread(self.ballots.end, poll_id, Closed.DEADLINE, now)

    async def close_settled(self) -> None:
        """Close the votes that are clear: a bot that was killed right after the vote that made one so left it open."""
        for poll_id in await asyncio.to_thread(self.ballots.still_open):
            try:
                settled = (await asyncio.to_thread(self._count, poll_id)).settled
            except Exception:
                log.exception("Vote %s cannot be counted.", poll_id)  # nor keep the others waiting
                continue
            if settled:
                await asyncio.to_thread(self.ballots.end, poll_id, Closed.SETTLED, time.time())

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
        box = await asyncio.to_thread(self.ballots.closed, guild_id, check.persona)
        return _heard(check, box)

    async def all_heard(self, guild_id: str, persona: str, checks: Mapping[int, CheckReport]) -> dict[int, CheckReport]:
        """The checks of a persona's versions, each with line 9."""
        box = await asyncio.to_thread(self.ballots.closed, guild_id, persona)
        return {version: _heard(check, box) for version, check in checks.items()}

    async def judged(self, guild_id: str, persona: str) -> BallotBox | None:
        """The newest closed votes that a language model may be measured on: no question that a member typed.

        Voters are numbers there, anew for each question: all that counts is how many chose what.
        """
        box = await asyncio.to_thread(self.ballots.closed, guild_id, persona)
        pairs = tuple(pair for pair in box.pairs if pair.asked_by != "member")[:MOST_JUDGED]
        cast = {pair.id: [vote for vote in box.votes if vote.pair == pair.id] for pair in pairs}
        votes = tuple(
            vote.model_copy(update={"voter": str(number)})
            for said in cast.values()
            for number, vote in enumerate(sorted(said, key=lambda vote: vote.choice))
        )
        return BallotBox(pairs=pairs, votes=votes) if votes else None

    def _count(self, poll_id: str) -> Tally:
        pairs = self.ballots.pairs(poll_id)
        return tally(pairs, self.ballots.votes(poll_id), *versions_of(pairs))


def _heard(check: CheckReport, box: BallotBox) -> CheckReport:
    spec = check.spec
    if spec.suite is not Suite.PERSONA or spec.version is None:
        return check
    return check.with_votes(people_line(tally(box.pairs, box.votes, spec.version, spec.against_version or None)))


def versions_of(pairs: Sequence[VotePair]) -> tuple[Version, Version]:
    """The two versions that a vote is on, the newer one first."""
    older, newer = sorted((pairs[0].first.version, pairs[0].second.version), key=lambda version: version or 0)
    return newer, older


@dataclass(frozen=True)
class Contest:
    """Two versions of a persona whose result may be put to the vote, and what everyone can read of them already.

    others: questions that were asked of both and whose answers are not shown. posted: every answer that the messages of
    the result or the files with them hold.
    """

    persona: str
    versions: tuple[Version, Version]
    shown: tuple[str, ...]
    others: tuple[str, ...]
    posted: frozenset[str]

    def questions(self, known: Mapping[str, AskedBy]) -> dict[str, AskedBy]:
        """At most five questions to vote on, the known ones last; raises NothingToVoteOn where all are answered above.

        A question whose answers stand above under the names of their versions is left out: whoever read them could
        tell who says what.
        """
        asked: dict[str, AskedBy] = dict.fromkeys(self.others, "sheet")
        free = {question: by for question, by in {**asked, **known}.items() if question not in self.shown}
        if not free:
            raise NothingToVoteOn(reason="every question that is known here is answered above, with names")
        return dict(list(free.items())[:MOST_QUESTIONS])


def contest_of(view: JobView) -> Contest:
    """What a finished training or check can be voted on: the version against the one it was compared with, or the base.

    Raises NothingToVoteOn.
    """
    if view.check is not None:
        return _checked(view.check)
    report = view.report
    if report is None or report.spec.persona in (None, WHOLE_CAST) or view.version is None:
        raise NothingToVoteOn(reason="it trained no version of one persona")
    shown = tuple(sample.question for sample in report.samples)
    posted = frozenset(text.strip() for sample in report.samples for text in (sample.base, sample.adapter))
    return Contest(str(report.spec.persona), (None, view.version), shown, (), posted)


def _checked(found: CheckReport) -> Contest:
    spec = found.spec
    if spec.version is None:
        raise NothingToVoteOn(reason="the base model alone was checked")
    if spec.suite is not Suite.PERSONA:
        raise NothingToVoteOn(reason="general questions are not the persona's own")
    questions = [sample.question for sample in found.samples]
    told = len(told_samples(found))
    said = [text for one in found.samples for text in (one.base, one.before or "", one.adapter)]
    said += [answer.reply for answer in found.answers]
    for point in found.drift:
        said += [answer.reply for answer in point.answers]
        said += [turn.content for talk in point.talks for turn in talk if turn.role == "assistant"]
    posted = frozenset(text.strip() for text in said)
    versions = (spec.against_version or None, spec.version)
    return Contest(found.persona, versions, tuple(questions[:told]), tuple(questions[told:]), posted)


def _require_role(role: str | None, member: Any) -> None:
    if role is None:
        return
    held = member.roles if isinstance(member, discord.Member) else []
    if not any(str(one.id) == role or one.name.casefold() == role.casefold() for one in held):
        raise MayNotVote(role=role)
