"""How well the answers of several personas to one question are told apart, by those who know how each speaks."""

from __future__ import annotations

from collections.abc import Mapping

from training.evaluation.schema import Separation
from training.evaluation.voice import Voices, separation
from training.lessons import cast_lines
from training.persona.sheet import load_cast
from training.schema import TrainSpec, Workspace


def told_apart(replies: Mapping[str, str], guild_id: str, workspace: Workspace) -> Separation | None:
    """Separation of one reply of each persona, by slug, for a classifier that learnt the lines of the whole cast.

    None where fewer than two answer, or one of them has no lines of its own to be known by.
    """
    if len(replies) < 2:
        return None
    lines, _ = cast_lines(TrainSpec(job_name="duel", guild_id=guild_id, persona=next(iter(replies))), workspace)
    if not all(lines.get(slug) for slug in replies):
        return None
    cast = load_cast(workspace, guild_id).values()
    names = {name for who in cast for name in (who.name, who.slug, *who.aliases, *who.relationships)}
    return separation(Voices(lines, names), replies)
