"""Every word about checks of a persona's voice: their cards, their results and their samples, with no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import discord

from bot.cards import STATES, card_marker, card_of, len_of, persona_name, problem_text, result_marker, where_it_stands
from bot.limits import (
    CONTENT,
    EMBED_FIELD_NAME,
    EMBED_FIELD_VALUE,
    EMBED_TITLE,
    EMBEDS_IN_ALL,
    THREAD_NAME,
    clip,
    trim,
    width,
)
from bot.phrases import REHEARSAL, count, duration, harmless, percent
from bot.score_lines import NAMES, VERDICTS, difference, figure, heading, within
from tasks.jobs import Catalog, Event, Job, JobState, JobView
from training.evaluation.schema import (
    Advice,
    CheckReport,
    CheckSpec,
    Comparison,
    Difference,
    DriftPoint,
    Gate,
    JudgeOpinion,
    SideBySide,
    Suite,
)
from training.schema import Phase, Verdict

MATRICES_FILE, RADAR_FILE, REPORT_FILE = "check.png", "radar.png", "report.json"
TOLD_LINES = 9
TOLD_SAMPLES = 8
COLOURS: dict[Verdict, int] = {
    Verdict.PASS: 0x57F287,
    Verdict.WARN: 0xFEE75C,
    Verdict.FAIL: 0xED4245,
    Verdict.NOT_APPLICABLE: 0x99AAB5,
}
_PHASES: dict[Phase, str] = {
    Phase.STANDIN: "waits for the rehearsal model to be made",
    Phase.DATA: "gathers its questions",
    Phase.LOADING: "loads the models",
    Phase.EVALUATING: "asks and judges",
}
_ADVICE: dict[Advice, str] = {
    Advice.MORE_LINES: "Gather more lines of this persona, with /dataset upload or /dataset build, and train again.",
    Advice.MORE_FACTS: "Look at the words of its facts with /persona info, and let more dialogues speak of them.",
    Advice.CLEAN_DATA: "Clean its training lines: what the samples show came from there. Then train again.",
    Advice.LOWER_LEARNING_RATE: "Train again at half the learning rate.",
    Advice.HIGHER_LEARNING_RATE: "Train again at twice the learning rate.",
    Advice.FEWER_EPOCHS: "Train again with fewer epochs: /finetune start epochs.",
    Advice.MORE_EPOCHS: "Train again with more epochs: /finetune start epochs.",
    Advice.MORE_SAMPLES: "Let people decide with /persona duel vote:true, or compare by more samples, 8 at most.",
}
GATES: dict[Gate, tuple[str, str]] = {
    Gate.PASS: ("🟢", "PASS, no worse"),
    Gate.INCONCLUSIVE: ("🟡", "INCONCLUSIVE, too close to tell; more samples (8 at most) tell more"),
    Gate.WORSE: ("🔴", "WORSE"),
}
"""Each outcome of a comparison: its sign and its words."""


# --- cards ---------------------------------------------------------------------------------------------------------


def accepted(spec: CheckSpec, catalog: Catalog | None) -> str:
    """What whoever asked for a check reads at once."""
    return f"🟡 The check of **{_checked(spec, catalog)}** is queued ↓ Its card below shows how it goes."


def check_card(job: Event | JobView, now: float, catalog: Catalog | None) -> discord.Embed:
    """How a check goes; `now` is the Unix time its progress was told."""
    spec = spec_of(job.job)
    emoji, word, colour = STATES[job.state]
    if job.state is JobState.RUNNING and job.progress:
        word = _PHASES.get(job.progress.phase, word)
    lines = [_asked(spec), *_where_it_stands(job, now)]
    card = card_of(f"{emoji} **{_checked(spec, catalog)}** · check {word}", lines, colour)
    card.set_footer(text=card_marker(job.job.id))
    return card


def _where_it_stands(job: Event | JobView, now: float) -> list[str]:
    if job.state is JobState.QUEUED and isinstance(job, Event):
        return ["Waiting for a worker."]
    if job.state is JobState.FAILED:
        return [problem_text(job.problem)]
    return ["Stopped."] if job.state is JobState.CANCELLED else where_it_stands(job, now)


def spec_of(job: Job) -> CheckSpec:
    """What a check was asked for."""
    if not isinstance(job.spec, CheckSpec):
        raise TypeError(f"job {job.id} is of kind {job.kind} and checks nobody")
    return job.spec


# --- results -------------------------------------------------------------------------------------------------------


def result_text(job: Event | JobView, catalog: Catalog | None) -> str:
    """The line above a check's result, which mentions whoever asked."""
    user = job.job.origin.user_id
    mention = f"<@{user}> " if user else ""
    name = _checked(spec_of(job.job), catalog)
    if job.check is None:
        return f"{mention}The check of **{name}** {STATES[job.state][1]}."
    sign, words = VERDICTS[job.check.verdict]
    return f"{mention}{sign} **{name}** {words}."


def result_embeds(job: Event | JobView, catalog: Catalog | None, files: Collection[str]) -> list[discord.Embed]:
    """What a check found, or why it found nothing; `files` are the names of what is attached."""
    if job.check is None:
        return [_without_report(job, catalog)]
    found = job.check
    name = _checked(found.spec, catalog)
    sign, words = VERDICTS[found.verdict]
    card = card_of(f"{sign} **{name}** · {words}", _about(found, files), COLOURS[found.verdict])
    card.set_footer(text=result_marker(job.job.id))
    for line in found.lines[:TOLD_LINES]:
        card.add_field(name=heading(line), value=figure(line), inline=True)
    if found.comparison is not None:
        _add(card, f"Against {harmless(found.comparison.against, 80)}", comparison_lines(found.comparison))
    if found.drift:
        _add(card, "After rounds of talk", [_drifted(point) for point in found.drift])
    if found.judge is not None:
        _add(card, "A language model's opinion, advisory only", _opinion(found.judge))
    _add(card, "Next", [_weakest(found), _next(found)])
    if MATRICES_FILE in files:
        card.set_image(url=f"attachment://{MATRICES_FILE}")
    embeds = [card]
    if RADAR_FILE in files and found.before is not None:
        shown = f"Now: {harmless(found.adapter, 80)} · before: {harmless(found.before.adapter, 80)}"
        radar = discord.Embed(description=shown, colour=COLOURS[found.verdict])
        embeds.append(radar.set_image(url=f"attachment://{RADAR_FILE}"))
    return embeds


def comparison_lines(found: Comparison) -> list[str]:
    """What a comparison of two versions says: its outcome, then each difference with its interval."""
    sign, words = GATES[found.gate]
    return [f"{sign} **{words}**", *(_changed(changed) for changed in found.differences)]


def _changed(changed: Difference) -> str:
    span = within(changed.low, changed.high, difference)
    return f"{NAMES[changed.id]} {difference(changed.value)}{span} over {count(changed.questions, 'question')}"


def _without_report(job: Event | JobView, catalog: Catalog | None) -> discord.Embed:
    spec = spec_of(job.job)
    emoji, word, colour = STATES[job.state]
    lines = [_asked(spec), *_where_it_stands(job, job.job.created_at)]
    card = card_of(f"{emoji} **{_checked(spec, catalog)}** · check {word}", lines, colour)
    code = f" · {harmless(job.problem.code, 80)}" if job.problem else ""
    card.set_footer(text=result_marker(job.job.id) + code)
    return card


def _about(found: CheckReport, files: Collection[str]) -> list[str]:
    rehearsed = [f"{REHEARSAL} It shows how a check goes, not how good talk gets."] if found.rehearsal else []
    where = f"{harmless(found.base_model, 120)} on {harmless(found.device, 60)}"
    replies = f"{len(found.answers):,} replies" if found.answers else ""
    parts = [_asked(found.spec), replies, where, f"took {duration(found.seconds)}"]
    by_id = "; held-out conversations by their ids alone" if found.continued else ""
    attached = next((name for name in files if name.startswith(REPORT_FILE)), None)
    whole = (
        f"{attached} holds every prompt, reply, seed and score{by_id}."
        if attached
        else "Its report.json is too large to attach; the worker keeps it in ARTIFACT_ROOT."
    )
    shown = [f"{harmless(name, 40)} {value:.4g}" for name, value in list(found.figures.items())[:6]]
    return [
        *rehearsed,
        " · ".join(part for part in parts if part),
        *([f"-# Shown only: {' · '.join(shown)}"] if shown else []),
        f"-# {whole}",
    ]


def _drifted(point: DriftPoint) -> str:
    told = [f"{NAMES[line.id]} {figure(line)}" for line in point.lines[:3]]
    return f"{point.rounds:,}: {' · '.join(told) or 'nothing measured'}"


def _opinion(judge: JudgeOpinion) -> list[str]:
    scores = [f"{harmless(name, 40)} {value:.2g}" for name, value in list(judge.scores.items())[:6]]
    agreed = (
        "Not compared with any votes yet."
        if judge.agreement is None
        else f"Agrees with {percent(judge.agreement)} of {count(judge.votes, 'decisive vote')}."
    )
    return [f"{harmless(judge.model, 80)}, 1 to 5: {' · '.join(scores) or 'nothing'}", agreed]


def _weakest(found: CheckReport) -> str:
    if found.weakest is None:
        return "No line wants work."
    line = next((line for line in found.lines if line.id == found.weakest), None)
    why = f": {harmless(line.explanation, 200)}" if line and line.explanation else "."
    return f"Weakest: **{NAMES.get(found.weakest, harmless(found.weakest, 40))}**{why}"


def _next(found: CheckReport) -> str:
    if found.advice in _ADVICE:
        return _ADVICE[found.advice]
    if found.spec.version is None:
        return "Nothing needs doing."
    return f"Let people decide; /persona promote version:{found.spec.version} makes it live."


def _add(card: discord.Embed, name: str, lines: Sequence[str]) -> None:
    """Add a field that still fits into the message."""
    room = min(EMBED_FIELD_VALUE, EMBEDS_IN_ALL - len_of(card) - width(name))
    if room > 0:
        card.add_field(name=name, value=trim("\n".join(lines), room), inline=False)


# --- samples -------------------------------------------------------------------------------------------------------


def told_samples(found: CheckReport) -> tuple[SideBySide, ...]:
    """The samples that are posted under a result; the others stand in report.json."""
    return found.samples[:TOLD_SAMPLES]


def thread_name(job: Event) -> str:
    """What the thread under a result is called."""
    name = _called(job)
    return f"{trim(name, THREAD_NAME - 24)} · answers side by side"


def samples_marker(job_id: str) -> str:
    """The footer by which samples that stand in the channel itself are found again."""
    return f"Samples of job {job_id}"


def sample_marker(job: Event, part: int) -> str:
    """The footer by which one sample is found again in its thread."""
    total = len(told_samples(job.check)) if job.check else 0
    return f"Question {part + 1} of {total}"


def sample_embed(job: Event, part: int) -> discord.Embed:
    """One question, answered side by side: without the adapter, by the version compared with, and with it."""
    assert job.check is not None
    told = told_samples(job.check)[part]
    title = trim(f"“{harmless(told.question, EMBED_TITLE - 2)}”", EMBED_TITLE)
    embed = discord.Embed(title=title, colour=COLOURS[job.check.verdict])
    for name, answer in _answers(told, job.check.spec):
        embed.add_field(name=name, value=_said(answer, EMBED_FIELD_VALUE), inline=True)
    return embed.set_footer(text=sample_marker(job, part))


def sample_text(job: Event, part: int) -> str:
    """The same as plain text, where Discord refused the embed."""
    assert job.check is not None
    told = told_samples(job.check)[part]
    lines = [f"“{harmless(told.question, 200)}”"]
    lines += [f"**{name}** {_said(answer, 500)}" for name, answer in _answers(told, job.check.spec)]
    end = f"\n-# {sample_marker(job, part)}"
    return clip("\n".join(lines), CONTENT - width(end)) + end


def samples_embed(job: Event) -> discord.Embed:
    """All samples in one message, for a channel in which no thread may be opened."""
    assert job.check is not None
    title = trim(f"{harmless(_called(job), 120)} · answers side by side", EMBED_TITLE)
    embed = discord.Embed(title=title, colour=COLOURS[job.check.verdict])
    embed.set_footer(text=samples_marker(job.job_id))
    for told in told_samples(job.check):
        question = trim(f"“{harmless(told.question, 200)}”", EMBED_FIELD_NAME)
        answers = [f"**{name}** {_said(answer, 300)}" for name, answer in _answers(told, job.check.spec)]
        value = trim("\n".join(answers), EMBED_FIELD_VALUE)
        if len_of(embed) + width(question) + width(value) > EMBEDS_IN_ALL:
            break
        embed.add_field(name=question, value=value, inline=False)
    return embed


def _answers(told: SideBySide, spec: CheckSpec) -> list[tuple[str, str]]:
    before = f"v{spec.against_version}" if spec.against_version else "before"
    now = f"v{spec.version}" if spec.version else "now"
    # Against the base model, what stood before is the base model's own answer.
    between = [(before, told.before)] if told.before is not None and spec.against_version != 0 else []
    answers = [("base", told.base), *between]
    return [*answers, (now, told.adapter)]


def _said(text: str, limit: int) -> str:
    said = harmless(" ".join(text.split()), limit - 2)
    return f"“{said}”" if said else "(said nothing)"


# --- names ---------------------------------------------------------------------------------------------------------


def version_name(version: int | None) -> str:
    """A version as people read it; None is the base model without an adapter."""
    return f"v{version}" if version else "the base model"


def _checked(spec: CheckSpec, catalog: Catalog | None) -> str:
    version = f"v{spec.version}" if spec.version else "without an adapter" if spec.run_id is None else spec.run_id
    return f"{persona_name(spec.persona, catalog)} {version}"


def _compared_with(spec: CheckSpec) -> str:
    return spec.against if spec.against and not spec.against_version else version_name(spec.against_version)


def _called(job: Event) -> str:
    """Who was checked, as the worker names them; the same whatever the catalog says meanwhile."""
    assert job.check is not None
    name = " ".join(job.check.name.split()) or job.check.persona
    return f"{name} v{job.check.spec.version}" if job.check.spec.version else name


def _asked(spec: CheckSpec) -> str:
    parts = ["General questions" if spec.suite is Suite.GENERAL else "Its own questions"]
    if spec.compares:
        parts.append(f"against {_compared_with(spec)}")
    if spec.drift:
        parts.append("again after 1, 8 and 16 rounds")
    if spec.judge:
        parts.append("with a language model's opinion")
    return " · ".join(parts)
