"""Jobs in a line: as a choice, in a server's list, and as the answer to whoever cancelled, paused or resumed one."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from bot.cards import STATES, card_of, persona_name, shown_name
from bot.limits import CHOICE_NAME, trim
from bot.phrases import harmless, percent
from tasks.jobs import Catalog, JobState, JobView
from training.schema import TrainSpec

LISTED_JOBS = 15


def job_choice(view: JobView) -> str:
    """A job as one line of a choice."""
    emoji, word, _ = STATES[view.state]
    name = view.job.spec.job_name if isinstance(view.job.spec, TrainSpec) else view.job.id
    return trim(f"{emoji} {name} · {word} · {view.job.id}", CHOICE_NAME)


def job_list(views: Sequence[JobView], catalog: Catalog | None) -> discord.Embed:
    """The newest training jobs of a server."""
    lines = [_listed(view, view.job.spec, catalog) for view in views if isinstance(view.job.spec, TrainSpec)]
    if len(lines) > LISTED_JOBS:
        lines = [*lines[:LISTED_JOBS], f"… and {len(lines) - LISTED_JOBS} older ones."]
    return card_of("Jobs here", lines or ["None yet. Begin with /finetune start."], STATES[JobState.RUNNING][2])


def _listed(view: JobView, spec: TrainSpec, catalog: Catalog | None) -> str:
    emoji, word, _ = STATES[view.state]
    version = f" · v{view.version}" if view.version else ""
    share = ""
    if view.state in (JobState.RUNNING, JobState.PAUSED) and view.progress and view.progress.total_steps:
        step = view.progress.step if view.state is JobState.RUNNING else view.checkpoint or 0
        share = f" · {percent(step / view.progress.total_steps)}"
    subject = persona_name(spec.persona, catalog) if spec.persona else harmless(spec.dataset or "", 60)
    begun = f"<t:{int(view.job.created_at)}:R>"
    return f"{emoji} **{shown_name(view.job)}** · {word}{share} · {subject}{version} · {begun}"


def cancelling(view: JobView) -> str:
    """What whoever cancelled a job reads."""
    name = shown_name(view.job)
    if view.state is JobState.CANCELLED:
        return f"⚪ **{name}** is cancelled."
    return f"⚪ **{name}** is being cancelled; its card will say when it has stopped."


def pausing(view: JobView) -> str:
    """What whoever paused a job reads."""
    name = shown_name(view.job)
    if view.state is JobState.PAUSED:
        return f"🟠 **{name}** is paused. It keeps its place; /finetune resume lets it go on."
    if view.state is JobState.PAUSING:
        return f"🟠 **{name}** is being paused; its card will say at which step it rests."
    return _stands(view)


def resuming(view: JobView) -> str:
    """What whoever resumed a job reads."""
    name = shown_name(view.job)
    if view.state is JobState.QUEUED:
        return f"🟡 **{name}** goes on from where it stopped when its turn comes; it has kept its place."
    return _stands(view)


def _stands(view: JobView) -> str:
    emoji, word, _ = STATES[view.state]
    return f"{emoji} **{shown_name(view.job)}** is {word}."
