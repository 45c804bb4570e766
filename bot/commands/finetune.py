"""/finetune start, status, pause, resume, cancel and list."""

from __future__ import annotations

import re
import time

from annotated_types import Ge, Le
from discord import app_commands
from discord.app_commands import Choice, Range

from bot import cards, choices, job_lines
from bot.buttons import Deed, buttons, card_buttons
from bot.door import Ask
from bot.errors import BadJobName, DatasetNeeded, NotForEverybody, NotForThisTask, PersonaNeeded
from bot.limits import trim
from bot.members import TO_REPORT, origin_of, require_channel, require_starter, require_trainer
from tasks.errors import NoSuchJob, PlanRefused
from tasks.jobs import Catalog, JobView, new_job
from training.errors import NotThatPersonas
from training.schema import JOB_NAME_PATTERN, WHOLE_CAST, Hyperparameters, Preset, TaskType, TrainSpec

# No default_member_permissions: Discord hides a command from everyone who lacks them, and the trainer role need not
# carry Moderate Members. So everyone sees the group, status and list are for everyone, and all others check in
# code. An admin may still narrow it under Server Settings, Integrations.
finetune = app_commands.Group(
    name="finetune", description="Train a persona's voice and follow how it goes.", guild_only=True
)

_EPOCHS = Hyperparameters.model_fields["epochs"]
LEAST_EPOCHS: int = next(int(str(m.ge)) for m in _EPOCHS.metadata if isinstance(m, Ge))
MOST_EPOCHS: int = next(int(str(m.le)) for m in _EPOCHS.metadata if isinstance(m, Le))


@finetune.command(name="start", description="Plan a fine-tuning job; nothing starts before you press Start.")
@app_commands.describe(
    job_name="Its name: letters, digits, - and _, at most 40.",
    persona="Who is to be trained, or all; for all but dialogue.",
    task_type="What it learns from; persona if you say nothing.",
    dataset="What to learn from; for persona, dialogues that /dataset build made of it.",
    preset="How much care it takes; balanced if you say nothing.",
    base_model="What to build on; the operator's choice if you say nothing.",
    epochs=f"{(_EPOCHS.description or '').rstrip('.')}; the preset's if you say nothing.",
)
@app_commands.choices(
    task_type=[Choice(name=task_type.value, value=task_type.value) for task_type in TaskType],
    preset=[Choice(name=preset.value, value=preset.value) for preset in Preset],
)
@app_commands.autocomplete(persona=choices.personas_or_all, dataset=choices.datasets, base_model=choices.base_models)
async def start(
    interaction: Ask,
    *,
    job_name: str,
    persona: str | None = None,
    task_type: str = TaskType.PERSONA.value,
    dataset: str | None = None,
    preset: str = Preset.BALANCED.value,
    base_model: str | None = None,
    epochs: Range[int, LEAST_EPOCHS, MOST_EPOCHS] | None = None,
) -> None:
    """Show a plan, with Start and Discard, to the member alone."""
    require_trainer(interaction)
    origin = origin_of(interaction)
    require_channel(interaction, TO_REPORT)
    _require_options(job_name, TaskType(task_type), persona, dataset)
    await interaction.response.defer(ephemeral=True)
    queue = interaction.client.queue
    catalog = await queue.catalog(origin.guild_id)
    slug = (choices.known_persona_or_all(catalog, persona) or WHOLE_CAST) if persona else None
    named = choices.known_dataset(catalog, dataset) if dataset else None
    if slug and named and task_type == TaskType.PERSONA:
        _require_dialogues(catalog, named, slug)
    spec = await queue.learning_on(
        TrainSpec(
            job_name=job_name,
            guild_id=origin.guild_id,
            task_type=TaskType(task_type),
            persona=slug,
            dataset=named,
            base_model=choices.known_base_model(catalog, base_model) if base_model else None,
            hyperparameters=Hyperparameters.of(Preset(preset), **({"epochs": epochs} if epochs else {})),
        )
    )
    try:
        plan = await queue.plan(spec, origin)
    except PlanRefused as refused:
        await interaction.edit_original_response(embed=cards.refused_card(spec, refused.problem, catalog))
        return
    job = new_job("train", spec, origin)
    card = cards.plan_card(job, spec, plan, catalog)
    if not plan.fits:
        await interaction.edit_original_response(embed=card)
        return
    await queue.draft(job)
    await interaction.edit_original_response(embed=card, view=buttons(job.id, Deed.START, Deed.DISCARD))


@finetune.command(name="status", description="Show how a job goes.")
@app_commands.describe(job="Its name or id.")
@app_commands.autocomplete(job=choices.jobs)
async def status(interaction: Ask, job: str) -> None:
    """Post a job's card, as it is now, for everyone."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer()
    view = await _training_job(interaction, guild_id, job)
    embeds = cards.status_embeds(view, time.time(), await interaction.client.known_catalog(guild_id))
    await interaction.edit_original_response(embeds=embeds, view=card_buttons(view.job, view.state))


@finetune.command(name="cancel", description="Stop a job; what it has saved is kept.")
@app_commands.describe(job="Its name or id.")
@app_commands.autocomplete(job=choices.active_jobs)
async def cancel(interaction: Ask, job: str) -> None:
    """Cancel a job for its starter or a moderator."""
    view = await _steered(interaction, job, "cancel")
    stopped = await interaction.client.queue.cancel(view.job.id, view.job.guild_id)
    await interaction.edit_original_response(content=job_lines.cancelling(stopped))


@finetune.command(name="pause", description="Let a job rest, so that another can run; it keeps its place.")
@app_commands.describe(job="Its name or id.")
@app_commands.autocomplete(job=choices.active_jobs)
async def pause(interaction: Ask, job: str) -> None:
    """Pause a job for its starter or a moderator."""
    view = await _steered(interaction, job, "pause")
    rests = await interaction.client.queue.pause(view.job.id, view.job.guild_id)
    await interaction.edit_original_response(content=job_lines.pausing(rests))


@finetune.command(name="resume", description="Let a paused job go on from where it stopped.")
@app_commands.describe(job="Its name or id.")
@app_commands.autocomplete(job=choices.paused_jobs)
async def resume(interaction: Ask, job: str) -> None:
    """Resume a job for its starter or a moderator."""
    view = await _steered(interaction, job, "resume")
    goes_on = await interaction.client.queue.resume(view.job.id, view.job.guild_id)
    await interaction.edit_original_response(content=job_lines.resuming(goes_on))


@finetune.command(name="list", description="List the newest jobs of this server.")
async def list_jobs(interaction: Ask) -> None:
    """List jobs to the member alone."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer(ephemeral=True)
    views = [view for view in await interaction.client.queue.jobs(guild_id) if view.job.kind == "train"]
    catalog = await interaction.client.known_catalog(guild_id)
    await interaction.edit_original_response(embed=job_lines.job_list(views, catalog))


async def _steered(interaction: Ask, named: str, wish: str) -> JobView:
    """The job that a member may cancel, pause or resume, answered to the member alone; raises NotYourJob."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer(ephemeral=True)
    view = await _training_job(interaction, guild_id, named)
    require_starter(interaction, view.job, wish)
    return view


async def _training_job(interaction: Ask, guild_id: str, named: str) -> JobView:
    wanted = trim(named, 80)
    view = await interaction.client.queue.find(guild_id, wanted)
    if view.job.kind != "train":
        raise NoSuchJob(name=wanted)
    return view


def _require_options(job_name: str, task_type: TaskType, persona: str | None, dataset: str | None) -> None:
    if not re.fullmatch(JOB_NAME_PATTERN.strip("^$"), job_name):
        raise BadJobName(name=trim(job_name, 80))
    if task_type is TaskType.DIALOGUE and persona:
        raise NotForThisTask(task_type=task_type, option="persona")
    if task_type is not TaskType.DIALOGUE and not persona:
        raise PersonaNeeded(task_type=task_type)
    if task_type is not TaskType.PERSONA and not dataset:
        raise DatasetNeeded(task_type=task_type)


def _require_dialogues(catalog: Catalog, dataset: str, persona: str) -> None:
    """Raise NotThatPersonas unless the dataset is this persona's dialogues; a path is left for the worker to judge."""
    if persona == WHOLE_CAST:
        raise NotForEverybody
    offer = catalog.datasets.get(dataset)
    if offer is not None and offer.persona != persona:
        own = [name for name, offered in catalog.datasets.items() if offered.persona == persona]
        raise NotThatPersonas(name=dataset, persona=catalog.personas[persona], choices=", ".join(own) or "none yet")
