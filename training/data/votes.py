"""Makes training rows of blind votes: preferences for DPO, and single answers that were liked or not for KTO.

What members typed is left out unless they agreed, and voters are known by their pseudonyms only.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from training.data.consent import TRAIN, Permission, ledger_path, permission_path, read_ledger, read_permission
from training.data.fingerprints import plain
from training.data.lineage import SESSION, Lineage, Link
from training.data.schema import Typed
from training.data.scope import Place
from training.errors import PermissionMissing, UnusableLedger, UnusablePermission
from training.evaluation.schema import BallotBox, Contender, Vote, VoteChoice, VotePair
from training.evaluation.votes import decided, judgements
from training.schema import Workspace

log = logging.getLogger(__name__)
SOURCE = "blind-votes"
JUDGEMENTS = "judgements.jsonl"
"""Where a dataset of votes has what was said of single answers."""

Row = dict[str, Any]


def preference_rows(box: BallotBox) -> Iterator[Row]:
    """A row for each question whose voters decided: `prompt`, `chosen`, `rejected`, as `load_preferences` reads them.

    What `training.evaluation.votes.decided` calls too few votes, or too even, gives no row.
    """
    for pair, votes in _usable(box):
        better = decided(pair, votes)
        if better is None:
            continue
        chosen, rejected = (pair.first, pair.second) if better is VoteChoice.FIRST else (pair.second, pair.first)
        for_chosen = sum(vote.choice is better for vote in votes)
        against = sum(vote.choice in (VoteChoice.FIRST, VoteChoice.SECOND) for vote in votes) - for_chosen
        yield {
            "id": pair.id,
            "prompt": _said("user", pair.question),
            "chosen": _said("assistant", chosen.answer),
            "rejected": _said("assistant", rejected.answer),
            **_origin(pair),
            "meta": {
                # A question that was voted on again is held out with its other votes, or learnt with them.
                "group": hashlib.sha256(plain(pair.question).encode()).hexdigest()[:12],
                "chosen_version": _version(chosen),
                "rejected_version": _version(rejected),
                "votes": f"{for_chosen}:{against}",
                "margin": f"{(for_chosen - against) / (for_chosen + against):.2f}",
                "voters": str(len(votes)),
                **_typed(pair),
            },
        }


def judgement_rows(box: BallotBox) -> Iterator[Row]:
    """A row for each answer that a voter called good or bad: `prompt`, `completion` and `label`, for KTO."""
    for pair, votes in _usable(box):
        for (voter, side), label in sorted(judgements(pair, votes, box.rubrics).items()):
            contender: Contender = getattr(pair, side)
            yield {
                "id": f"{pair.id}-{side}-{voter}",
                "prompt": _said("user", pair.question),
                "completion": _said("assistant", contender.answer),
                "label": label,
                **_origin(pair),
                "meta": {"voter": voter, "version": _version(contender), **_typed(pair)},
            }


# --- what members typed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreed:
    """The pairs whose typed question may be learnt from, by their ids, and the permission of Discord's for it."""

    typed: Mapping[str, Typed] = field(default_factory=dict)
    permission: Permission | None = None

    def marked(self, box: BallotBox) -> BallotBox:
        """The same pairs, each marked by whether its question may be learnt from; what it says of that is not asked."""
        pairs = (pair.model_copy(update={"consented": pair.id in self.typed}) for pair in box.pairs)
        return box.model_copy(update={"pairs": tuple(pairs)})

    def lineage(self, box: BallotBox, guild_id: str) -> Lineage:
        """Whose words are in the rows of these pairs, by which they are found when they are to be forgotten."""
        return Lineage(
            [
                Link(
                    example=pair.id,
                    session=_session(pair),
                    messages=(),
                    authors=(self.typed[pair.id].user,),
                    source=SOURCE,
                    guild=guild_id,
                )
                for pair in box.pairs
                if pair.id in self.typed
            ]
        )


def agreed(typed: Mapping[str, Typed], workspace: Workspace, guild_id: str) -> Agreed:
    """What of the questions that members typed may be learnt from.

    It may where Discord's recorded permission covers the channel and the member's own recorded consent is to training.
    """
    if not typed:
        return Agreed()
    try:
        permission = read_permission(permission_path(workspace, guild_id), "A question that a member typed")
        permission.check_date(datetime.now(UTC).date())
        ledger = read_ledger(ledger_path(workspace, guild_id))
        ledger.check(guild_id)
    except (PermissionMissing, UnusablePermission, UnusableLedger) as error:
        log.info("Questions that members typed stay out: %s", error)
        return Agreed()
    allowed = {
        pair: one
        for pair, one in typed.items()
        if permission.covers(Place(guild_id, one.channel)) and ledger.allows(one.user, TRAIN)
    }
    return Agreed(allowed, permission)


def withheld(box: BallotBox) -> int:
    """How many pairs are left out since a member typed their question and has not agreed to its use."""
    return len(box.pairs) - sum(_may_be_used(pair) for pair in box.pairs)


def _usable(box: BallotBox) -> Iterator[tuple[VotePair, Sequence[Vote]]]:
    """The pairs that may be used, each with the last vote of every voter."""
    cast: Mapping[str, dict[str, Vote]] = defaultdict(dict)
    for vote in box.votes:
        cast[vote.pair][vote.voter] = vote
    return ((pair, list(cast[pair.id].values())) for pair in box.pairs if _may_be_used(pair))


def _may_be_used(pair: VotePair) -> bool:
    return pair.asked_by != "member" or pair.consented


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _typed(pair: VotePair) -> dict[str, str]:
    """By what rows with a member's words are found again."""
    return {SESSION: _session(pair)} if pair.asked_by == "member" else {}


def _session(pair: VotePair) -> str:
    return f"vote-{pair.id}"


def _origin(pair: VotePair) -> Row:
    return {"source": SOURCE, "lang": "und", "persona": pair.persona, "asked_by": pair.asked_by}


def _version(contender: Contender) -> str:
    return "base" if contender.version is None else str(contender.version)
