"""/persona duel: the same question to several personas or two versions, side by side or as a blind vote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from discord import app_commands
from discord.app_commands import Choice, Range

from bot import choices, vote_cards
from bot.door import Ask
from bot.duels import PATIENCE_SECONDS, VOTE_PATIENCE_SECONDS, spoken
from bot.errors import NothingSaid, NothingToDuel, OnePersonaVote, OthersHaveNoVersion, SameVersionTwice
from bot.limits import CHOICE_NAME, CHOICES, width
from bot.members import TO_REPORT, TO_TALK, origin_of, require_channel, require_trainer
from bot.settings import LONGEST_QUESTION
from tasks.errors import RedisAway, WorkersAway
from tasks.jobs import AdapterVersion
from training.errors import UnknownPersona
from training.schema import ChatSpec

MOST_OTHERS = 3
SEED, ANOTHER_SEED = 7, 8


@dataclass(frozen=True)
class _Options:
    """What was typed."""

    question: str
    persona: str
    other: str
    version: str | None
    against: str | None


@dataclass(frozen=True)
class _Duel:
    """Who answers what, as it was asked for: each a persona and its version, None for the one that is live."""

    question: str
    contenders: tuple[tuple[str, int | None], ...]

    def spec(self, guild_id: str, place: int = 0, seed: int = SEED) -> ChatSpec:
        """What one of them is asked."""
        persona, version = self.contenders[place]
        return spoken(guild_id, persona, version, self.question, seed)


async def questions(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The questions of the sheet of the persona that the command names already, and the operator's, after what was
    typed itself."""
    wanted = typed.strip()
    offered = [wanted] if wanted else []
    known = await _known(interaction, str(interaction.namespace.persona or ""))
    offered += [question for question in known if wanted.casefold() in question.casefold() and question != wanted]
    fitting = [text for text in offered if 0 < width(text) <= CHOICE_NAME]
    return [Choice(name=text, value=text) for text in fitting[:CHOICES]]


async def _known(interaction: Ask, named: str) -> Sequence[str]:
    """The questions that are known of a persona; the operator's alone where there is none of that name, or no time."""
    origin = origin_of(interaction)
    door = interaction.client
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            slug = choices.known_persona(await door.queue.catalog(origin.guild_id), named)
            return list(await door.duels.known_questions(origin, slug))
    except (TimeoutError, RedisAway, WorkersAway, UnknownPersona):
        return door.voting.rules.questions


@app_commands.command(name="duel", description="Put one question to several personas or to two versions.")
@app_commands.describe(
    question="What they are asked.",
    persona="Who answers.",
    other="Others who answer too, separated by commas; two versions of the persona if you say nothing.",
    version="Its version; the live one if you say nothing.",
    against="Against which version; the base model if you say nothing.",
    vote="Let the channel vote blind on two versions' answers.",
    hours="Hours until the vote closes at the latest.",
)
@app_commands.autocomplete(
    question=questions,
    persona=choices.personas,
    other=choices.personas,
    version=choices.versions,
    against=choices.references,
)
async def duel(
    interaction: Ask,
    *,
    question: Range[str, 1, LONGEST_QUESTION],
    persona: str,
    other: str | None = None,
    version: str | None = None,
    against: str | None = None,
    vote: bool = False,
    hours: Range[int, 1, 168] | None = None,
) -> None:
    """Show the answers to the channel, or open a vote on them."""
    if vote:
        require_trainer(interaction)
        if other:
            raise OnePersonaVote(option="other")
    if other and against:
        raise OthersHaveNoVersion
    require_channel(interaction, TO_REPORT if vote else TO_TALK)
    text = question.strip()
    if not text:
        raise NothingSaid
    with interaction.client.duels.turn(origin_of(interaction)):
        await interaction.response.defer(ephemeral=vote)
        asked = await _asked(interaction, _Options(text, persona, other or "", version, against))
        await (_vote(interaction, asked, hours) if vote else _side_by_side(interaction, asked))


async def _asked(interaction: Ask, options: _Options) -> _Duel:
    guild_id = origin_of(interaction).guild_id
    queue = interaction.client.queue
    catalog = await queue.catalog(guild_id)
    slug = choices.known_persona(catalog, options.persona)
    known = await queue.versions(guild_id, slug)
    first = choices.known_version(known, slug, options.version).version if options.version else None
    named = [name for name in options.other.split(",") if name.strip()][:MOST_OTHERS]
    others = dict.fromkeys(choices.known_persona(catalog, name) for name in named)
    if set(others) - {slug}:
        return _Duel(options.question, ((slug, first), *((one, None) for one in others if one != slug)))
    of = first or _live(known, catalog.personas[slug])
    second = choices.known_reference(known, slug, options.against or choices.BASE)
    if of == second:
        raise SameVersionTwice(version=vote_cards.version_name(of), persona=catalog.personas[slug])
    return _Duel(options.question, ((slug, of), (slug, second)))


def _live(known: Sequence[AdapterVersion], name: str) -> int:
    live = next((entry.version for entry in known if entry.live), None)
    if live is None:
        raise NothingToDuel(persona=name)
    return live


async def _side_by_side(interaction: Ask, asked: _Duel) -> None:
    origin = origin_of(interaction)
    duels = interaction.client.duels
    specs = [asked.spec(origin.guild_id, place) for place in range(len(asked.contenders))]
    several = len({persona for persona, _ in asked.contenders}) > 1
    if several:
        # What two answers of one persona come to tells what the others' come to.
        specs.append(asked.spec(origin.guild_id, seed=ANOTHER_SEED))
    replies = await duels.shown(specs, origin)
    again = replies.pop() if several else None
    apart = None
    if again is not None:
        said = {reply.persona: reply.text for reply in replies}
        one, other = list(said)[:2]
        apart = await duels.apart(origin, said), await duels.apart(origin, {one: said[one], other: again.text})
    asker = interaction.user.display_name
    shown = vote_cards.side_by_side(asked.question, asker, replies, again, apart)
    await interaction.edit_original_response(embed=shown)


async def _vote(interaction: Ask, asked: _Duel, hours: int | None) -> None:
    origin = origin_of(interaction)
    door = interaction.client
    (persona, first), (_, second) = asked.contenders
    known = await door.duels.known_questions(origin, persona, VOTE_PATIENCE_SECONDS)
    by = {asked.question: known.get(asked.question, "member")}
    excluded = await door.duels.trainers(origin.guild_id, persona, (first, second))
    pairs = await door.duels.pairs(origin, persona, (first, second), by)
    await door.voting.open(origin, pairs, excluded, hours=hours)
    await interaction.edit_original_response(content=vote_cards.opened(1))
