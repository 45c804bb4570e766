"""Every word about the cast and its versions, with no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import discord

from bot.cards import STATES, card_of, persona_name
from bot.check_cards import version_name
from bot.limits import CHOICE_NAME, EMBED_DESCRIPTION, MODAL_TEXT, trim, width
from bot.phrases import count, harmless
from bot.promotion import Candidate
from bot.score_lines import VERDICTS
from tasks.jobs import AdapterVersion, Catalog, JobState
from training.data.schema import DataReport
from training.evaluation.schema import CheckReport, Gate
from training.schema import Fact, Persona, Verdict

BLUE = STATES[JobState.RUNNING][2]
# Two embeds that together stay under the 6,000 of a message.
VERSIONS_ROOM, FACTS_A_PAGE = 700, 8
KNOWN_WORDS, UNKNOWN_WORDS = "Words that show it is known", "Words that show it is not"
ONE_A_LINE = "One a line; any will do. Sending confirms them, changed or not."


# --- the cast ------------------------------------------------------------------------------------------------------


def cast_list(
    catalog: Catalog, known: Mapping[str, Sequence[AdapterVersion]], checks: Mapping[str, Mapping[int, CheckReport]]
) -> discord.Embed:
    """The cast of a server: which version speaks for each, how many there are, and what the last check said."""
    lines = [
        _one_of_the_cast(name, known.get(slug, ()), checks.get(slug, {})) for slug, name in catalog.personas.items()
    ]
    return card_of("The cast", _fitting(lines, EMBED_DESCRIPTION) or ["Nobody yet."], BLUE)


def _one_of_the_cast(name: str, versions: Sequence[AdapterVersion], checks: Mapping[int, CheckReport]) -> str:
    live = next((f"v{entry.version} is live" for entry in versions if entry.live), "no version is live")
    parts = [f"**{harmless(name, 80)}**", live, count(len(versions), "version"), _last_verdict(checks)]
    return " · ".join(parts)


def _last_verdict(checks: Mapping[int, CheckReport]) -> str:
    """Of the newest version that was checked."""
    return f"v{max(checks)} {_verdict(checks[max(checks)].verdict)}" if checks else "never checked"


def _verdict(verdict: Verdict) -> str:
    sign, words = VERDICTS[verdict]
    return f"{words} {sign}"


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """As many lines as there is room for, and how many there are more."""
    kept: list[str] = []
    room -= 20
    for line in lines:
        room -= width(line) + 1
        if room < 0:
            return [*kept, f"… and {len(lines) - len(kept):,} more."]
        kept.append(line)
    return kept


def info_embeds(
    sheet: Persona,
    report: DataReport,
    known: Sequence[AdapterVersion],
    checks: Mapping[int, CheckReport],
    page: int = 0,
) -> list[discord.Embed]:
    """Who a persona is, its versions, and one page of its facts with the words that tell whether a reply knows them."""
    lines = [harmless(sheet.bio, 600)]
    if sheet.traits:
        lines.append(f"Traits: {harmless(', '.join(sheet.traits), 200)}")
    if sheet.style:
        lines.append(f"How it speaks: {harmless(sheet.style, 200)}")
    if report.learnt is not None:
        held_out = f" · {report.held_out:,} held out" if report.held_out is not None else ""
        lines.append(f"{count(report.learnt, 'line')} to learn from{held_out}")
    lines += ["", *_fitting([_version(entry, checks.get(entry.version)) for entry in reversed(known)], VERSIONS_ROOM)]
    about = card_of(f"🎭 **{harmless(sheet.name, 80)}**", lines if known else [*lines, "No version yet."], BLUE)
    if not sheet.facts:
        return [about]
    confirmed = sum(fact.confirmed is not None for fact in sheet.facts)
    heading = f"Facts · {confirmed:,} of {len(sheet.facts):,} confirmed"
    return [about, card_of(heading, [_fact(number, fact) for number, fact in facts_on(sheet, page)], BLUE)]


def facts_on(sheet: Persona, page: int) -> list[tuple[int, Fact]]:
    """The facts of one page, counted from 0, with their numbers."""
    first = page * FACTS_A_PAGE
    return list(enumerate(sheet.facts, 1))[first : first + FACTS_A_PAGE]


def _version(voice: AdapterVersion, check: CheckReport | None) -> str:
    live = " · **live**" if voice.live else ""
    said = f"its check {_verdict(check.verdict)}" if check else "never checked"
    return f"v{voice.version}{live} · {harmless(voice.base_model, 60)} · {said}"


def _fact(number: int, fact: Fact) -> str:
    known = f"✅ {harmless(', '.join(fact.accept), 100)}" if fact.accept else "no words show that it is known"
    unknown = f" · ❌ {harmless(', '.join(fact.reject), 80)}" if fact.reject else ""
    return f"**{number}.** {harmless(fact.text, 160)}\n-# {known}{unknown} · {_confirmed(fact)}"


def _confirmed(fact: Fact) -> str:
    return f"confirmed on {fact.confirmed}" if fact.confirmed else "not confirmed"


def version_choice(voice: AdapterVersion) -> str:
    """A version as one line of a choice."""
    return trim(f"v{voice.version}{' · live' if voice.live else ''} · {voice.base_model}", CHOICE_NAME)


# --- the words of a fact -------------------------------------------------------------------------------------------


def fact_button(number: int) -> str:
    """What the button under a persona's card says that opens one of its facts."""
    return f"Edit or confirm {number}"


def page_button(page: int, count: int) -> str:
    """What the button says that turns to a page of so many facts."""
    first, last = page * FACTS_A_PAGE + 1, min(count, (page + 1) * FACTS_A_PAGE)
    return f"Facts {first}–{last}" if last > first else f"Fact {first}"


def fact_title(persona: str, number: int) -> str:
    """The heading of the form in which a fact's words are edited."""
    end = f" · fact {number}"
    return f"{trim(persona, MODAL_TEXT - width(end))}{end}"


def fact_changed(persona: str, fact: Fact) -> str:
    """What whoever edited or confirmed a fact's words reads."""
    accept = ", ".join(fact.accept) or "none"
    reject = ", ".join(fact.reject) or "none"
    return (
        f"**{harmless(persona, 80)}**: “{harmless(fact.text, 300)}”\n"
        f"✅ Shows that it is known: {harmless(accept, 500)}\n"
        f"❌ Shows that it is not: {harmless(reject, 500)}\n"
        f"It is {_confirmed(fact)}. The next check asks by these words."
    )


def lines_of(words: Sequence[str]) -> str:
    """Words as a form shows them: one a line."""
    return "\n".join(words)


def words_in(text: str) -> tuple[str, ...]:
    """The words of a form, one a line; each once."""
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


# --- which version speaks ------------------------------------------------------------------------------------------


def already_live(voice: AdapterVersion, catalog: Catalog | None) -> str:
    """What whoever promotes the live version reads."""
    return f"**{persona_name(voice.persona, catalog)}** already speaks with v{voice.version}."


def really_promote(worse: Sequence[Candidate], catalog: Catalog | None) -> str:
    """The question before a version is made live that a comparison with the live one called worse."""
    told = [
        f"**{persona_name(one.voice.persona, catalog)} v{one.voice.version}**"
        f" than {version_name(one.live.version if one.live else None)}"
        for one in worse[:8]
    ]
    return f"🔴 Compared with what speaks now, this was found WORSE: {'; '.join(told)}. Make live all the same?"


def promoted(one: Candidate, catalog: Catalog | None) -> str:
    """What whoever promoted a version reads: what is known of it."""
    name = f"**{persona_name(one.voice.persona, catalog)} v{one.voice.version}**"
    return f"{name} is live. {_known(one)}"


def _known(one: Candidate) -> str:
    if one.check is None:
        return "No check of it is known; /persona check shows what it is worth."
    said = f"Its last check: {_verdict(one.check.verdict)}."
    if one.live is None:
        return said
    if one.gate is None:
        return f"{said} It was not compared with v{one.live.version}, which spoke before; /persona compare does that."
    return f"{said} Against v{one.live.version}, which spoke before: {_GATES[one.gate]}."


_GATES = {
    Gate.PASS: "no worse (PASS)",
    Gate.INCONCLUSIVE: "too close to tell (INCONCLUSIVE)",
    Gate.WORSE: "worse (WORSE)",
}


def left(voices: Sequence[AdapterVersion], catalog: Catalog | None) -> str:
    """What the question becomes when Leave it was pressed."""
    names = ", ".join(f"**{persona_name(voice.persona, catalog)}**" for voice in voices[:8])
    return f"Nothing has changed for {names}."


def rolled_back(voice: AdapterVersion, catalog: Catalog | None) -> str:
    """What a channel reads when the version that was live before is live again."""
    return f"⏪ **{persona_name(voice.persona, catalog)}** speaks with v{voice.version} again."
