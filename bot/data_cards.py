"""Every word about datasets: lists, cards, uploads, builds and previews, with no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import discord

from bot.cards import STATES, card_marker, card_of, persona_name, problem_text, result_marker, unmarked
from bot.limits import CHOICE_NAME, EMBED_DESCRIPTION, trim, width
from bot.phrases import count, harmless
from tasks.jobs import Catalog, Event, Job, JobState, JobView
from training.data.schema import DataAction, DatasetCard, DatasetOffer, DataSpec, Inspection, job_name
from training.schema import Conversation, Problem

DELETE, KEEP = "Delete", "Keep"
LISTED_REASONS = 8
LISTED_PROBLEMS = 5
LISTED_NOTES = 3
# A description and three such fields stay under the 6,000 of a message.
FIELD = 700
MIB = 2**20
GREEN = STATES[JobState.SUCCEEDED][2]
BLUE = STATES[JobState.RUNNING][2]
RED = STATES[JobState.FAILED][2]

_WHERE = {
    "guild": "made here",
    "shipped": "comes with Understudy",
    "warehouse": "in the operator's warehouse",
    "hub": "fetched when first used",
}
_HEADINGS = {
    "guild": "Made here",
    "shipped": "Come with Understudy",
    "warehouse": "In the warehouse",
    "hub": "Fetched when first used",
}
_FORMATS = {
    "canonical": "Understudy's own rows",
    "oasst_tree": "OASST trees",
    "oasst_messages": "OASST messages",
    "ultrachat": "UltraChat",
    "messages": "chat messages",
    "sharegpt": "ShareGPT",
    "alpaca": "Alpaca",
    "firefly": "Firefly",
    "prompt_completion": "prompts and completions",
}


# --- what there is -------------------------------------------------------------------------------------------------


def dataset_choice(offer: DatasetOffer) -> str:
    """A dataset as one line of a choice."""
    parts = [offer.name, *(["made here"] if offer.where == "guild" else []), *_size(offer), *_mind(offer)]
    return trim(" · ".join(parts), CHOICE_NAME)


def dataset_list(catalog: Catalog) -> discord.Embed:
    """All datasets of a server, by where they lie."""
    lines: list[str] = []
    for where, heading in _HEADINGS.items():
        offers = [offer for offer in catalog.datasets.values() if offer.where == where]
        if offers:
            lines += ["", f"__{heading}__", *(_listed(offer, catalog) for offer in offers)]
    embed = card_of("Datasets here", _fitting(lines[1:]) or ["None yet. Begin with /dataset upload."], BLUE)
    if any(offer.restricted for offer in catalog.datasets.values()):
        embed.set_footer(text="⚠ non-commercial, for research only, or without a stated licence")
    return embed


def info_card(offer: DatasetOffer, card: DatasetCard | None, catalog: Catalog) -> discord.Embed:
    """What is known of one dataset; `card` for one that was made here."""
    lines = [_about(offer, catalog)]
    if offer.description:
        lines.append(harmless(offer.description, 300))
    if offer.good_for:
        lines.append(f"Good for {harmless(offer.good_for, 200)}")
    if card is not None:
        lines += _figures(card)
        lines.append(f"Version {harmless(card.version, 16)}, made {harmless(card.made_at[:10], 10)}")
        lines += [harmless(note, 300) for note in card.notes[:LISTED_NOTES]]
    if offer.restricted:
        lines.append("⚠ Not for every use: its licence is non-commercial, for research only, or not stated.")
    if offer.conversations != 0:
        lines += ["", _next(offer.name, offer.persona)]
    embed = card_of(f"📚 **{unmarked(offer.name)}**", lines, BLUE)
    if card is not None:
        _add_steps(embed, card)
    return embed


def preview_embeds(name: str, rows: Sequence[Conversation]) -> list[discord.Embed]:
    """The first conversations of a dataset, shortened."""
    room = EMBED_DESCRIPTION // max(1, len(rows))
    return [
        card_of(f"{unmarked(name)} · {_language(row.lang)} · {harmless(row.id, 60)}", [_spoken(row, room)], BLUE)
        for row in rows
    ]


def validated_card(filename: str, found: Inspection) -> discord.Embed:
    """What would become of a file, had it been uploaded."""
    good = found.conversations > 0
    title = f"{'✅' if good else '🔴'} **{harmless(filename, 100)}** · {'can be used' if good else 'nothing to use'}"
    lines = [*_read(found), "", "Nothing was kept. Take it in with /dataset upload." if good else "Nothing was kept."]
    embed = card_of(title, lines, GREEN if good else RED)
    _add_dropped(embed, found)
    return embed


def refused_card(subject: str, problem: Problem) -> discord.Embed:
    """Why a file cannot be used."""
    embed = card_of(f"🔴 **{harmless(subject, 100)}** · not usable", [harmless(problem.sentence, 2000)], RED)
    embed.set_footer(text=harmless(problem.code, 80))
    return embed


# --- uploads and builds --------------------------------------------------------------------------------------------


def accepted(spec: DataSpec) -> str:
    """What whoever asked for an upload or a build reads at once."""
    done = "is being read" if spec.action is DataAction.UPLOAD else "is being built"
    return f"🟡 **{_named(spec)}** {done} ↓ Its card below shows how it goes."


def data_card(job: Event | JobView, catalog: Catalog | None) -> discord.Embed:
    """How an upload or a build goes."""
    spec = spec_of(job.job)
    emoji, word, colour = STATES[job.state]
    lines = [_asked(spec, catalog), *_where_it_stands(job, spec)]
    card = card_of(f"{emoji} **{_named(spec)}** · {spec.action} {word}", lines, colour)
    card.set_footer(text=card_marker(job.job.id))
    return card


def result_text(job: Event | JobView) -> str:
    """The line above a result, which mentions whoever asked."""
    user = job.job.origin.user_id
    mention = f"<@{user}> " if user else ""
    name = _named(spec_of(job.job))
    if job.state is not JobState.SUCCEEDED:
        return f"{mention}**{name}** {STATES[job.state][1]}."
    return f"{mention}**{name}** is ready to learn from."


def result_embeds(job: Event | JobView, catalog: Catalog | None) -> list[discord.Embed]:
    """What an upload or a build made, or why it made nothing."""
    spec = spec_of(job.job)
    emoji, word, colour = STATES[job.state]
    made = job.data.card if job.data else None
    lines = [_asked(spec, catalog)]
    if job.data and job.data.inspection:
        lines.append(_rows_read(job.data.inspection))
    lines += _where_it_stands(job, spec) if made is None else _figures(made)
    if made is not None:
        lines += [harmless(note, 300) for note in made.notes[:LISTED_NOTES]]
        lines += ["", _next(made.name, made.persona)]
    embed = card_of(f"{emoji} **{_named(spec)}** · {spec.action} {word}", lines, colour)
    if made is not None:
        _add_steps(embed, made)
    if job.data and job.data.inspection:
        _add_dropped(embed, job.data.inspection)
    code = f" · {harmless(job.problem.code, 80)}" if job.problem else ""
    embed.set_footer(text=result_marker(job.job.id) + code)
    return [embed]


def spec_of(job: Job) -> DataSpec:
    """What a job on data was asked for."""
    if not isinstance(job.spec, DataSpec):
        raise TypeError(f"job {job.id} is of kind {job.kind} and works on no dataset")
    return job.spec


# --- deleting ------------------------------------------------------------------------------------------------------


def really_delete(offer: DatasetOffer) -> str:
    """The question before a dataset is deleted."""
    size = f" ({', '.join(_size(offer))})" if _size(offer) else ""
    return f"Delete **{unmarked(offer.name)}**{size}? It cannot be brought back. What was trained on it stays."


def deleted(name: str) -> str:
    """What the question becomes when Delete was pressed."""
    return f"⚪ **{unmarked(name)}** is deleted."


def kept(name: str) -> str:
    """What the question becomes when Keep was pressed."""
    return f"**{unmarked(name)}** is kept."


# --- lines ---------------------------------------------------------------------------------------------------------


def _where_it_stands(job: Event | JobView, spec: DataSpec) -> list[str]:
    match job.state:
        case JobState.QUEUED:
            return ["Waiting for a worker."]
        case JobState.RUNNING | JobState.PAUSING | JobState.PAUSED:
            return [_running(job, spec)]
        case JobState.CANCELLING:
            return ["Stopping."]
        case JobState.FAILED:
            return [problem_text(job.problem)]
        case JobState.CANCELLED:
            return ["Nothing was kept."]
        case JobState.SUCCEEDED:
            return ["Done. The result is a message of its own."]


def _running(job: Event | JobView, spec: DataSpec) -> str:
    step, total = (job.progress.step, job.progress.total_steps) if job.progress else (0, 0)
    if spec.action is DataAction.UPLOAD:
        return f"{count(step, 'row')} read so far." if step else "Fetching the file."
    if not total:
        return "Starting."
    if spec.use_language_model:
        return f"The language model has answered {step:,} of {total:,} requests for dialogues."
    return f"Writing persona {min(step + 1, total):,} of {total:,}."


def _asked(spec: DataSpec, catalog: Catalog | None) -> str:
    if spec.upload is not None:
        return f"{harmless(spec.upload.filename, 100)} · {_bytes(spec.upload.size)}"
    whose = persona_name(spec.persona, catalog) if spec.persona else "the whole cast"
    parts = [f"Dialogues of {whose}"]
    if spec.general:
        share = round(100 * spec.persona_share)
        parts.append(f"mixed {share}:{100 - share} with {harmless(spec.general, 60)}")
    if spec.use_language_model:
        parts.append("more written by the language model")
    return " · ".join(parts)


def _figures(card: DatasetCard) -> list[str]:
    if not card.conversations:
        return [count(0, "conversation"), *(harmless(note, 300) for note in card.notes)]
    size = f"{count(card.conversations, 'conversation')} · {count(card.turns, 'turn')}"
    lines = [f"{size} · {_counts(card.languages, _language)}"]
    if card.tokens:
        lines.append(f"{count(card.tokens.total, 'token')} · longest {card.tokens.longest:,}")
    if len(card.sources) > 1:
        lines.append(f"From {_counts({source.name: source.conversations for source in card.sources})}")
    lines.append(f"Licence {harmless(', '.join(card.licenses), 200)}")
    return lines


def _rows_read(found: Inspection) -> str:
    known = _FORMATS.get(found.format, harmless(found.format, 40))
    return f"{count(found.rows, 'row')} read as {known}: {found.used:,} used, {found.rows - found.used:,} left out"


def _read(found: Inspection) -> list[str]:
    lines = [_rows_read(found)]
    if found.conversations:
        size = f"{count(found.conversations, 'conversation')} · {count(found.turns, 'turn')}"
        lines.append(f"{size} · {_counts(found.languages, _language)}")
    return lines


def _add_dropped(embed: discord.Embed, found: Inspection) -> None:
    if found.dropped:
        embed.add_field(name="Left out", value=_reasons(found.dropped), inline=False)
    if found.problems:
        rows = [f"Row {problem.row:,}: {harmless(problem.why, 120)}" for problem in found.problems[:LISTED_PROBLEMS]]
        embed.add_field(name="The first of them", value=trim("\n".join(rows), FIELD), inline=False)


def _add_steps(embed: discord.Embed, card: DatasetCard) -> None:
    removed: dict[str, int] = {}
    for step in card.steps:
        for reason, number in step.removed.items():
            removed[reason] = removed.get(reason, 0) + number
    if removed:
        embed.add_field(name="Cleaned away", value=_reasons(removed), inline=False)


def _reasons(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    lines = [f"{number:,} × {harmless(reason, 100)}" for reason, number in most[:LISTED_REASONS]]
    if rest := sum(number for _, number in most[LISTED_REASONS:]):
        lines.append(f"{rest:,} for other reasons")
    return trim("\n".join(lines), FIELD)


def _next(name: str, persona: str | None) -> str:
    what = f"task_type:persona persona:{persona}" if persona else "task_type:dialogue"
    return f"Train on it: `/finetune start job_name:{job_name(name)} {what} dataset:{name}`"


def _listed(offer: DatasetOffer, catalog: Catalog) -> str:
    return f"{'⚠ ' if offer.restricted else ''}**{unmarked(offer.name)}** · {_about(offer, catalog, short=True)}"


def _about(offer: DatasetOffer, catalog: Catalog, *, short: bool = False) -> str:
    parts = [] if short else [_WHERE[offer.where]]
    parts += _size(offer)
    if offer.persona:
        parts.append(f"dialogues of {persona_name(offer.persona, catalog)}")
    parts += [_language(offer.lang), _license(offer.license)]
    if short and (good_for := offer.good_for or offer.description):
        parts.append(harmless(good_for, 100))
    return " · ".join(parts)


def _size(offer: DatasetOffer) -> list[str]:
    if offer.conversations is not None:
        return [count(offer.conversations, "conversation")]
    return [] if offer.rows is None else [count(offer.rows, "row")]


def _license(license: str) -> str:
    return "no licence stated" if license in ("", "unknown") else harmless(license, 60)


def _language(code: str) -> str:
    return {"mul": "many languages", "und": "language unknown"}.get(code, harmless(code, 40))


def _mind(offer: DatasetOffer) -> list[str]:
    return ["⚠ restricted licence"] if offer.restricted else []


def _called(name: str) -> str:
    return harmless(name, 40)


def _counts(counts: Mapping[str, int], called: Callable[[str], str] = _called) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    told = [f"{called(name)} {number:,}" for name, number in most[:6]]
    return ", ".join([*told, "…"] if len(most) > 6 else told)


def _spoken(row: Conversation, room: int) -> str:
    each = max(40, room // len(row.messages) - 20)
    said = [f"**{message.role}** {harmless(' '.join(message.content.split()), each)}" for message in row.messages]
    return trim("\n".join(said), room)


def _fitting(lines: Iterable[str]) -> list[str]:
    """As many lines as an embed holds, and how many there are more."""
    kept: list[str] = []
    left = 0
    room = EMBED_DESCRIPTION - 40
    for line in lines:
        room -= width(line) + 1
        if room > 0:
            kept.append(line)
        else:
            left += 1
    return [*kept, f"… and {left:,} more; /dataset info knows each."] if left else kept


def _named(spec: DataSpec) -> str:
    return unmarked(spec.name or "upload")


def _bytes(size: int) -> str:
    return f"{size / MIB:.1f} MiB" if size >= MIB else f"{size / 1024:.0f} KiB" if size >= 1024 else f"{size} bytes"
