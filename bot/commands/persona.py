"""/persona list, info, check, compare, promote and rollback."""

from __future__ import annotations

from discord import app_commands
from discord.app_commands import Choice, Range

from bot import check_cards, choices, persona_cards
from bot.commands.duel import duel
from bot.door import Ask
from bot.members import TO_REPORT, origin_of, require_channel, require_trainer
from bot.persona_buttons import make_live, show_persona, voice_buttons
from bot.promotion import candidate
from tasks.jobs import AdapterVersion, Catalog, new_job
from training.evaluation.schema import CheckSpec, Suite

# Everyone may look; who spends the card's time or changes anything must be a trainer, which each command checks.
persona = app_commands.Group(name="persona", description="Who the cast are, and how well each is met.", guild_only=True)
persona.add_command(duel)

SAMPLES_ASKED: int = CheckSpec.model_fields["samples"].default
MOST_SAMPLES = 8
SAMPLES = f"Replies to each question; {SAMPLES_ASKED} if you say nothing, more to tell versions apart."


@persona.command(name="list", description="List the cast of this server, and which version speaks for each.")
async def list_personas(interaction: Ask) -> None:
    """List them to the member alone."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer(ephemeral=True)
    queue = interaction.client.queue
    catalog = await queue.catalog(guild_id)
    known = {slug: await queue.versions(guild_id, slug) for slug in catalog.personas}
    voting = interaction.client.voting
    checks = {
        slug: await voting.all_heard(guild_id, slug, await queue.checks(guild_id, slug)) for slug in catalog.personas
    }
    await interaction.edit_original_response(embed=persona_cards.cast_list(catalog, known, checks))


@persona.command(name="info", description="Show who a persona is, what is known of it, and its versions.")
@app_commands.describe(persona="Who.")
@app_commands.autocomplete(persona=choices.personas)
async def info(interaction: Ask, persona: str) -> None:
    """Show a persona to the member alone; a trainer may edit and confirm its facts from there."""
    _, slug, _ = await _asked(interaction, persona)
    await show_persona(interaction, slug)


@persona.command(name="check", description="Check a persona's voice: a scorecard with its intervals, and samples.")
@app_commands.describe(
    persona="Who.",
    version="Which version; the newest if you say nothing.",
    against="The version to compare it with, or base; the live one if you say nothing.",
    suite="Its own questions, or general ones; its own if you say nothing.",
    drift="Ask again after 1, 8 and 16 rounds of talk; takes several times as long.",
    judge="Also have the operator's language model judge the replies; advisory.",
    samples=SAMPLES,
)
@app_commands.choices(suite=[Choice(name=suite.value, value=suite.value) for suite in Suite])
@app_commands.autocomplete(persona=choices.personas, version=choices.versions, against=choices.references)
async def check(
    interaction: Ask,
    *,
    persona: str,
    version: str | None = None,
    against: str | None = None,
    suite: str = Suite.PERSONA.value,
    drift: bool = False,
    judge: bool = False,
    samples: Range[int, 1, MOST_SAMPLES] = SAMPLES_ASKED,
) -> None:
    """Accept the check; the channel hears what came of it."""
    await _submit(interaction, persona, version, against, suite=Suite(suite), drift=drift, judge=judge, samples=samples)


@persona.command(name="compare", description="Compare two versions on the same questions: PASS, INCONCLUSIVE or WORSE.")
@app_commands.describe(
    persona="Who.", version="Which version.", against="The version to compare it with, or base.", samples=SAMPLES
)
@app_commands.autocomplete(persona=choices.personas, version=choices.versions, against=choices.references)
async def compare(
    interaction: Ask,
    persona: str,
    version: str,
    against: str,
    samples: Range[int, 1, MOST_SAMPLES] = SAMPLES_ASKED,
) -> None:
    """Accept the comparison, which is a check; the channel hears what came of it."""
    await _submit(interaction, persona, version, against, samples=samples)


@persona.command(name="promote", description="Let a version speak for a persona; asks twice if it was found worse.")
@app_commands.describe(persona="Who.", version="Which version.")
@app_commands.autocomplete(persona=choices.personas, version=choices.versions)
async def promote(interaction: Ask, persona: str, version: str) -> None:
    """Make a version live, or ask the member alone once more."""
    require_trainer(interaction)
    catalog, slug, known = await _asked(interaction, persona)
    voice = choices.known_version(known, slug, version)
    if voice.live:
        await interaction.edit_original_response(content=persona_cards.already_live(voice, catalog))
        return
    one = await candidate(interaction.client.queue, interaction.client.voting, voice)
    if not one.worse:
        await make_live(interaction, one)
        return
    question = persona_cards.really_promote([one], catalog)
    await interaction.edit_original_response(content=question, view=voice_buttons(voice))


@persona.command(name="rollback", description="Let the version speak again that was live before.")
@app_commands.describe(persona="Who.")
@app_commands.autocomplete(persona=choices.personas)
async def rollback(interaction: Ask, persona: str) -> None:
    """Make the version live that was so before; the channel hears it."""
    require_trainer(interaction)
    catalog, slug, _ = await _asked(interaction, persona)
    voice, changed = await interaction.client.queue.rollback(origin_of(interaction).guild_id, slug)
    told = persona_cards.rolled_back(voice, catalog)
    await interaction.edit_original_response(content=told)
    if changed:
        await interaction.followup.send(told)


async def _submit(
    interaction: Ask,
    persona: str,
    version: str | None,
    against: str | None,
    *,
    suite: Suite = Suite.PERSONA,
    drift: bool = False,
    judge: bool = False,
    samples: int = SAMPLES_ASKED,
) -> None:
    require_trainer(interaction)
    require_channel(interaction, TO_REPORT)
    catalog, slug, known = await _asked(interaction, persona)
    origin = origin_of(interaction)
    of = choices.known_version(known, slug, version).version if version else None
    other = choices.known_reference(known, slug, against) if against else None
    queue = interaction.client.queue
    spec = await queue.check_spec(
        origin.guild_id, slug, of, other, suite=suite, drift=drift, judge=judge, samples=samples
    )
    if judge:
        spec = spec.model_copy(update={"votes": await interaction.client.voting.judged(origin.guild_id, slug)})
    await queue.submit(new_job("check", spec, origin))
    await interaction.edit_original_response(content=check_cards.accepted(spec, catalog))


async def _asked(interaction: Ask, persona: str) -> tuple[Catalog, str, list[AdapterVersion]]:
    """The server's catalog, the persona that was named, and its versions; the answer will be the member's alone."""
    guild_id = origin_of(interaction).guild_id
    await interaction.response.defer(ephemeral=True)
    catalog = await interaction.client.queue.catalog(guild_id)
    slug = choices.known_persona(catalog, persona)
    return catalog, slug, await interaction.client.queue.versions(guild_id, slug)
