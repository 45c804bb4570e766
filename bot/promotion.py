"""What is known of a version before it is made live: the last check of it, and whether one calls it worse."""

from __future__ import annotations

from dataclasses import dataclass

from bot.voting import Voting
from tasks.client import Client
from tasks.jobs import AdapterVersion
from training.evaluation.schema import CheckReport, Comparison, Gate


@dataclass(frozen=True)
class Candidate:
    """A version that someone would make live, its last check if any, and the version that is live now if any.

    comparison: the newest of these two, which may be older than the last check; None where there was none.
    """

    voice: AdapterVersion
    check: CheckReport | None
    live: AdapterVersion | None
    comparison: Comparison | None = None

    @property
    def gate(self) -> Gate | None:
        """What their newest comparison says of it against the version that is live now; None where there was none."""
        return self.comparison.gate if self.comparison else None

    @property
    def worse(self) -> bool:
        """Whether it takes a second press to make it live."""
        return self.gate is Gate.WORSE


async def candidate(queue: Client, voting: Voting, voice: AdapterVersion) -> Candidate:
    """Look up what is known of a version, people's votes among it."""
    known = await queue.versions(voice.guild_id, voice.persona)
    check = await queue.last_check(voice.guild_id, voice.persona, voice.version)
    if check:
        check = await voting.heard(voice.guild_id, check)
    live = next((entry for entry in known if entry.live), None)
    return Candidate(voice, check, live, await queue.comparison(voice, live) if live else None)
