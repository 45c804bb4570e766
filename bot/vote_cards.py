"""Every word about blind votes and about answers side by side, with no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import discord

from bot.ballot_box import FORGOTTEN, NOBODY, Poll
from bot.cards import card_of, len_of, unmarked
from bot.limits import CONTENT, EMBED_FIELD_NAME, EMBED_FIELD_VALUE, EMBEDS_IN_ALL, trim, width
from bot.phrases import count, harmless, percent
from training.data.schema import LEAST_PAIRS, DatasetCard
from training.evaluation.schema import Rubric, Separation, Vote, VoteChoice, VotePair
from training.evaluation.separation import clearly_different, shared_words
from training.evaluation.votes import (
    BRIGADED,
    LEAST_DECISIVE,
    LEAST_VOTERS,
    STOP_AT,
    Outcome,
    Strength,
    Tally,
    Version,
)
from training.schema import ChatReply

VOTE, TIE, BAD, NEXT, USE, BLIND_VOTE = "Vote", "Tie", "Both bad", "Next question", "Use as training data", "Blind vote"
SIDES = ("A", "B")
RATE = tuple(f"Rate {side}" for side in SIDES)
RUBRIC = {
    "in_character": "In character",
    "true_to_facts": "True to the facts",
    "worth_talking_to": "Worth talking to",
}
GRADES = {"5": "5 · fully", "4": "4 · mostly", "3": "3 · half and half", "2": "2 · hardly", "1": "1 · not at all"}
_OPEN, _WON, _OVER = 0x5865F2, 0x57F287, 0x99AAB5
_ANSWER = 1800
_BRIEF = 330
_SHOWN_QUESTIONS = 5
MOST_TOLD = 9999
TOO_EVEN = (
    f"-# No pair to learn from: that takes {LEAST_DECISIVE} voters who choose one of two answers, and more than two "
    "thirds of them the same."
)
NOT_AGREED = (
    "-# No training data: whoever typed the question has not agreed to that, or Discord's recorded permission does not "
    "cover this channel."
)


# --- voting --------------------------------------------------------------------------------------------------------


def call_embed(poll: Poll, pairs: Sequence[VotePair], name: str) -> discord.Embed:
    """What a channel is shown of an open vote: the questions, and nothing that tells who gave which answer."""
    lines = [
        *(f"> {harmless(' '.join(pair.question.split()), 300)}" for pair in pairs),
        "",
        f"{'Two answers' if len(pairs) == 1 else 'Two answers to each'}, and nobody is told whose they are. "
        "Press Vote to read them; only you see what you choose, and your last choice counts.",
        f"{_asked_by(poll)}Closes <t:{int(poll.closes_at)}:R>, or sooner if it is clear. "
        "How it stands is told at the close.",
    ]
    embed = card_of(f"🗳️ Blind vote · {harmless(name, 80)}", lines, _OPEN)
    embed.set_footer(text=call_marker(poll.id))
    return embed


def _asked_by(poll: Poll) -> str:
    return "" if poll.asker == NOBODY else f"Asked by <@{poll.asker}> · "


def over_embed(poll: Poll, pairs: Sequence[VotePair], name: str) -> discord.Embed:
    """The same once it is closed."""
    forgotten = any(pair.question == FORGOTTEN for pair in pairs)
    lines = [
        *(f"> {harmless(' '.join(pair.question.split()), 300)}" for pair in pairs),
        "",
        "Closed: what was asked is forgotten." if forgotten else "Closed: the result is below.",
    ]
    embed = card_of(f"🗳️ Blind vote · {harmless(name, 80)} · closed", lines, _OVER)
    embed.set_footer(text=call_marker(poll.id))
    return embed


def call_marker(poll_id: str) -> str:
    """The footer by which an open vote is found again in a channel."""
    return f"Vote {poll_id}"


def result_marker(poll_id: str) -> str:
    """The footer by which a vote's result is found again in a channel."""
    return f"Result of vote {poll_id}"


def ballot_text(poll: Poll, pairs: Sequence[VotePair], place: int, chosen: str | None) -> str:
    """The line above two answers; `chosen`: what the voter chose for this question, as they see the sides."""
    number = f"Question {place + 1} of {len(pairs)}" if len(pairs) > 1 else "The question"
    kept = f"You chose **{chosen}**; your last choice counts." if chosen else "Which answer is better?"
    question = "\n".join(f"> {line}" for line in harmless(pairs[place].question, 900).splitlines())
    return trim(f"{number}:\n{question}\n{kept} Closes <t:{int(poll.closes_at)}:R>.", CONTENT)


def ballot_embeds(pair: VotePair, turned: bool) -> list[discord.Embed]:
    """The two answers; `turned`: the second one is A."""
    answers = [pair.first.answer, pair.second.answer]
    shown = reversed(answers) if turned else answers
    return [
        card_of(f"Answer {side}", [harmless(text, _ANSWER)], _OPEN) for side, text in zip(SIDES, shown, strict=True)
    ]


def as_seen(choice: VoteChoice, turned: bool) -> str:
    """A choice by the side that the voter sees."""
    if choice in (VoteChoice.FIRST, VoteChoice.SECOND):
        return SIDES[(choice is VoteChoice.SECOND) != turned]
    return TIE if choice is VoteChoice.TIE else BAD


def all_said(chosen: str) -> str:
    """What a voter reads who has answered the last question."""
    return f"Kept: **{chosen}**. That was all, thank you; press Vote again to change your mind."


def closed_now() -> str:
    """What the voter reads whose vote made it clear."""
    return "Kept, thank you. The vote is closed; its result is on its way."


def rated(side: str) -> str:
    """What a voter reads who has sent the rubric form."""
    return f"Kept: what you said of answer {side}."


def opened(question_count: int) -> str:
    """What whoever asked for a vote reads."""
    return f"The vote on {count(question_count, 'question')} is open; its message is below."


def made_rows(card: DatasetCard, persona: str, withheld: int) -> str:
    """What a channel reads when votes became training data; `withheld`: questions whose members have not agreed."""
    left_out = {"typed by members who have not agreed": withheld} if withheld else {}
    left_out |= {why: number for step in card.steps for why, number in step.removed.items()}
    removed = " · ".join(f"{number:,} {why}" for why, number in left_out.items())
    how = f"`/finetune start task_type:preference persona:{persona} dataset:{card.name}`"
    lines = [
        f"📦 **{unmarked(card.name)}** holds {count(card.conversations, 'preference')} of those who voted.",
        *([f"Left out: {removed}."] if removed else []),
        *_what_next(card, how),
        *(f"-# {harmless(note, 300)}" for note in card.notes if note.startswith("judgements.jsonl")),
    ]
    return trim("\n".join(lines), CONTENT)


def _what_next(card: DatasetCard, how: str) -> list[str]:
    """Whether a run can learn from it is for whoever made it to say."""
    if not card.conversations:
        return []
    if any("/finetune" in note for note in card.notes):
        return [f"Learn from it with {how}."]
    enough = f"{LEAST_PAIRS} at least, on two questions at least"
    return [f"A run takes {enough}: gather more votes, and press the button of a later one."]


# --- results -------------------------------------------------------------------------------------------------------


def result_text(poll: Poll, name: str) -> str:
    """The line above a result, which mentions whoever asked."""
    mention = "" if poll.asker == NOBODY else f"<@{poll.asker}> "
    return f"{mention}The blind vote on **{harmless(name, 80)}** is closed."


@dataclass(frozen=True)
class Counted:
    """What was cast in one vote, what that says, and why no preference can be learnt from it, if so."""

    pairs: Sequence[VotePair]
    votes: Sequence[Vote]
    rubrics: Sequence[Rubric]
    found: Tally
    missing: str | None = None


@dataclass(frozen=True)
class KnownVotes:
    """What all votes on a persona say so far: how its versions rank, and how far voters agree, also in the rubric."""

    ranked: Sequence[Strength]
    alpha: float | None
    rated: Mapping[str, float | None]


def result_embed(poll: Poll, name: str, counted: Counted, known: KnownVotes) -> discord.Embed:
    """How a vote ended."""
    found = counted.found
    lines = [
        f"{version_name(found.of)} against {version_name(found.against)} · "
        f"{count(len(counted.pairs), 'question')} · {count(found.decisive, 'decisive vote')} by "
        f"{count(found.voters, 'voter')} · {count(found.ties, 'tie')} · {found.bad:,} both bad",
        *_how_sure(found),
        *_ranking(known.ranked),
        *_agreement(known),
        *_ratings(counted.pairs, counted.rubrics),
        *([counted.missing] if counted.missing else []),
    ]
    embed = card_of(f"🗳️ {harmless(name, 80)}: {_headline(found)}", lines, _WON if found.settled else _OVER)
    room = EMBEDS_IN_ALL - len_of(embed) - width(result_marker(poll.id))
    for pair in counted.pairs[:_SHOWN_QUESTIONS]:
        question = trim(f"“{harmless(' '.join(pair.question.split()), 200)}”", EMBED_FIELD_NAME)
        answers = _answers(pair, counted.votes)
        room -= width(question) + width(answers)
        if room < 0:
            break
        embed.add_field(name=question, value=answers, inline=False)
    embed.set_footer(text=result_marker(poll.id))
    return embed


def version_name(version: Version) -> str:
    """A version as people call it."""
    return "the base model" if version is None else f"v{version}"


def _headline(found: Tally) -> str:
    match found.outcome:
        case Outcome.TOO_FEW:
            return "not enough votes"
        case Outcome.UNDECIDED:
            return "no clear difference"
        case Outcome.LEADS:
            return f"{version_name(found.preferred)} leads"
        case Outcome.WON:
            return f"{version_name(found.preferred)} won"


def _how_sure(found: Tally) -> list[str]:
    if found.outcome is Outcome.TOO_FEW:
        return [f"It takes {LEAST_DECISIVE} decisive votes by {LEAST_VOTERS} voters to say anything."]
    seen = found if found.for_first > found.for_second else found.turned()
    told = {
        Outcome.WON: "It would have won even if a third of the voters had agreed on it beforehand.",
        Outcome.LEADS: "No chance result, unless voters agreed beforehand: a third doing so could have made it.",
        Outcome.UNDECIDED: "Chance alone could have made this. More voters would tell.",
    }
    return [
        f"{seen.for_first} of {count(seen.for_first + seen.for_second, 'voter')} with a preference prefer "
        f"{version_name(seen.of)}: **{percent(seen.share)}** ({percent(seen.low)} to {percent(seen.high)})",
        told[seen.outcome],
        f"-# e-value {_short(seen.evidence)} against an even split, {_short(seen.firm)} against "
        f"{percent(BRIGADED)} for the leader; {STOP_AT:.0f} decides",
    ]


def _short(e_value: float) -> str:
    return f"{e_value:.1f}" if e_value < MOST_TOLD else f"over {MOST_TOLD:,}"


def _ranking(ranked: Sequence[Strength]) -> list[str]:
    if len(ranked) < 3:
        return []
    told = [f"{version_name(s.version)} {percent(s.value)} ({percent(s.low)} to {percent(s.high)})" for s in ranked]
    return [f"In all votes so far, preferred to another version: {' · '.join(told)}"]


def _agreement(known: KnownVotes) -> list[str]:
    """Krippendorff's alpha, where there are enough votes for it to mean something."""
    alphas = {"votes": known.alpha, **{RUBRIC[question].lower(): alpha for question, alpha in known.rated.items()}}
    told = [f"{what} {alpha:.2f}" for what, alpha in alphas.items() if alpha is not None]
    return [f"How far voters agree (Krippendorff's α; 1 is always, 0 by chance): {' · '.join(told)}"] if told else []


def _ratings(pairs: Sequence[VotePair], rubrics: Sequence[Rubric]) -> list[str]:
    """What the rubric forms say of each version, on average."""
    versions = {(pair.id, side): getattr(pair, side).version for pair in pairs for side in ("first", "second")}
    by_version: dict[Version, list[Rubric]] = {}
    for rubric in rubrics:
        by_version.setdefault(versions[rubric.pair, rubric.side], []).append(rubric)
    return [
        f"Rated from 1 to 5, {version_name(version)}: "
        + " · ".join(f"{label.lower()} {fmean(getattr(r, key) for r in said):.1f}" for key, label in RUBRIC.items())
        + f" ({count(len(said), 'form')})"
        for version, said in sorted(by_version.items(), key=lambda entry: entry[0] or 0)
    ]


def _answers(pair: VotePair, votes: Sequence[Vote]) -> str:
    lines = []
    for contender, choice in ((pair.first, VoteChoice.FIRST), (pair.second, VoteChoice.SECOND)):
        given = sum(vote.pair == pair.id and vote.choice is choice for vote in votes)
        said = harmless(" ".join(contender.answer.split()), _BRIEF)
        lines.append(f"**{version_name(contender.version)}** · {count(given, 'vote')} “{said}”")
    return trim("\n".join(lines), EMBED_FIELD_VALUE)


# --- side by side --------------------------------------------------------------------------------------------------


Apart = tuple[Separation | None, Separation | None]
"""(the separation of several personas' answers, that of two answers of the first one); None: no worker could say."""


def side_by_side(
    question: str, asker: str, replies: Sequence[ChatReply], again: ChatReply | None = None, apart: Apart | None = None
) -> discord.Embed:
    """The same question answered by several voices, and how far apart they are.

    again: a second answer of the first, to measure the others by. Where no separation is known, or two versions of one
    persona answered, that is how many words they share.
    """
    embed = card_of(f"⚔️ {harmless(' '.join(question.split()), 240)}", [f"-# asked by {harmless(asker, 80)}"], _OPEN)
    for reply in replies:
        said = harmless(reply.text, EMBED_FIELD_VALUE - 24) or "(said nothing)"
        embed.add_field(name=f"{harmless(reply.name, 80)} · {_voice(reply)}", value=said, inline=False)
    found, own = apart or (None, None)
    lines = _separated(found, own, _called(replies[0], replies)) if found else _shared_words(replies, again)
    embed.add_field(name="How far apart", value=trim("\n".join(lines), EMBED_FIELD_VALUE), inline=False)
    return embed


def _voice(reply: ChatReply) -> str:
    return "untrained" if reply.version is None else f"v{reply.version}"


def _separated(found: Separation, own: Separation | None, name: str) -> list[str]:
    right = round(found.right * found.speakers)
    clear = clearly_different(found, own)
    beside = f"; two answers of {name} lie {own.distance:.2f} apart" if own else ""
    return [
        f"{'Clearly' if clear else 'Not clearly'} different: **{found.distance:.2f}** apart, from 0, one voice, to "
        f"1{beside}.",
        f"By its sound, {right} of {count(found.speakers, 'answer')} would be given to whoever gave it.",
        "-# Judged by the lines that the cast learns from, on one answer of each; /persona check looks at many.",
    ]


def _shared_words(replies: Sequence[ChatReply], again: ChatReply | None) -> list[str]:
    first, *others = replies
    lines = [
        f"{_called(first, replies)} and {_called(other, replies)} share **{_shared(first, other)}** of their words."
        for other in others
    ]
    if again is not None:
        own = f"Two answers of {_called(first, replies)} share {_shared(first, again)}"
        lines.append(f"{own}: the less the others share, the clearer.")
    return lines


def _shared(one: ChatReply, other: ChatReply) -> str:
    return percent(shared_words(one.text, other.text))


def _called(reply: ChatReply, replies: Sequence[ChatReply]) -> str:
    name = harmless(reply.name, 80)
    alone = sum(other.persona == reply.persona for other in replies) == 1
    return name if alone else f"{name} {_voice(reply)}"
