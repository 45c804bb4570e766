"""Every word that people read in a channel: jobs, events and reports become text and embeds, with no I/O.

Text that people or models wrote is escaped and cut to Discord's limits here; numbers are formatted here.
"""

from __future__ import annotations

from collections.abc import Sequence

import discord

from bot import plan_lines
from bot.limits import (
    EMBED_DESCRIPTION,
    EMBED_FIELD_NAME,
    EMBED_TITLE,
    EMBEDS_IN_ALL,
    trim,
    width,
)
from bot.phrases import REHEARSAL, bar, big, count, duration, harmless, percent, span, trend
from bot.score_lines import VERDICTS, scorecard
from tasks.jobs import AdapterVersion, Catalog, Event, EventKind, Job, JobState, JobView
from training.data.schema import DataSpec
from training.evaluation.schema import CheckSpec
from training.schema import (
    WHOLE_CAST,
    Phase,
    Plan,
    Problem,
    Progress,
    Report,
    Sample,
    TrainSpec,
)
from training.warned import WARNINGS, Warned

FAR_AWAY = 30 * 24 * 3600
CHART_FILE = "loss.png"
START, DISCARD, CANCEL, MAKE_LIVE = "Start", "Discard", "Cancel", "Make live"
PAUSE, RESUME, CHECK = "Pause", "Resume", "Check"
ANYWAY, LEAVE = "Make live all the same", "Leave it"
NAMED_VOICES = 8

STATES: dict[JobState, tuple[str, str, int]] = {
    JobState.QUEUED: ("🟡", "queued", 0xFEE75C),
    JobState.RUNNING: ("🔵", "running", 0x5865F2),
    JobState.PAUSING: ("🟠", "pausing", 0xE67E22),
    JobState.PAUSED: ("🟠", "paused", 0xE67E22),
    JobState.CANCELLING: ("⚪", "cancelling", 0x99AAB5),
    JobState.SUCCEEDED: ("🟢", "done", 0x57F287),
    JobState.FAILED: ("🔴", "failed", 0xED4245),
    JobState.CANCELLED: ("⚪", "cancelled", 0x99AAB5),
}
"""Each state's coloured sign, its word and its colour."""
_PHASES: dict[Phase, str] = {
    Phase.STANDIN: "making the rehearsal model",
    Phase.DATA: "reading the data",
    Phase.LOADING: "loading the base model",
    Phase.BASELINE: "measuring the base model",
    Phase.TRAINING: "training",
    Phase.EVALUATING: "judging the result",
    Phase.SAVING: "saving",
}


def sign(state: JobState) -> str:
    """The coloured sign of a state."""
    return STATES[state][0]


# --- plans ---------------------------------------------------------------------------------------------------------


def plan_card(job: Job, spec: TrainSpec, plan: Plan, catalog: Catalog | None) -> discord.Embed:
    """What a job would take, before it starts; says why where it cannot."""
    title = f"📋 **{_name(spec)}** · plan" if plan.fits else f"🔴 **{_name(spec)}** · does not fit"
    low, high = plan.seconds
    lines = [
        _asked(spec, catalog),
        *_rehearsed(plan.rehearsal),
        f"Base model {harmless(plan.base_model, 120)} on {harmless(plan.device, 60)}",
        f"{count(plan.examples, 'training conversation')} · {plan.held_out:,} held out · "
        f"{count(plan.tokens, 'token')} · {count(plan.steps, 'step')}",
        f"Memory {plan.peak_gib:.1f} of {plan.free_gib:.1f} GiB {'✅ fits' if plan.fits else '❌ does not fit'} · "
        f"time {span(low, high)} · disk {plan.disk_gib:.1f} GiB",
        *plan_lines.means(plan),
        *([] if plan.fits else plan_lines.instead(plan)),
    ]
    card = card_of(title, lines, STATES[JobState.QUEUED if plan.fits else JobState.FAILED][2])
    _add_warnings(card, plan.warnings)
    card.set_footer(text=f"Job {job.id}")
    return card


def refused_card(spec: TrainSpec, problem: Problem, catalog: Catalog | None) -> discord.Embed:
    """Why a job cannot be planned."""
    lines = [_asked(spec, catalog), "", harmless(problem.sentence, 2000), "", "Nothing was started."]
    card = card_of(f"🔴 **{_name(spec)}** · cannot start", lines, STATES[JobState.FAILED][2])
    card.set_footer(text=harmless(problem.code, 80))
    return card


def started(spec: TrainSpec) -> str:
    """What the plan card becomes when Start was pressed."""
    return f"🟡 **{_name(spec)}** is queued ↓ Its card below shows how it goes."


def discarded(spec: TrainSpec) -> str:
    """What the plan card becomes when Discard was pressed."""
    return f"⚪ The plan of **{_name(spec)}** is discarded. Nothing was started."


# --- cards of jobs -------------------------------------------------------------------------------------------------


def job_card(job: Event | JobView, now: float, catalog: Catalog | None) -> discord.Embed:
    """How a training job goes; `now` is the Unix time its progress was told."""
    spec = _train_spec(job.job)
    emoji, word, colour = STATES[job.state]
    if job.state is JobState.RUNNING and job.progress:
        word = _PHASES[job.progress.phase]
    lines = [_asked(spec, catalog), *_rehearsed(_rehearses(job, spec, catalog)), *where_it_stands(job, now)]
    card = card_of(f"{emoji} **{_name(spec)}** · {word}", lines, colour)
    card.set_footer(text=card_marker(job.job.id))
    return card


def card_marker(job_id: str) -> str:
    """The footer by which a job's card is found again in a channel."""
    return f"Job {job_id}"


def result_marker(job_id: str) -> str:
    """The footer by which a job's result is found again in a channel."""
    return f"Result of job {job_id}"


def where_it_stands(job: Event | JobView, now: float) -> list[str]:
    """How far a training job or a check is, and how it ended."""
    match job.state:
        case JobState.QUEUED:
            position = job.position if isinstance(job, JobView) else None
            waits = "Next in line." if position == 1 else f"Number {position:,} in line." if position else None
            again = job.progress is not None or (isinstance(job, Event) and job.kind is EventKind.REQUEUED)
            waiting = "Waiting for a worker; it goes on from its last checkpoint." if again else "Waiting for a worker."
            return [waits or waiting]
        case JobState.RUNNING:
            return _progress(job.progress, now) if job.progress else ["Starting."]
        case JobState.PAUSING:
            return ["Pausing at the next step; what it has learnt is kept."]
        case JobState.PAUSED:
            return [*_rests(job), "Whoever started it, or a moderator, lets it go on: Resume, or /finetune resume."]
        case JobState.CANCELLING:
            return ["Stopping at the next step."]
        case JobState.FAILED:
            return [*_reached(job.progress), problem_text(job.problem)]
        case JobState.CANCELLED:
            return _reached(job.progress) or ["Cancelled before it began."]
        case JobState.SUCCEEDED:
            return ["Done. The result is a message of its own."]


def _rests(job: Event | JobView) -> list[str]:
    """Where a paused job would go on from, which is its last checkpoint."""
    if job.progress is None:
        return ["Paused while it waited in line."]
    if job.checkpoint is None:
        return ["Paused before anything was kept; it will begin anew."]
    total = job.progress.total_steps
    if not total:
        return [f"Paused at step {job.checkpoint:,}."]
    return [bar(job.checkpoint / total), f"Paused at step {job.checkpoint:,} of {total:,}."]


def _progress(progress: Progress, now: float) -> list[str]:
    lines = []
    if progress.total_steps > 0:
        lines.append(bar(progress.step / progress.total_steps))
        place = f"Step {progress.step:,} of {progress.total_steps:,}"
        if progress.epochs:
            place += f" · epoch {progress.epoch:.2f} of {progress.epochs}"
        if progress.seconds_left is not None and 0 <= progress.seconds_left < FAR_AWAY:
            place += f" · ends <t:{int(now + progress.seconds_left)}:R>"
        lines.append(place)
    losses = []
    if progress.train_loss is not None:
        start = progress.first_train_loss
        since = f" {trend(start, progress.train_loss)} (start {start:.2f})" if start is not None else ""
        losses.append(f"train {progress.train_loss:.2f}{since}")
    if progress.eval_loss is not None:
        best = f", best at step {progress.best_step:,}" if progress.best_step is not None else ""
        losses.append(f"held-out {progress.eval_loss:.2f}{best}")
    if losses:
        lines.append(f"Loss in nats per token: {' · '.join(losses)}")
    if progress.tokens_per_second:
        lines.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    return lines


def _reached(progress: Progress | None) -> list[str]:
    if progress is None or not progress.total_steps:
        return []
    return [f"Stopped at step {progress.step:,} of {progress.total_steps:,}."]


def problem_text(problem: Problem | None) -> str:
    """Why a job ended badly."""
    return (
        harmless(problem.sentence, 2000)
        if problem
        else "It ended without saying why. The worker's log has the details."
    )


# --- results -------------------------------------------------------------------------------------------------------


def result_text(job: Event | JobView, voices: Sequence[AdapterVersion], catalog: Catalog | None) -> str:
    """The line above a result, which mentions the starter; `voices` are the versions that the job registered."""
    spec = _train_spec(job.job)
    user = job.job.origin.user_id
    mention = f"<@{user}> " if user else ""
    if job.state is not JobState.SUCCEEDED:
        return f"{mention}**{_name(spec)}** {STATES[job.state][1]}."
    if not voices:
        return f"{mention}**{_name(spec)}** is done."
    told = [f"{persona_name(voice.persona, catalog)} v{voice.version}" for voice in voices]
    trained = f"{mention}**{_listed(told)}** {'is' if len(voices) == 1 else 'are'} trained"
    if all(voice.live for voice in voices):
        return f"{trained} and live: try /persona-chat."
    return f"{trained}, and not {'all ' if any(voice.live for voice in voices) else ''}live yet."


def made_live(voices: Sequence[AdapterVersion], catalog: Catalog | None) -> str:
    """What a channel reads when versions were made live, one for each persona."""
    if len(voices) == 1:
        name = persona_name(voices[0].persona, catalog)
        return f"🎙️ **{name}** now speaks with v{voices[0].version}: try /persona-chat."
    told = [f"{persona_name(voice.persona, catalog)} with v{voice.version}" for voice in voices]
    return f"🎙️ Now speak: **{_listed(told)}**. Try /persona-chat."


def result_embeds(job: Event | JobView, catalog: Catalog | None, chart: bool) -> list[discord.Embed]:
    """A job's end: what it found, or why it found nothing; `chart`: it is attached as `loss.png`."""
    spec = _train_spec(job.job)
    if job.report is None:
        return [_without_report(job, spec, catalog)]
    report = job.report
    emoji, _, colour = STATES[job.state]
    title = f"{emoji} **{_name(spec)}** · finished in {duration(report.seconds)}"
    summary = card_of(title, [*_rehearsed(report.rehearsal), *_found(report)], colour)
    summary.add_field(name=f"Scorecard: {VERDICTS[report.verdict][1]}", value=scorecard(report.lines), inline=False)
    _add_warnings(summary, report.warnings)
    if chart:
        summary.set_image(url=f"attachment://{CHART_FILE}")
    summary.set_footer(text=result_marker(job.job.id))
    embeds = [summary]
    if report.samples:
        embeds.append(_samples(report.samples, job.version, EMBEDS_IN_ALL - len_of(summary)))
    return embeds


def status_embeds(view: JobView, now: float, catalog: Catalog | None) -> list[discord.Embed]:
    """What /finetune status answers."""
    return [job_card(view, now, catalog)] if view.report is None else result_embeds(view, catalog, chart=False)


def len_of(embed: discord.Embed) -> int:
    """What Discord counts of an embed towards the 6,000 of a message, in UTF-16 units."""
    texts = [embed.title or "", embed.description or "", embed.footer.text or "", embed.author.name or ""]
    texts += [part for field in embed.fields for part in (field.name or "", field.value or "")]
    return sum(map(width, texts))


def _without_report(job: Event | JobView, spec: TrainSpec, catalog: Catalog | None) -> discord.Embed:
    emoji, word, colour = STATES[job.state]
    lines = [_asked(spec, catalog), *where_it_stands(job, job.job.created_at)]
    card = card_of(f"{emoji} **{_name(spec)}** · {word}", lines, colour)
    code = f" · {harmless(job.problem.code, 80)}" if job.problem else ""
    card.set_footer(text=result_marker(job.job.id) + code)
    return card


def _found(report: Report) -> list[str]:
    fell = trend(report.eval_loss_before, report.eval_loss_after)
    fit = f"Held-out loss {report.eval_loss_before:.2f} → **{report.eval_loss_after:.2f}** {fell} nats per token"
    perplexity = f"perplexity {big(report.perplexity_before)} → {big(report.perplexity_after)}"
    peak = f" · peak {report.peak_gib:.1f} GiB" if report.peak_gib else ""
    seed = report.spec.hyperparameters.seed if report.seed is None else report.seed
    share = report.preferred
    agreed = [] if share is None else [f"Leans to the chosen answer in **{percent(share)}** of the held-out pairs"]
    return [
        f"{fit} · {perplexity} · best step {report.best_step:,} of {report.steps:,}",
        *agreed,
        f"{count(report.examples, 'pair' if agreed else 'training conversation')} · {report.held_out:,} held out · "
        f"{count(report.tokens, 'token')}",
        f"{harmless(report.base_model, 120)} on {harmless(report.device, 60)}{peak} · "
        f"seed {seed} · data {harmless(report.data_digest[:8], 8)}",
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED_VOICES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:NAMED_VOICES])} and {more} more"


def _samples(samples: Sequence[Sample], version: int | None, room: int) -> discord.Embed:
    own = f"v{version}" if version else "trained"
    embed = discord.Embed(title="Before and after", colour=STATES[JobState.SUCCEEDED][2])
    room -= width("Before and after")
    for sample in samples:
        question = trim(f"“{harmless(sample.question, 200)}”", EMBED_FIELD_NAME)
        answers = f"**base** {_quoted(sample.base)}\n**{own}** {_quoted(sample.adapter)}"
        room -= width(question) + width(answers)
        if room < 0 or len(embed.fields) == 5:
            break
        embed.add_field(name=question, value=answers, inline=False)
    return embed


def _quoted(text: str) -> str:
    said = harmless(" ".join(text.split()), 460)
    return f"“{said}”" if said else "(said nothing)"


def _rehearsed(rehearsal: bool) -> list[str]:
    return [f"{REHEARSAL} It shows how a job goes, not how good talk gets."] if rehearsal else []


def _add_warnings(card: discord.Embed, warnings: Sequence[Warned]) -> None:
    told = [WARNINGS[warning] for warning in dict.fromkeys(warnings) if warning is not Warned.REHEARSAL_MODEL]
    if told:
        card.add_field(name="Mind", value="\n".join(told), inline=False)


# --- names ---------------------------------------------------------------------------------------------------------


def persona_name(slug: str, catalog: Catalog | None) -> str:
    """A persona's name as people read it: the catalog's, else one made of its slug; the whole cast is everybody."""
    known = "Everybody" if slug == WHOLE_CAST else catalog.personas.get(slug) if catalog else None
    return harmless(known or slug.replace("-", " ").replace("_", " ").title(), 80)


def _asked(spec: TrainSpec, catalog: Catalog | None) -> str:
    persona = persona_name(spec.persona, catalog) if spec.persona else ""
    learns_from = harmless(spec.dataset or "", 200)
    parts = (
        persona,
        learns_from,
        f"{spec.task_type} fine-tuning",
        count(spec.hyperparameters.epochs, "epoch"),
        f"on from job {spec.start_from}" if spec.start_from else "",
    )
    return " · ".join(part for part in parts if part)


def shown_name(job: Job) -> str:
    """What a job is called: its own name, the dataset's that it makes, or what it checks."""
    if isinstance(job.spec, TrainSpec):
        return _name(job.spec)
    if isinstance(job.spec, CheckSpec):
        return f"check of {unmarked(job.spec.persona)}{f' v{job.spec.version}' if job.spec.version else ''}"
    name = job.spec.name if isinstance(job.spec, DataSpec) else None
    return unmarked(name or job.id)


def unmarked(name: str) -> str:
    """A job's or a dataset's name; their patterns leave one mark that Discord would read: two underscores."""
    return name.replace("__", "\\_\\_")


def _name(spec: TrainSpec) -> str:
    return unmarked(spec.job_name)


def _train_spec(job: Job) -> TrainSpec:
    if not isinstance(job.spec, TrainSpec):
        raise TypeError(f"job {job.id} is of kind {job.kind} and has no card")
    return job.spec


def _rehearses(job: Event | JobView, spec: TrainSpec, catalog: Catalog | None) -> bool:
    if job.report is not None:
        return job.report.rehearsal
    house_model = catalog is not None and spec.base_model in (None, catalog.base_model)
    return house_model and catalog is not None and catalog.rehearsal


def card_of(title: str, lines: Sequence[str], colour: int) -> discord.Embed:
    """An embed within Discord's limits."""
    return discord.Embed(
        title=trim(title, EMBED_TITLE), description=trim("\n".join(lines), EMBED_DESCRIPTION), colour=colour
    )
