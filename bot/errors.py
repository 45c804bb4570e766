"""What may go wrong at the Discord door, as sentences, and the one net that turns any exception into words."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import discord
from discord import app_commands

from bot.limits import CONTENT, trim
from training.errors import UnderstudyError

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

UNKNOWN_INTERACTION = 10062


class NotInAServer(UnderstudyError):
    """This command works in a server's channel only. Use it there."""


class MayNotTrain(UnderstudyError):
    """Only members with the role {role} or the permission Moderate Members may do this.
    Ask a moderator for the role."""


class NotYourJob(UnderstudyError):
    """Only the member who started this job or someone with the permission Moderate Members may {wish} it."""


class NotYourPlan(UnderstudyError):
    """Only the member who asked for this plan may start or discard it. Make your own with /finetune start."""


class PlanGone(UnderstudyError):
    """This plan was already started or discarded. Make a new one with /finetune start."""


class BadJobName(UnderstudyError):
    """{name} cannot be a job's name. Use 1 to 40 letters, digits, - and _, beginning with a letter or a digit."""


class BadDatasetName(UnderstudyError):
    """{name} cannot be a dataset's name. Use 1 to 40 of a-z, 0-9, . _ and -, beginning with a letter or a digit."""


class BadRatio(UnderstudyError):
    """{ratio} is no ratio. Write persona to general, such as 80:20."""


class RatioAlone(UnderstudyError):
    """A ratio needs something to mix in. Name a dataset with the option general, or leave ratio out."""


class PersonaNeeded(UnderstudyError):
    """A {task_type} job needs a persona. Name one with the option persona."""


class DatasetNeeded(UnderstudyError):
    """A {task_type} job needs a dataset. Name one with the option dataset."""


class NotForEverybody(UnderstudyError):
    """A persona job for everybody learns each persona's own dialogues. Leave dataset out,
    or choose task_type mixed."""


class NotForThisTask(UnderstudyError):
    """A {task_type} job takes no {option}. Leave {option} out, or choose task_type mixed, which uses both."""


class NothingSaid(UnderstudyError):
    """There is nothing to answer. Write a message."""


class ChannelClosed(UnderstudyError):
    """I cannot post in this channel: I lack {missing}. Ask an admin to allow that here, or use another channel."""


class FactGone(UnderstudyError):
    """This fact is no longer in the sheet of {persona}. Look at it again with /persona info."""


class FactTooLong(UnderstudyError):
    """The words of this fact of {persona} are more than a form holds ({limit:,} characters), so none is shown.
    Shorten them in the sheet, and hand that in with /dataset upload."""


class TokenRefused(UnderstudyError):
    """Discord refused the token in DISCORD_TOKEN. Copy it again from the Developer Portal (Bot, Reset Token)."""


class IntentsRefused(UnderstudyError):
    """Discord refused the bot's intents. In the Developer Portal, under Bot, check that the application is not
    restricted, then start again."""


class DiscordAway(UnderstudyError):
    """{address} could not be reached: {reason}. Check the network and start again."""


class SecondInstance(UnderstudyError):
    """A bot with this token is already running on this machine (its lock is {path}). Stop it first."""


class NoSuchVote(UnderstudyError):
    """There is no such vote in this server. It may be from before the bot's files were made anew."""


class VotesInUse(UnderstudyError):
    """The votes are forgotten, but another program reads the bot's file, so that traces of them may still lie in its
    log. End that program, such as a backup, and run the same command again."""


class VoteClosed(UnderstudyError):
    """This vote is closed, so nothing more can be chosen. Its result is in the channel."""


class MayNotVote(UnderstudyError):
    """Only members with the role {role} may vote here. Ask a moderator for the role."""


class AccountTooYoung(UnderstudyError):
    """Only accounts that are at least {days} old may vote here, and yours is younger. You may read along."""


class TrainerMayNotVote(UnderstudyError):
    """Whoever trained one of these versions does not vote on them. The result will tell you how they fared."""


class VoteOpenAlready(UnderstudyError):
    """A vote on this result is open already. Wait until it closes."""


class TrainerForgotten(UnderstudyError):
    """It is no longer known who trained {version}, and whoever did must not vote on it.
    Train a new version, or have the operator let trainers vote with DISCORD_VOTE_TRAINERS."""


class BallotKeyLost(UnderstudyError):
    """{path} is gone, without which nobody can tell who has voted. Put it back from a backup; or remove the file of
    votes beside it as well, and begin anew."""


class DuelRunning(UnderstudyError):
    """The answers that you asked for before are still being written. Wait for them, then ask again."""


class NothingAgreed(UnderstudyError):
    """There is nothing to learn from: members typed these questions, and have not agreed to that, or Discord's recorded
    permission does not cover the channel."""


class NothingToVoteOn(UnderstudyError):
    """There is nothing to vote on here: {reason}. Ask another question with /persona duel."""


class SameVersionTwice(UnderstudyError):
    """{persona} {version} cannot be put against itself. Name another version with the option against."""


class OnePersonaVote(UnderstudyError):
    """A blind vote is between two versions of one persona. Leave {option} out, or leave vote out."""


class OthersHaveNoVersion(UnderstudyError):
    """Other personas answer with the version that is live. Leave against out, or leave other out."""


class NothingToDuel(UnderstudyError):
    """No version of {persona} is live, so there is nothing to put against the base model.
    Name other personas with the option other, or train one with /finetune start."""


async def explain(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Answer whoever asked with one plain sentence that only they see; what no one foresaw goes to the log."""
    cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    if isinstance(cause, discord.NotFound) and cause.code == UNKNOWN_INTERACTION:
        logger.warning("An interaction (%s) was answered too late; Discord has dropped it.", _subject(interaction))
        return
    sentence = trim(_sentence(interaction, cause), CONTENT)
    try:
        await _answer(interaction, sentence)
    except discord.HTTPException:
        logger.exception("Could not tell a member: %s", sentence)


def explained(
    act: Callable[[Item, Any], Coroutine[Any, Any, None]],
) -> Callable[[Item, Any], Coroutine[Any, Any, None]]:
    """What a button or a form does, its errors told to whoever pressed; discord.py would only log them."""

    @functools.wraps(act)
    async def told(item: Item, interaction: Any) -> None:
        try:
            await act(item, interaction)
        except Exception as error:  # noqa: BLE001 (explain logs what no one foresaw, with its traceback)
            await explain(interaction, error)

    return told


def _sentence(interaction: discord.Interaction[Any], cause: BaseException) -> str:
    if isinstance(cause, UnderstudyError):
        return str(cause)
    if isinstance(cause, app_commands.NoPrivateMessage):
        return str(NotInAServer())
    reference = secrets.token_hex(3)
    logger.error("%s failed; reference %s", _subject(interaction), reference, exc_info=cause)
    return f"Something went wrong, and it is not your fault. Tell the operator this reference: {reference}"


async def _answer(interaction: discord.Interaction[Any], sentence: str) -> None:
    if not interaction.response.is_done():
        await interaction.response.send_message(sentence, ephemeral=True)
        return
    if interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
        # The first follow-up would fill the waiting message, which everyone may see; a second one can be private.
        await interaction.delete_original_response()
    await interaction.followup.send(sentence, ephemeral=True)


def _subject(interaction: discord.Interaction[Any]) -> str:
    if isinstance(interaction.command, app_commands.Command | app_commands.ContextMenu):
        return f"/{interaction.command.qualified_name}"
    data = cast(dict[str, object], interaction.data or {})
    return f"the button {data.get('custom_id', '?')}"
