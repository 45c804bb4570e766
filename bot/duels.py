"""Puts questions to several voices for somebody who waits: what they say, how far apart that is, what to vote on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass

from bot.ballot_box import new_id
from bot.errors import DuelRunning, NothingToVoteOn, TrainerForgotten
from bot.voting import AskedBy, Voting
from tasks.client import Client
from tasks.errors import DataRefused, NoSuchJob, RedisAway, WorkersAway
from tasks.jobs import Origin
from training.data.schema import DataAction, DataSpec
from training.evaluation.schema import Contender, Separation, VotePair
from training.evaluation.votes import Version
from training.schema import ChatReply, ChatSpec, Message

PATIENCE_SECONDS = 2.0
VOTE_PATIENCE_SECONDS = 30.0
"""Discord drops choices that come after 3 s."""
KEPT_SECONDS = 60.0
MOST_SHOWN = 1000
AWAY = (RedisAway, WorkersAway, DataRefused)


@dataclass(frozen=True)
class _Sheet:
    """The questions of a sheet, read or being read, and until when they are taken for new."""

    questions: asyncio.Task[list[str]]
    until: float


class Duels:
    """All that a duel or a vote on answers needs of the queue."""

    def __init__(self, queue: Client, voting: Voting) -> None:
        self._queue = queue
        self._voting = voting
        self._busy: set[tuple[str, str | None]] = set()
        self._sheets: dict[tuple[str, str], _Sheet] = {}
        self._shown: deque[str] = deque(maxlen=MOST_SHOWN)

    # --- asking ----------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, origin: Origin) -> Iterator[None]:
        """One member's answers at a time, so that nobody fills the queue of conversations; raises DuelRunning."""
        who = (origin.guild_id, origin.user_id)
        if who in self._busy:
            raise DuelRunning
        self._busy.add(who)
        try:
            yield
        finally:
            self._busy.remove(who)

    async def replies(self, specs: Sequence[ChatSpec], origin: Origin) -> list[ChatReply]:
        """What each of them answers, in order; raises WorkersAway or ChatRefused."""
        return list(await asyncio.gather(*(self._queue.ask(spec, origin) for spec in specs)))

    async def shown(self, specs: Sequence[ChatSpec], origin: Origin) -> list[ChatReply]:
        """The same, for everybody to read under their names, so that no vote asks of these words whose they are."""
        replies = await self.replies(specs, origin)
        self._shown.extend(reply.text.strip() for reply in replies)
        return replies

    async def pairs(
        self,
        origin: Origin,
        persona: str,
        versions: tuple[Version, Version],
        asked: Mapping[str, AskedBy],
        posted: AbstractSet[str] = frozenset(),
    ) -> list[VotePair]:
        """What two versions answer to each question, drawn anew, since no one may have read it under a name before.

        Left out is a question that both answer alike, or one not at all, or with words that are `posted` somewhere or
        that a duel has shown lately.
        Raises NothingToVoteOn where nothing is left, WorkersAway or ChatRefused.
        """
        seed = secrets.randbelow(2**31)
        specs = [
            spoken(origin.guild_id, persona, version or 0, question, seed) for question in asked for version in versions
        ]
        said = await self.replies(specs, origin)
        made = [
            VotePair(
                id=new_id(),
                persona=persona,
                question=question,
                first=Contender(version=one.version, answer=one.text.strip()),
                second=Contender(version=other.version, answer=other.text.strip()),
                asked_by=by,
            )
            for (question, by), one, other in zip(asked.items(), said[::2], said[1::2], strict=True)
        ]
        usable = [pair for pair in made if _may_be_voted_on(pair, posted | set(self._shown))]
        if not usable:
            raise NothingToVoteOn(reason="both answered the same, or one said nothing new")
        return usable

    # --- who is asked what -----------------------------------------------------------------------------------------

    async def sheet_questions(self, origin: Origin, persona: str, patience: float = PATIENCE_SECONDS) -> list[str]:
        """The questions of a persona's sheet, read once a minute; none where they are not known in so many seconds."""
        key = (origin.guild_id, persona)
        held = self._sheets.get(key)
        if held is None or time.monotonic() > held.until:
            reading = asyncio.create_task(self._read(origin, persona), name=f"sheet of {persona}")
            held = self._sheets[key] = _Sheet(reading, time.monotonic() + KEPT_SECONDS)
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(held.questions)
        except TimeoutError:
            return []

    async def _read(self, origin: Origin, persona: str) -> list[str]:
        spec = DataSpec(action=DataAction.PERSONA, guild_id=origin.guild_id, persona=persona)
        try:
            sheet = (await self._queue.data(spec, origin)).persona
        except (*AWAY, NoSuchJob):
            self._sheets.pop((origin.guild_id, persona), None)
            return []
        return [fact.question for fact in sheet.facts if fact.question] if sheet else []

    async def known_questions(
        self, origin: Origin, persona: str, patience: float = PATIENCE_SECONDS
    ) -> dict[str, AskedBy]:
        """The questions of the sheet and then the operator's, each with where it is from.

        patience: seconds that the sheet is waited for; a vote can wait longer than somebody who types.
        """
        own: dict[str, AskedBy] = dict.fromkeys(self._voting.rules.questions, "operator")
        sheet: dict[str, AskedBy] = dict.fromkeys(await self.sheet_questions(origin, persona, patience), "sheet")
        return sheet | {question: by for question, by in own.items() if question not in sheet}

    # --- who may vote, and what is learnt from ---------------------------------------------------------------------

    async def trainers(self, guild_id: str, persona: str, versions: Collection[int | None]) -> set[str]:
        """The pseudonyms of those who started the jobs that made these versions; raises TrainerForgotten.

        Nobody, where trainers may vote.
        """
        if self._voting.rules.trainers:
            return set()
        made = {entry.version: entry.job_id for entry in await self._queue.versions(guild_id, persona)}
        found = [await self._trainer(guild_id, persona, version, made.get(version)) for version in versions if version]
        return {trainer for trainer in found if trainer is not None}

    async def _trainer(self, guild_id: str, persona: str, version: int, job_id: str | None) -> str | None:
        try:
            if job_id is None:
                raise NoSuchJob(name=f"{persona} v{version}")
            known, trainer = await asyncio.to_thread(self._voting.ballots.trainer, guild_id, job_id)
            if known:
                return trainer
            job = (await self._queue.show(job_id, guild_id)).job
        except NoSuchJob as error:
            raise TrainerForgotten(version=f"v{version}") from error
        await self._voting.note_trainer(job)
        return (await asyncio.to_thread(self._voting.ballots.trainer, guild_id, job_id))[1]

    async def agreed(self, origin: Origin, persona: str) -> set[str]:
        """The closed pairs whose typed question may be learnt from, which a worker looks up without the words.

        Raises RedisAway, WorkersAway or DataRefused.
        """
        typed = await asyncio.to_thread(self._voting.ballots.typed, origin.guild_id, persona)
        if not typed:
            return set()
        spec = DataSpec(action=DataAction.AGREED, guild_id=origin.guild_id, persona=persona, typed=typed)
        return set((await self._queue.data(spec, origin)).agreed)

    # --- how far apart ---------------------------------------------------------------------------------------------

    async def apart(self, origin: Origin, replies: Mapping[str, str]) -> Separation | None:
        """How well the answers of several personas, by slug, are told apart; None where no worker can say."""
        spec = DataSpec(action=DataAction.APART, guild_id=origin.guild_id, replies=dict(replies))
        try:
            return (await self._queue.data(spec, origin)).separation
        except AWAY:
            return None


def spoken(guild_id: str, persona: str, version: int | None, question: str, seed: int) -> ChatSpec:
    """One question to one voice; version None: the live one, 0: the base model."""
    asked = (Message(role="user", content=question),)
    return ChatSpec(guild_id=guild_id, persona=persona, version=version, messages=asked, seed=seed)


def _may_be_voted_on(pair: VotePair, posted: AbstractSet[str]) -> bool:
    answers = {pair.first.answer, pair.second.answer} - {""}
    return len(answers) == 2 and answers.isdisjoint(posted)
