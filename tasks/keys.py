"""Every Redis key, spelled once."""

from __future__ import annotations

from tasks.jobs import Queue

EVENTS = "understudy:events"
ENDS = f"{EVENTS}:ends"
"""The records whose jobs have ended, by when; `record.lua` spells this one again, from the first."""
GUILDS = "understudy:guilds"
WORKERS = "understudy:workers"
MACHINES = "understudy:machines"


def record(guild_id: str, job_id: str) -> str:
    """One job: a hash."""
    return f"understudy:guild:{guild_id}:job:{job_id}"


def jobs(guild_id: str) -> str:
    """A guild's training jobs, by age."""
    return f"understudy:guild:{guild_id}:jobs"


def names(guild_id: str) -> str:
    """The newest training job of each name in a guild."""
    return f"understudy:guild:{guild_id}:names"


def versions(guild_id: str, persona: str) -> str:
    """The registry of a persona's trained voices: a hash."""
    return f"understudy:guild:{guild_id}:persona:{persona}:versions"


def checks(guild_id: str, persona: str) -> str:
    """The newest check of each adapter that was made to speak for a persona: a hash."""
    return f"understudy:guild:{guild_id}:persona:{persona}:checks"


def catalog(guild_id: str) -> str:
    """What a guild may choose from."""
    return f"understudy:guild:{guild_id}:catalog"


def waiting(queue: Queue) -> str:
    """The records that wait in a queue, in their order."""
    return f"understudy:queue:{queue}:waiting"


def running(queue: Queue) -> str:
    """The records that workers of a queue hold, by the end of their lease."""
    return f"understudy:queue:{queue}:running"


def rung(queue: Queue) -> str:
    """When a queue's bell was last rung again."""
    return f"understudy:queue:{queue}:rung"
