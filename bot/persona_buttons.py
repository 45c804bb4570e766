"""The buttons about a persona: which version speaks, and a form for the words of each of its facts.

Buttons carry their persona in their id, so they outlive restarts.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, Self

import discord

from bot import cards, persona_cards
from bot.door import Ask
from bot.errors import FactGone, FactTooLong, explained
from bot.forms import Given
from bot.limits import FORM_TEXT, width
from bot.members import is_trainer, origin_of, require_trainer
from bot.promotion import Candidate, candidate
from tasks.errors import no_such_version
from tasks.jobs import AdapterVersion
from training.data.schema import DataAction, DataReport, DataSpec, FactChange
from training.schema import Fact, Persona

FORM_SECONDS = 2.0
FORM_OPEN_SECONDS = 3600.0


class VoiceButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"voice:(?P<deed>live|leave):(?P<persona>[a-z0-9][a-z0-9_-]{0,39}):(?P<version>[1-9][0-9]{0,8})",
):
    """One of the two answers to whether a version that was found worse than the live one is to be live."""

    def __init__(self, deed: str, persona: str, version: int) -> None:
        label, style = _ANSWERS[deed]
        super().__init__(
            discord.ui.Button(label=label, style=style, custom_id=f"voice:{deed}:{persona}:{version}"),
        )
        self.deed, self.persona, self.version = deed, persona, version

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["deed"], match["persona"], int(match["version"]))

    @explained
    async def callback(self, interaction: Any) -> None:
        """Make the version live, or leave it."""
        await self._answer(interaction)

    async def _answer(self, interaction: Ask) -> None:
        require_trainer(interaction)
        guild_id = origin_of(interaction).guild_id
        await interaction.response.defer()
        voice = await the_version(interaction, guild_id, self.persona, self.version)
        if self.deed == "live":
            await make_live(interaction, await candidate(interaction.client.queue, interaction.client.voting, voice))
            return
        catalog = await interaction.client.known_catalog(guild_id)
        await interaction.edit_original_response(content=persona_cards.left([voice], catalog), view=None)


class FactButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"fact:(?P<persona>[a-z0-9][a-z0-9_-]{0,39}):(?P<number>[1-9][0-9]{0,3}):(?P<fact>[0-9a-f]{12})",
):
    """Opens the form for one fact's words; `fact` is a digest of its id, since a sheet's facts may move."""

    def __init__(self, persona: str, number: int, fact: str) -> None:
        super().__init__(
            discord.ui.Button(
                label=persona_cards.fact_button(number),
                style=discord.ButtonStyle.secondary,
                custom_id=f"fact:{persona}:{number}:{fact}",
            )
        )
        self.persona, self.number, self.fact = persona, number, fact

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["persona"], int(match["number"]), match["fact"])

    @explained
    async def callback(self, interaction: Any) -> None:
        """Open the form, filled with the words as they are now."""
        await self._open(interaction)

    async def _open(self, interaction: Ask) -> None:
        require_trainer(interaction)
        # A form must be the first answer, within three seconds.
        sheet, _ = await sheet_report(interaction, self.persona, timeout=FORM_SECONDS)
        await interaction.response.send_modal(fact_form(sheet, self.number, _fact_of(sheet, self.fact)))


class FactsButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"facts:(?P<persona>[a-z0-9][a-z0-9_-]{0,39}):(?P<page>[0-9]{1,3})",
):
    """Turns to another page of a persona's facts."""

    def __init__(self, persona: str, page: int, label: str = "…") -> None:
        super().__init__(discord.ui.Button(label=label, custom_id=f"facts:{persona}:{page}"))
        self.persona, self.page = persona, page

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """The button that was pressed, from its id alone."""
        return cls(match["persona"], int(match["page"]))

    @explained
    async def callback(self, interaction: Any) -> None:
        """Show the page in place of the one that is shown."""
        await interaction.response.defer()
        await show_persona(interaction, self.persona, self.page)


def fact_form(sheet: Persona, number: int, fact: Fact) -> discord.ui.Modal:
    """The words of one fact: those that show that a reply knows it, and those that show that it does not.

    Whoever sends it confirms them. Raises FactTooLong.
    """
    title = persona_cards.fact_title(sheet.name, number)
    form = discord.ui.Modal(title=title, custom_id=f"fact:{sheet.slug}:{fact_digest(fact)}", timeout=FORM_OPEN_SECONDS)
    labels = {"accept": persona_cards.KNOWN_WORDS, "reject": persona_cards.UNKNOWN_WORDS}
    for name, words in (("accept", fact.accept), ("reject", fact.reject)):
        told = persona_cards.lines_of(words)
        if width(told) > FORM_TEXT:
            raise FactTooLong(persona=sheet.name, limit=FORM_TEXT)
        field: discord.ui.TextInput[Any] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph, default=told or None, required=False, custom_id=name
        )
        form.add_item(discord.ui.Label(text=labels[name], description=persona_cards.ONE_A_LINE, component=field))
    return form


FACT_FORM = r"fact:(?P<persona>[a-z0-9][a-z0-9_-]{0,39}):(?P<fact>[0-9a-f]{12})"


async def confirm_fact(interaction: Ask, form: re.Match[str], given: Given) -> None:
    """Have the worker write the words of a fact into the sheet. Raises FactGone."""
    require_trainer(interaction)
    origin = origin_of(interaction)
    await interaction.response.defer(ephemeral=True, thinking=True)
    sheet, _ = await sheet_report(interaction, form["persona"])
    fact = _fact_of(sheet, form["fact"])
    accept, reject = (persona_cards.words_in(given[name][0]) for name in ("accept", "reject"))
    change = FactChange(id=fact.id, accept=accept, reject=reject, confirmed=datetime.now(UTC).date())
    spec = DataSpec(action=DataAction.FACT, guild_id=origin.guild_id, persona=sheet.slug, fact=change)
    report = await interaction.client.queue.data(spec, origin)
    written = next((one for one in (report.persona or sheet).facts if one.id == fact.id), fact)
    await interaction.edit_original_response(content=persona_cards.fact_changed(sheet.name, written))


def _fact_of(sheet: Persona, digest: str) -> Fact:
    """The fact that a button or a form is about; raises FactGone."""
    fact = next((fact for fact in sheet.facts if fact_digest(fact) == digest), None)
    if fact is None:
        raise FactGone(persona=sheet.name)
    return fact


async def show_persona(interaction: Ask, persona: str, page: int = 0) -> None:
    """Answer with who a persona is, and one page of its facts; a trainer may edit or confirm them from there."""
    queue, guild_id = interaction.client.queue, origin_of(interaction).guild_id
    sheet, report = await sheet_report(interaction, persona)
    known = await queue.versions(guild_id, persona)
    checks = await interaction.client.voting.all_heard(guild_id, persona, await queue.checks(guild_id, persona))
    page = min(page, max(0, len(sheet.facts) - 1) // persona_cards.FACTS_A_PAGE)
    embeds = persona_cards.info_embeds(sheet, report, known, checks, page)
    view = fact_buttons(sheet, page, editable=is_trainer(interaction))
    await interaction.edit_original_response(embeds=embeds, view=view)


def fact_buttons(sheet: Persona, page: int, *, editable: bool) -> discord.ui.View | None:
    """A button for each fact on a page where they may be edited, and those that turn to the pages beside it."""
    view = discord.ui.View(timeout=None)
    for number, fact in persona_cards.facts_on(sheet, page) if editable else ():
        view.add_item(FactButton(sheet.slug, number, fact_digest(fact)))
    for other in (page - 1, page + 1):
        if other >= 0 and persona_cards.facts_on(sheet, other):
            view.add_item(FactsButton(sheet.slug, other, persona_cards.page_button(other, len(sheet.facts))))
    return view if view.children else None


def fact_digest(fact: Fact) -> str:
    """What stands for a fact in a button's id."""
    return hashlib.sha256(fact.id.encode()).hexdigest()[:12]


async def sheet_report(interaction: Ask, persona: str, *, timeout: float = 60) -> tuple[Persona, DataReport]:
    """A persona as its sheet describes it now, and what else is known of it; raises DataRefused or WorkersAway."""
    origin = origin_of(interaction)
    spec = DataSpec(action=DataAction.PERSONA, guild_id=origin.guild_id, persona=persona)
    report = await interaction.client.queue.data(spec, origin, timeout=timeout)
    assert report.persona is not None
    return report.persona, report


def voice_buttons(voice: AdapterVersion) -> discord.ui.View:
    """The second press that a worse version takes."""
    view = discord.ui.View(timeout=None)
    for deed in _ANSWERS:
        view.add_item(VoiceButton(deed, voice.persona, voice.version))
    return view


async def make_live(interaction: Ask, one: Candidate) -> None:
    """Make a version live; whoever asked reads what is known of it, the channel that it speaks, and that once."""
    voice = one.voice
    changed = await interaction.client.queue.make_live(voice.guild_id, voice.persona, voice.version)
    catalog = await interaction.client.known_catalog(voice.guild_id)
    if not changed:
        await interaction.edit_original_response(content=persona_cards.already_live(voice, catalog), view=None)
        return
    await interaction.edit_original_response(content=persona_cards.promoted(one, catalog), view=None)
    await interaction.followup.send(cards.made_live([voice], catalog))


async def the_version(interaction: Ask, guild_id: str, persona: str, version: int) -> AdapterVersion:
    """One version of a persona; raises NoSuchVersion."""
    known = await interaction.client.queue.versions(guild_id, persona)
    found = next((entry for entry in known if entry.version == version), None)
    if found is None:
        raise no_such_version(persona, version, [entry.version for entry in known])
    return found


_ANSWERS = {
    "live": (cards.ANYWAY, discord.ButtonStyle.danger),
    "leave": (cards.LEAVE, discord.ButtonStyle.secondary),
}
