"""The buttons under plans, cards and results. They carry their job in their id, so they outlive the bot's restarts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Self

import discord

from bot import cards, check_cards, data_cards, job_lines, persona_cards
from bot.ballots import VoteButton
from bot.door import Ask
from bot.errors import NotYourPlan, PlanGone, explained
from bot.members import TO_REPORT, origin_of, require_channel, require_starter, require_trainer
from bot.promotion import candidate
from tasks.errors import NoSuchJob
from tasks.jobs import AdapterVersion, Job, JobState, JobView, new_job
from training.data.schema import DataAction, DataSpec
from training.schema import TrainSpec


class Deed(StrEnum):
    """What pressing a button does."""

    START = "start"
    DISCARD = "discard"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    LIVE = "live"
    ANYWAY = "anyway"
    LEAVE = "leave"
    CHECK = "check"


class JobButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"job:(?P<deed>start|discard|pause|resume|cancel|live|anyway|leave|check):(?P<job>[a-z0-9]{12})",
):
    """A button that does one thing to one job."""

    def __init__(self, deed: Deed, job_id: str) -> None:
        label, style, _ = _DEEDS[deed]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"job:{deed}:{job_id}"))
        self.deed, self.job_id = deed, job_id

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(Deed(match["deed"]), match["job"])

    @explained
    async def callback(self, interaction: Any) -> None:
        """Do the deed."""
        await _DEEDS[self.deed][2](interaction, self.job_id)


class DatasetButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"dataset:(?P<deed>delete|keep):(?P<name>[a-z0-9][a-z0-9._-]{0,39})",
):
    """One of the two answers to whether a dataset is to go."""

    def __init__(self, deed: str, name: str) -> None:
        label, style = _ANSWERS[deed]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"dataset:{deed}:{name}"))
        self.deed, self.name = deed, name

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["deed"], match["name"])

    @explained
    async def callback(self, interaction: Any) -> None:
        """Delete the dataset, or keep it."""
        await (_delete if self.deed == "delete" else _keep)(interaction, self.name)


def delete_buttons(name: str) -> discord.ui.View:
    """The second press that deleting a dataset takes."""
    view = discord.ui.View(timeout=None)
    view.add_item(DatasetButton("delete", name))
    view.add_item(DatasetButton("keep", name))
    return view


def buttons(job_id: str, *deeds: Deed) -> discord.ui.View:
    """A row of buttons for one job, valid for ever."""
    view = discord.ui.View(timeout=None)
    for deed in deeds:
        view.add_item(JobButton(deed, job_id))
    return view


def card_buttons(job: Job, state: JobState) -> discord.ui.View | None:
    """What may be pressed under a job's card, wherever it is shown: nothing once its end is certain."""
    if state.ended or state is JobState.CANCELLING:
        return None
    if job.kind == "train" and state is JobState.RUNNING:
        return buttons(job.id, Deed.PAUSE, Deed.CANCEL)
    if job.kind == "train" and state in (JobState.PAUSING, JobState.PAUSED):
        return buttons(job.id, Deed.RESUME, Deed.CANCEL)
    return buttons(job.id, Deed.CANCEL)


def result_buttons(job_id: str, voices: Sequence[AdapterVersion]) -> discord.ui.View | None:
    """What may be done with the versions that a job registered; one for each persona that it gave a voice."""
    deeds = [] if all(voice.live for voice in voices) else [Deed.LIVE]
    if len(voices) == 1:
        deeds.append(Deed.CHECK)
    view = buttons(job_id, *deeds)
    if len(voices) == 1:
        view.add_item(VoteButton("open", job_id))
    return view if view.children else None


async def _start(interaction: Ask, job_id: str) -> None:
    require_trainer(interaction)
    await interaction.response.defer()
    job = await _own_draft(interaction, job_id)
    await interaction.client.queue.submit(job)
    await _settle(interaction, cards.started(_spec(job)))


async def _discard(interaction: Ask, job_id: str) -> None:
    await interaction.response.defer()
    job = await _own_draft(interaction, job_id)
    await interaction.client.queue.discard(job_id, job.guild_id)
    await _settle(interaction, cards.discarded(_spec(job)))


async def _cancel(interaction: Ask, job_id: str) -> None:
    guild_id = await _steered(interaction, job_id, "cancel")
    view = await interaction.client.queue.cancel(job_id, guild_id)
    await interaction.followup.send(job_lines.cancelling(view), ephemeral=True)


async def _pause(interaction: Ask, job_id: str) -> None:
    guild_id = await _steered(interaction, job_id, "pause")
    view = await interaction.client.queue.pause(job_id, guild_id)
    await interaction.followup.send(job_lines.pausing(view), ephemeral=True)


async def _resume(interaction: Ask, job_id: str) -> None:
    guild_id = await _steered(interaction, job_id, "resume")
    view = await interaction.client.queue.resume(job_id, guild_id)
    await interaction.followup.send(job_lines.resuming(view), ephemeral=True)


async def _steered(interaction: Ask, job_id: str, wish: str) -> str:
    """The guild of a job that the member may cancel, pause or resume; raises NotYourJob."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer()
    require_starter(interaction, (await interaction.client.queue.show(job_id, guild_id)).job, wish)
    return guild_id


async def _make_live(interaction: Ask, job_id: str) -> None:
    """Make a job's versions live, or ask once more where the last check calls one worse than what speaks now."""
    view, voices = await _trained(interaction, job_id)
    known = [await candidate(interaction.client.queue, interaction.client.voting, voice) for voice in voices]
    worse = [one for one in known if one.worse]
    catalog = await interaction.client.known_catalog(view.job.guild_id)
    if worse:
        question = persona_cards.really_promote(worse, catalog)
        await interaction.followup.send(question, view=buttons(job_id, Deed.ANYWAY, Deed.LEAVE), ephemeral=True)
        return
    live, new = await _all_live(interaction, voices)
    text = cards.result_text(view, live, catalog)
    await interaction.edit_original_response(content=text, view=result_buttons(job_id, live))
    if new:
        await interaction.followup.send(cards.made_live(new, catalog))


async def _make_live_anyway(interaction: Ask, job_id: str) -> None:
    """Make a job's versions live after the second press, and let the result under which it began tell so."""
    view, voices = await _trained(interaction, job_id)
    live, new = await _all_live(interaction, voices)
    catalog = await interaction.client.known_catalog(view.job.guild_id)
    await _settle(interaction, cards.made_live(live, catalog))
    if new:
        await interaction.followup.send(cards.made_live(new, catalog))
    pressed = interaction.message.interaction_metadata if interaction.message else None
    if pressed is not None and pressed.interacted_message_id is not None and interaction.channel_id is not None:
        channel = interaction.client.get_partial_messageable(interaction.channel_id)
        result = channel.get_partial_message(pressed.interacted_message_id)
        text = cards.result_text(view, live, catalog)
        await result.edit(content=text, view=result_buttons(job_id, live))


async def _leave(interaction: Ask, job_id: str) -> None:
    view, voices = await _trained(interaction, job_id)
    catalog = await interaction.client.known_catalog(view.job.guild_id)
    await _settle(interaction, persona_cards.left(voices, catalog))


async def _check(interaction: Ask, job_id: str) -> None:
    """Check the version that a job registered."""
    require_channel(interaction, TO_REPORT)
    _, (voice, *_) = await _trained(interaction, job_id)
    origin = origin_of(interaction)
    queue = interaction.client.queue
    spec = await queue.check_spec(origin.guild_id, voice.persona, version=voice.version)
    await queue.submit(new_job("check", spec, origin))
    catalog = await interaction.client.known_catalog(origin.guild_id)
    await interaction.followup.send(check_cards.accepted(spec, catalog), ephemeral=True)


async def _trained(interaction: Ask, job_id: str) -> tuple[JobView, list[AdapterVersion]]:
    """A job and the versions that it registered, for a trainer; raises NoSuchJob where it registered none."""
    require_trainer(interaction)
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer()
    view = await interaction.client.queue.show(job_id, guild_id)
    voices = await interaction.client.queue.voices(view.job, view.report)
    if not voices:
        raise NoSuchJob(name=job_id)
    return view, voices


async def _all_live(
    interaction: Ask, voices: Sequence[AdapterVersion]
) -> tuple[list[AdapterVersion], list[AdapterVersion]]:
    """Make versions live: (all of them, those that were not before, of which the channel is to hear)."""
    queue = interaction.client.queue
    live = [voice.model_copy(update={"live": True}) for voice in voices]
    return live, [voice for voice in live if await queue.make_live(voice.guild_id, voice.persona, voice.version)]


async def _delete(interaction: Ask, name: str) -> None:
    require_trainer(interaction)
    origin = origin_of(interaction)
    await interaction.response.defer()
    spec = DataSpec(action=DataAction.DELETE, guild_id=origin.guild_id, name=name)
    await interaction.client.queue.data(spec, origin)
    await _settle(interaction, data_cards.deleted(name))


async def _keep(interaction: Ask, name: str) -> None:
    await interaction.response.defer()
    await _settle(interaction, data_cards.kept(name))


async def _own_draft(interaction: Ask, job_id: str) -> Job:
    origin = origin_of(interaction)
    job = await interaction.client.queue.drafted(job_id, origin.guild_id)
    if job is None:
        raise PlanGone
    if job.origin.user_id != origin.user_id:
        raise NotYourPlan
    return job


async def _settle(interaction: Ask, sentence: str) -> None:
    await interaction.edit_original_response(content=sentence, embeds=[], view=None)


def _spec(job: Job) -> TrainSpec:
    if not isinstance(job.spec, TrainSpec):
        raise NoSuchJob(name=job.id)
    return job.spec


_ANSWERS = {
    "delete": (data_cards.DELETE, discord.ButtonStyle.danger),
    "keep": (data_cards.KEEP, discord.ButtonStyle.secondary),
}
Press = Callable[[Ask, str], Awaitable[None]]

_DEEDS: dict[Deed, tuple[str, discord.ButtonStyle, Press]] = {
    Deed.START: (cards.START, discord.ButtonStyle.success, _start),
    Deed.DISCARD: (cards.DISCARD, discord.ButtonStyle.secondary, _discard),
    Deed.PAUSE: (cards.PAUSE, discord.ButtonStyle.secondary, _pause),
    Deed.RESUME: (cards.RESUME, discord.ButtonStyle.success, _resume),
    Deed.CANCEL: (cards.CANCEL, discord.ButtonStyle.danger, _cancel),
    Deed.LIVE: (cards.MAKE_LIVE, discord.ButtonStyle.primary, _make_live),
    Deed.ANYWAY: (cards.ANYWAY, discord.ButtonStyle.danger, _make_live_anyway),
    Deed.LEAVE: (cards.LEAVE, discord.ButtonStyle.secondary, _leave),
    Deed.CHECK: (cards.CHECK, discord.ButtonStyle.secondary, _check),
}
