"""The buttons of blind votes and the rubric form. They carry their vote or pair in their id, so they outlive restarts.

Nothing that a voter is sent tells which version gave which answer: which one is A is drawn for each voter by the
ballots' secret, when a pair is shown and again when a button is pressed.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, Literal, Self

import discord

from bot import vote_cards
from bot.ballot_box import MOST_EXPORTED_VOTES, Poll
from bot.door import Ask
from bot.duels import VOTE_PATIENCE_SECONDS
from bot.errors import NothingAgreed, VoteClosed, explained
from bot.forms import Given
from bot.members import TO_REPORT, origin_of, require_channel, require_trainer
from bot.voting import Voting, contest_of
from training.data.schema import DataAction, DataSpec
from training.evaluation.schema import BallotBox, Rubric, Vote, VoteChoice, VotePair

_ID = r"[a-z0-9]{12}"


@dataclass(frozen=True)
class _Ballot:
    """A vote as one voter sees it: its pairs, and what they chose so far."""

    voting: Voting
    poll: Poll
    voter: str
    pairs: list[VotePair]
    chosen: dict[str, VoteChoice]

    @property
    def unanswered(self) -> int | None:
        """The place of the first question without a choice."""
        return next((place for place, pair in enumerate(self.pairs) if pair.id not in self.chosen), None)

    def shown(self, place: int) -> dict[str, Any]:
        """One question with its two answers and what may be pressed, as a message's parts."""
        pair = self.pairs[place]
        turned = self.voting.ballots.is_turned(pair.id, self.voter)
        said = vote_cards.as_seen(self.chosen[pair.id], turned) if pair.id in self.chosen else None
        view = discord.ui.View(timeout=None)
        for act in _ACTS:
            if act != "next" or len(self.pairs) > 1:
                view.add_item(BallotButton(act, pair.id))
        text = vote_cards.ballot_text(self.poll, self.pairs, place, said)
        return {"content": text, "embeds": vote_cards.ballot_embeds(pair, turned), "view": view}


class VoteButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=rf"vote:(?P<deed>open|enter|use):(?P<about>{_ID})",
):
    """Opens a vote on a job's result, shows a vote's ballot to a member, or makes training data of votes."""

    def __init__(self, deed: str, about: str) -> None:
        label, style = _DEEDS[deed]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"vote:{deed}:{about}"))
        self.deed, self.about = deed, about

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["deed"], match["about"])

    @explained
    async def callback(self, interaction: Any) -> None:
        """Do the deed."""
        deeds = {"open": _open, "enter": _enter, "use": _use}
        await deeds[self.deed](interaction, self.about)


class BallotButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=rf"ballot:(?P<act>a|b|tie|bad|rate_a|rate_b|next):(?P<pair>{_ID})",
):
    """What a voter may do with one pair of answers."""

    def __init__(self, act: str, pair_id: str) -> None:
        label, style, row = _ACTS[act]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"ballot:{act}:{pair_id}", row=row))
        self.act, self.pair_id = act, pair_id

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["act"], match["pair"])

    @explained
    async def callback(self, interaction: Any) -> None:
        """Keep a choice, open the form, or turn to the next question."""
        await self._act(interaction)

    async def _act(self, interaction: Ask) -> None:
        voting = interaction.client.voting
        poll = await voting.poll_of(origin_of(interaction).guild_id, self.pair_id)
        voter = await voting.admitted(poll, interaction.user)
        if self.act in ("rate_a", "rate_b"):
            await interaction.response.send_modal(rubric_form(self.pair_id, self.act[-1].upper()))
        elif self.act == "next":
            await _turn(interaction, poll, voter, self.pair_id)
        else:
            await self._choose(interaction, poll, voter)

    async def _choose(self, interaction: Ask, poll: Poll, voter: str) -> None:
        voting = interaction.client.voting
        turned = voting.ballots.is_turned(self.pair_id, voter)
        choice = _choice(self.act, turned)
        if await voting.cast(poll, Vote(pair=self.pair_id, voter=voter, choice=choice)):
            await interaction.response.edit_message(content=vote_cards.closed_now(), embeds=[], view=None)
            return
        ballot = await _ballot(voting, poll, voter)
        if len(ballot.pairs) == 1 or ballot.unanswered is not None:
            await interaction.response.edit_message(**ballot.shown(ballot.unanswered or 0))
        else:
            said = vote_cards.all_said(vote_cards.as_seen(choice, turned))
            await interaction.response.edit_message(content=said, embeds=[], view=None)


def rubric_form(pair_id: str, side: str) -> discord.ui.Modal:
    """Three questions about one answer, each from 1 to 5; side: A or B, as the voter sees them."""
    form = discord.ui.Modal(title=f"Answer {side}, from 1 to 5", custom_id=f"rate:{side.lower()}:{pair_id}")
    for key, label in vote_cards.RUBRIC.items():
        options = [discord.SelectOption(label=told, value=value) for value, told in vote_cards.GRADES.items()]
        form.add_item(discord.ui.Label(text=label, component=discord.ui.Select(custom_id=key, options=options)))
    return form


RUBRIC_FORM = rf"rate:(?P<side>a|b):(?P<pair>{_ID})"


async def rate(interaction: Ask, form: re.Match[str], given: Given) -> None:
    """Keep what a voter said of an answer on the form."""
    voting, pair_id = interaction.client.voting, form["pair"]
    poll = await voting.poll_of(origin_of(interaction).guild_id, pair_id)
    voter = await voting.admitted(poll, interaction.user)
    turned = voting.ballots.is_turned(pair_id, voter)
    said = {key: int(given[key][0]) for key in vote_cards.RUBRIC}
    side: Literal["first", "second"] = "second" if (form["side"] == "b") != turned else "first"
    rubric = Rubric.model_validate({"pair": pair_id, "voter": voter, "side": side, **said})
    if not await asyncio.to_thread(voting.ballots.rate, rubric, time.time()):
        raise VoteClosed
    await interaction.response.send_message(vote_cards.rated(form["side"].upper()), ephemeral=True)


def vote_buttons(deed: str, about: str) -> discord.ui.View:
    """One of the buttons of a vote, valid for ever."""
    view = discord.ui.View(timeout=None)
    view.add_item(VoteButton(deed, about))
    return view


async def _open(interaction: Ask, job_id: str) -> None:
    """Open a vote on the versions of a job's result, by questions that it does not show the answers to."""
    require_trainer(interaction)
    require_channel(interaction, TO_REPORT)
    origin = origin_of(interaction)
    door = interaction.client
    with door.duels.turn(origin):
        # Without thinking the result itself would be taken for the answer, and be written over.
        await interaction.response.defer(ephemeral=True, thinking=True)
        await door.voting.require_none_open(origin.guild_id, job_id)
        contest = contest_of(await door.queue.show(job_id, origin.guild_id))
        asked = contest.questions(await door.duels.known_questions(origin, contest.persona, VOTE_PATIENCE_SECONDS))
        # Before anything is asked: without it there is no vote.
        excluded = await door.duels.trainers(origin.guild_id, contest.persona, contest.versions)
        pairs = await door.duels.pairs(origin, contest.persona, contest.versions, asked, contest.posted)
        await door.voting.open(origin, pairs, excluded, about=job_id)
    await interaction.edit_original_response(content=vote_cards.opened(len(pairs)))


async def _enter(interaction: Ask, poll_id: str) -> None:
    """Show the member alone what there is to vote on, at the first question that they have not answered."""
    voting = interaction.client.voting
    poll = await voting.poll(origin_of(interaction).guild_id, poll_id)
    voter = await voting.admitted(poll, interaction.user)
    ballot = await _ballot(voting, poll, voter)
    await interaction.response.send_message(**ballot.shown(ballot.unanswered or 0), ephemeral=True)


async def _turn(interaction: Ask, poll: Poll, voter: str, pair_id: str) -> None:
    ballot = await _ballot(interaction.client.voting, poll, voter)
    place = next(place for place, pair in enumerate(ballot.pairs) if pair.id == pair_id)
    await interaction.response.edit_message(**ballot.shown((place + 1) % len(ballot.pairs)))


async def _use(interaction: Ask, poll_id: str) -> None:
    """Make a dataset of all votes on the persona that are closed by now."""
    require_trainer(interaction)
    origin = origin_of(interaction)
    voting = interaction.client.voting
    poll = await voting.poll(origin.guild_id, poll_id)
    await interaction.response.defer()
    agreed = await interaction.client.duels.agreed(origin, poll.persona)
    box = await asyncio.to_thread(voting.ballots.closed, poll.guild_id, poll.persona)
    rated = await asyncio.to_thread(voting.ballots.ratings, poll.guild_id, poll.persona)
    typed = await asyncio.to_thread(voting.ballots.typed, poll.guild_id, poll.persona)
    # Whoever has not agreed typed nothing that leaves this file.
    pairs = tuple(pair for pair in box.pairs if pair.asked_by != "member" or pair.id in agreed)
    if not pairs:
        raise NothingAgreed
    kept = {pair.id for pair in pairs}
    spec = DataSpec(
        action=DataAction.VOTES,
        guild_id=origin.guild_id,
        name=f"votes-{poll.persona[:20].strip('-_')}-{poll.id}",
        persona=poll.persona,
        votes=BallotBox(
            pairs=pairs,
            votes=tuple(vote for vote in box.votes if vote.pair in kept),
            rubrics=tuple(rubric for rubric in rated if rubric.pair in kept)[:MOST_EXPORTED_VOTES],
        ),
        typed={pair: one for pair, one in typed.items() if pair in kept},
    )
    report = await interaction.client.queue.data(spec, origin)
    assert report.card is not None
    await interaction.followup.send(vote_cards.made_rows(report.card, poll.persona, len(box.pairs) - len(pairs)))


async def _ballot(voting: Voting, poll: Poll, voter: str) -> _Ballot:
    pairs = await asyncio.to_thread(voting.ballots.pairs, poll.id)
    return _Ballot(voting, poll, voter, pairs, await asyncio.to_thread(voting.ballots.choices_of, poll.id, voter))


def _choice(act: str, turned: bool) -> VoteChoice:
    if act in ("a", "b"):
        return VoteChoice.SECOND if (act == "b") != turned else VoteChoice.FIRST
    return VoteChoice.TIE if act == "tie" else VoteChoice.BAD


_DEEDS = {
    "open": (vote_cards.BLIND_VOTE, discord.ButtonStyle.secondary),
    "enter": (vote_cards.VOTE, discord.ButtonStyle.primary),
    "use": (vote_cards.USE, discord.ButtonStyle.secondary),
}
_ACTS = {
    "a": (vote_cards.SIDES[0], discord.ButtonStyle.primary, 0),
    "b": (vote_cards.SIDES[1], discord.ButtonStyle.primary, 0),
    "tie": (vote_cards.TIE, discord.ButtonStyle.secondary, 0),
    "bad": (vote_cards.BAD, discord.ButtonStyle.secondary, 0),
    "rate_a": (vote_cards.RATE[0], discord.ButtonStyle.secondary, 1),
    "rate_b": (vote_cards.RATE[1], discord.ButtonStyle.secondary, 1),
    "next": (vote_cards.NEXT, discord.ButtonStyle.secondary, 1),
}
