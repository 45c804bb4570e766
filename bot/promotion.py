"""What is known of a version before it is made live: the last check of it, and whether that calls it worse."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.client import Client
from tasks.jobs import AdapterVersion
from training.evaluation.schema import CheckReport, Gate


@dataclass(frozen=True)
class Candidate:
    """A version that someone would make live, its last check if any, and the version that is live now if any."""

    voice: AdapterVersion
    check: CheckReport | None
    live: AdapterVersion | None

    @property
    def gate(self) -> Gate | None:
        """What its last check says of it against the version that is live now; None where it compared no such two."""
        if self.check is None or self.check.comparison is None or self.live is None:
            return None
        return self.check.comparison.gate if self.check.spec.against == self.live.job_id else None

    @property
    def worse(self) -> bool:
        """Whether it takes a second press to make it live."""
        return self.gate is Gate.WORSE


async def candidate(queue: Client, voice: AdapterVersion) -> Candidate:
    """Look up what is known of a version."""
    known = await queue.versions(voice.guild_id, voice.persona)
    check = await queue.last_check(voice.guild_id, voice.persona, voice.version)
    return Candidate(voice, check, next((entry for entry in known if entry.live), None))
