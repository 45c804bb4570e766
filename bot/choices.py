"""What the options of the commands may name: offered while a member types, checked again when the command arrives.

Discord does not hold members to what was offered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from discord.app_commands import Choice

from bot import data_cards, job_lines, persona_cards
from bot.door import Ask
from bot.limits import CHOICE_NAME, CHOICES, trim, width
from tasks.errors import RedisAway, no_such_version
from tasks.jobs import AdapterVersion, Catalog, JobState, JobView
from training.data.schema import DatasetOffer
from training.errors import BaseModelNotAllowed, UnknownDataset, UnknownPersona
from training.schema import WHOLE_CAST

# Discord drops choices that come after 3 s; an empty list in time says that nothing is known yet.
PATIENCE_SECONDS = 2.0
LIVE, BASE = "live", "base"
"""What may be named in place of a version's number."""
_PATH_SIGNS = ("/", "~")


async def personas(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The server's personas whose name or slug contains what was typed."""
    catalog = await _catalog(interaction)
    return _matching(typed, ((name, slug) for slug, name in catalog.personas.items())) if catalog else []


async def datasets(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The server's datasets whose name contains what was typed."""
    catalog = await _catalog(interaction)
    return _matching(typed, _offered(catalog.datasets.values())) if catalog else []


async def own_datasets(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The datasets that were made in the server."""
    catalog = await _catalog(interaction)
    return _matching(typed, _offered(made_here(catalog).values())) if catalog else []


async def personas_or_all(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The whole cast, then the server's personas."""
    return [*_matching(typed, [("Everybody (all)", WHOLE_CAST)]), *await personas(interaction, typed)][:CHOICES]


async def base_models(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The base models whose name contains what was typed."""
    catalog = await _catalog(interaction)
    return _matching(typed, ((name, name) for name in catalog.base_models)) if catalog else []


async def jobs(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The server's newest training jobs."""
    return _matching(typed, ((job_lines.job_choice(view), view.job.id) for view in await _jobs(interaction)))


async def active_jobs(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The server's training jobs that have not ended."""
    views = [view for view in await _jobs(interaction) if not view.state.ended]
    return _matching(typed, ((job_lines.job_choice(view), view.job.id) for view in views))


async def paused_jobs(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The server's training jobs that rest, or are about to."""
    views = [view for view in await _jobs(interaction) if view.state in (JobState.PAUSED, JobState.PAUSING)]
    return _matching(typed, ((job_lines.job_choice(view), view.job.id) for view in views))


async def versions(interaction: Ask, typed: str) -> list[Choice[str]]:
    """The versions of the persona that the command names already, newest first."""
    return _matching(
        typed,
        [(persona_cards.version_choice(entry), str(entry.version)) for entry in reversed(await _versions(interaction))],
    )


async def references(interaction: Ask, typed: str) -> list[Choice[str]]:
    """What a version may be put against: another one, or the base model."""
    base = [Choice(name="The base model", value=BASE)] if typed.strip().casefold() in f"the {BASE} model" else []
    return [*(await versions(interaction, typed))[: CHOICES - 1], *base]


def known_persona(catalog: Catalog, named: str) -> str:
    """The slug of the persona that a member named by slug or by name; raises UnknownPersona."""
    wanted = named.strip().casefold()
    for slug, name in catalog.personas.items():
        if wanted in (slug.casefold(), name.casefold()):
            return slug
    raise UnknownPersona(name=trim(named, 80) or "nothing", choices=", ".join(catalog.personas) or "none yet")


def known_persona_or_all(catalog: Catalog, named: str) -> str | None:
    """The slug of the persona that a member named; None for the whole cast; raises UnknownPersona."""
    everyone = named.strip().casefold() == WHOLE_CAST and WHOLE_CAST not in catalog.personas
    return None if everyone else known_persona(catalog, named)


def known_version(known: Sequence[AdapterVersion], persona: str, named: str) -> AdapterVersion:
    """The version that a member named as 2, v2 or live; raises NoSuchVersion."""
    wanted = named.strip().casefold().removeprefix("v")
    for entry in known:
        if wanted == str(entry.version) or (wanted == LIVE and entry.live):
            return entry
    raise no_such_version(persona, trim(named, 40) or "nothing", [entry.version for entry in known])


def known_reference(known: Sequence[AdapterVersion], persona: str, named: str) -> int:
    """The version that a member named, 0 for the base model without an adapter; raises NoSuchVersion."""
    return 0 if named.strip().casefold() == BASE else known_version(known, persona, named).version


def known_base_model(catalog: Catalog, named: str) -> str:
    """The base model that a member named; a path is left for the worker to judge; raises BaseModelNotAllowed."""
    wanted = named.strip()
    if wanted in (catalog.base_model, *catalog.base_models) or _is_path(wanted):
        return wanted
    raise BaseModelNotAllowed(name=trim(named, 80) or "nothing", choices=", ".join(catalog.base_models) or "none")


def known_offer(catalog: Catalog, named: str) -> DatasetOffer:
    """The dataset that a member named; raises UnknownDataset."""
    found = catalog.datasets.get(named.strip())
    if found is None:
        raise _unknown_dataset(catalog, named)
    return found


def made_here(catalog: Catalog) -> dict[str, DatasetOffer]:
    """The datasets that were made in the server."""
    return {name: offer for name, offer in catalog.datasets.items() if offer.where == "guild"}


def known_dataset(catalog: Catalog, named: str) -> str:
    """The dataset that a member named; a path is left for the worker to judge; raises UnknownDataset."""
    wanted = named.strip()
    if wanted in catalog.datasets or _is_path(wanted):
        return wanted
    raise _unknown_dataset(catalog, named)


def _is_path(wanted: str) -> bool:
    return wanted.startswith(_PATH_SIGNS) and len(wanted) <= 400


def _unknown_dataset(catalog: Catalog, named: str) -> UnknownDataset:
    return UnknownDataset(name=trim(named, 80) or "nothing", choices=", ".join(catalog.datasets) or "none yet")


def _offered(offers: Iterable[DatasetOffer]) -> Iterable[tuple[str, str]]:
    return ((data_cards.dataset_choice(offer), offer.name) for offer in offers)


def _matching(typed: str, offers: Iterable[tuple[str, str]]) -> list[Choice[str]]:
    wanted = typed.strip().casefold()
    fitting = [
        Choice(name=trim(name, CHOICE_NAME), value=value)
        for name, value in offers
        if (wanted in name.casefold() or wanted in value.casefold()) and 0 < width(value) <= CHOICE_NAME
    ]
    return fitting[:CHOICES]


async def _catalog(interaction: Ask) -> Catalog | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await interaction.client.known_catalog(str(interaction.guild_id))
    except TimeoutError:
        return None


async def _versions(interaction: Ask) -> list[AdapterVersion]:
    """The versions of the persona that the member has chosen so far."""
    guild_id = str(interaction.guild_id)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            catalog = await interaction.client.known_catalog(guild_id)
            if catalog is None:
                return []
            slug = known_persona(catalog, str(interaction.namespace.persona or ""))
            return await interaction.client.queue.versions(guild_id, slug)
    except (RedisAway, TimeoutError, UnknownPersona):
        return []


async def _jobs(interaction: Ask) -> list[JobView]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            views = await interaction.client.queue.jobs(str(interaction.guild_id))
    except (RedisAway, TimeoutError):
        return []
    return [view for view in views if view.job.kind == "train"]
