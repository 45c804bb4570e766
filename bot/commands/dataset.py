"""/dataset list, info, preview, validate, upload, build and delete."""

from __future__ import annotations

import re

import discord
from discord import app_commands

from bot import choices, data_cards
from bot.buttons import delete_buttons
from bot.door import Ask
from bot.errors import BadDatasetName, BadRatio, RatioAlone
from bot.limits import trim
from bot.members import TO_REPORT, origin_of, require_channel, require_trainer
from tasks.errors import DataRefused
from tasks.jobs import Catalog, Origin, new_job
from training.data.schema import DATASET_PATTERN, DataAction, DataSpec, Upload
from training.errors import DatasetNotYours, DatasetTaken, LicenceNotAccepted

# Everyone may look, but into chats; who changes anything must be a trainer, which each command checks.
dataset = app_commands.Group(name="dataset", description="The conversations that personas learn from.", guild_only=True)

VALIDATE_SECONDS = 180.0
DEFAULT_SHARE: float = DataSpec.model_fields["persona_share"].default


@dataset.command(name="list", description="List the datasets that this server may use.")
async def list_datasets(interaction: Ask) -> None:
    """List them to the member alone."""
    _, catalog = await _asked(interaction)
    await interaction.edit_original_response(embed=data_cards.dataset_list(catalog))


@dataset.command(name="info", description="Show what a dataset holds and where it comes from.")
@app_commands.describe(name="Its name.")
@app_commands.autocomplete(name=choices.datasets)
async def info(interaction: Ask, name: str) -> None:
    """Show a dataset's card to the member alone; one that was made here has more to tell."""
    origin, catalog = await _asked(interaction)
    offer = choices.known_offer(catalog, name)
    card = None
    if offer.where == "guild":
        spec = DataSpec(action=DataAction.INFO, guild_id=origin.guild_id, name=offer.name)
        card = (await interaction.client.queue.data(spec, origin)).card
    await interaction.edit_original_response(embed=data_cards.info_card(offer, card, catalog))


@dataset.command(name="preview", description="Show the first conversations of a dataset.")
@app_commands.describe(name="Its name.")
@app_commands.autocomplete(name=choices.datasets)
async def preview(interaction: Ask, name: str) -> None:
    """Show them, shortened, to the member alone; what was said in a channel, to trainers only."""
    origin, catalog = await _asked(interaction)
    offer = choices.known_offer(catalog, name)
    if offer.from_chat:
        require_trainer(interaction)
    spec = DataSpec(action=DataAction.PREVIEW, guild_id=origin.guild_id, name=offer.name)
    report = await interaction.client.queue.data(spec, origin)
    await interaction.edit_original_response(embeds=data_cards.preview_embeds(offer.name, report.preview))


@dataset.command(name="validate", description="Say what would become of a file, and keep nothing of it.")
@app_commands.describe(file="JSON, JSONL, Parquet or Arrow, also as .gz or .zst.")
async def validate(interaction: Ask, file: discord.Attachment) -> None:
    """Read a file and show the member alone what is in it, or what is wrong with it."""
    require_trainer(interaction)
    origin = origin_of(interaction)
    await interaction.response.defer(ephemeral=True)
    spec = DataSpec(action=DataAction.VALIDATE, guild_id=origin.guild_id, upload=_upload(interaction, file))
    try:
        report = await interaction.client.queue.data(spec, origin, timeout=VALIDATE_SECONDS)
    except DataRefused as refused:
        await interaction.edit_original_response(embed=data_cards.refused_card(file.filename, refused.problem))
        return
    assert report.inspection is not None
    await interaction.edit_original_response(embed=data_cards.validated_card(file.filename, report.inspection))


@dataset.command(name="upload", description="Make a dataset of this server's own from a file.")
@app_commands.describe(name="Its name: a-z, 0-9, . _ and -, at most 40.", file="JSON, JSONL, Parquet or Arrow.")
async def upload(interaction: Ask, name: str, file: discord.Attachment) -> None:
    """Accept the file; the channel hears what became of it."""
    require_trainer(interaction)
    require_channel(interaction, TO_REPORT)
    wanted = _new_name(name)
    origin, catalog = await _asked(interaction)
    _require_free(catalog, wanted)
    attached = _upload(interaction, file)
    spec = DataSpec(action=DataAction.UPLOAD, guild_id=origin.guild_id, name=wanted, upload=attached)
    await _submit(interaction, spec, origin)


@dataset.command(name="build", description="Make training dialogues of a persona, or of the whole cast.")
@app_commands.describe(
    name="The new dataset's name: a-z, 0-9, . _ and -, at most 40.",
    persona="Whose dialogues; all for the whole cast.",
    general="A dataset to mix in.",
    ratio="Persona to general, such as 80:20.",
    accept_licence="Also use sources that are non-commercial or for research only.",
    language_model="Also have the operator's language model write dialogues.",
)
@app_commands.autocomplete(persona=choices.personas_or_all, general=choices.datasets)
async def build(
    interaction: Ask,
    *,
    name: str,
    persona: str,
    general: str | None = None,
    ratio: str | None = None,
    accept_licence: bool = False,
    language_model: bool = False,
) -> None:
    """Accept the build; the channel hears what came of it."""
    require_trainer(interaction)
    require_channel(interaction, TO_REPORT)
    wanted = _new_name(name)
    share = _share(ratio, general)
    origin, catalog = await _asked(interaction)
    _require_free(catalog, wanted)
    offer = choices.known_offer(catalog, general) if general else None
    if offer and offer.restricted and not accept_licence:
        raise LicenceNotAccepted(sources=offer.name, how="accept_licence:True")
    spec = DataSpec(
        action=DataAction.BUILD,
        guild_id=origin.guild_id,
        name=wanted,
        persona=choices.known_persona_or_all(catalog, persona),
        general=offer.name if offer else None,
        persona_share=share,
        accept_licence=accept_licence,
        use_language_model=language_model,
    )
    await _submit(interaction, spec, origin)


@dataset.command(name="delete", description="Delete a dataset that was made here, after a second press.")
@app_commands.describe(name="Its name.")
@app_commands.autocomplete(name=choices.own_datasets)
async def delete(interaction: Ask, name: str) -> None:
    """Ask the member alone once more."""
    require_trainer(interaction)
    _, catalog = await _asked(interaction)
    offer = choices.known_offer(catalog, name)
    if offer.where != "guild":
        raise DatasetNotYours(name=offer.name, choices=", ".join(choices.made_here(catalog)) or "none yet")
    question = data_cards.really_delete(offer)
    await interaction.edit_original_response(content=question, view=delete_buttons(offer.name))


async def _asked(interaction: Ask) -> tuple[Origin, Catalog]:
    """Who asks, and what they may choose from; the answer will be theirs alone."""
    origin = origin_of(interaction)
    await interaction.response.defer(ephemeral=True)
    return origin, await interaction.client.queue.catalog(origin.guild_id)


async def _submit(interaction: Ask, spec: DataSpec, origin: Origin) -> None:
    await interaction.client.queue.submit(new_job("data", spec, origin))
    await interaction.edit_original_response(content=data_cards.accepted(spec))


def _upload(interaction: Ask, file: discord.Attachment) -> Upload:
    return Upload(url=interaction.client.reachable(file.url), filename=trim(file.filename, 260), size=file.size)


def _new_name(name: str) -> str:
    wanted = name.strip()
    if not re.fullmatch(DATASET_PATTERN.strip("^$"), wanted):
        raise BadDatasetName(name=trim(wanted, 80) or "nothing")
    return wanted


def _require_free(catalog: Catalog, name: str) -> None:
    if name in catalog.datasets:
        raise DatasetTaken(name=name)


def _share(ratio: str | None, general: str | None) -> float:
    """The persona's share of a mix."""
    if ratio is None:
        return DEFAULT_SHARE
    if general is None:
        raise RatioAlone
    parts = re.fullmatch(r"\s*(\d{1,3})\s*[:/]\s*(\d{1,3})\s*", ratio)
    if parts is None or int(parts[1]) == 0:
        raise BadRatio(ratio=trim(ratio, 40) or "nothing")
    return int(parts[1]) / (int(parts[1]) + int(parts[2]))
