"""Makes training rows of blind votes: preferences for DPO, and single answers that were liked or not for KTO.

What members typed is left out unless they agreed, and voters are known by their pseudonyms only.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from training.data.consent import TRAIN, ledger_path, permission_path, read_ledger, read_permission
from training.data.scope import Place
from training.errors import PermissionMissing, UnusableLedger, UnusablePermission
from training.evaluation.schema import BallotBox, Contender, Vote, VoteChoice, VotePair
from training.schema import Workspace

log = logging.getLogger(__name__)
SOURCE = "blind-votes"
_SIDES: dict[VoteChoice, tuple[str, ...]] = {
    VoteChoice.FIRST: ("first",),
    VoteChoice.SECOND: ("second",),
    VoteChoice.BAD: ("first", "second"),
    VoteChoice.TIE: (),
}
"""The answers that a vote says something of."""

Row = dict[str, Any]


def preference_rows(box: BallotBox) -> Iterator[Row]:
    """A row for each question whose voters decided: `prompt`, `chosen`, `rejected`, as `load_preferences` reads them.

    Chosen is the answer with more votes. A question gives no row where both have as many, where most of the voters
    called both bad, or where both answers are the same or one is empty.
    """
    for pair, votes in _usable(box):
        counts = {choice: sum(vote.choice is choice for vote in votes) for choice in VoteChoice}
        first, second = counts[VoteChoice.FIRST], counts[VoteChoice.SECOND]
        answers = {pair.first.answer.strip(), pair.second.answer.strip()} - {""}
        if first == second or len(answers) < 2 or counts[VoteChoice.BAD] > max(first, second):
            continue
        chosen, rejected = (pair.first, pair.second) if first > second else (pair.second, pair.first)
        yield {
            "id": pair.id,
            "prompt": _said("user", pair.question),
            "chosen": _said("assistant", chosen.answer),
            "rejected": _said("assistant", rejected.answer),
            **_origin(pair),
            "meta": {
                "chosen_version": _version(chosen),
                "rejected_version": _version(rejected),
                "votes": f"{max(first, second)}:{min(first, second)}",
                "margin": f"{abs(first - second) / (first + second):.2f}",
                "voters": str(len(votes)),
            },
        }


def judgement_rows(box: BallotBox) -> Iterator[Row]:
    """A row for each answer that a voter called the better one, or bad: `prompt`, `completion` and `label`, for KTO.

    The worse of two is not thereby bad, so it gives no row; nor does a tie, nor an empty answer.
    """
    for pair, votes in _usable(box):
        for vote in sorted(votes, key=lambda vote: vote.voter):
            for side, contender, label in _judged(pair, vote):
                yield {
                    "id": f"{pair.id}-{side}-{vote.voter}",
                    "prompt": _said("user", pair.question),
                    "completion": _said("assistant", contender.answer),
                    "label": label,
                    **_origin(pair),
                    "meta": {"voter": vote.voter, "version": _version(contender)},
                }


def with_consent(box: BallotBox, askers: Mapping[str, str], workspace: Workspace, guild_id: str) -> BallotBox:
    """The same, with each question that a member typed marked by whether it may be used.

    It may where Discord's recorded permission covers the server and the member's own recorded consent is to training.
    askers: the member's user id by pair.
    """
    agreed = _agreed(set(askers.values()), workspace, guild_id)
    pairs = (pair.model_copy(update={"consented": askers.get(pair.id) in agreed}) for pair in box.pairs)
    return box.model_copy(update={"pairs": tuple(pairs)})


def _agreed(members: Collection[str], workspace: Workspace, guild_id: str) -> set[str]:
    """Those of the members whose words may be learnt from."""
    if not members:
        return set()
    try:
        permission = read_permission(permission_path(workspace, guild_id), "A question that a member typed")
        permission.check(datetime.now(UTC).date(), Place(guild_id))
        ledger = read_ledger(ledger_path(workspace, guild_id))
        ledger.check(guild_id)
    except (PermissionMissing, UnusablePermission, UnusableLedger) as error:
        log.info("Questions that members typed stay out: %s", error)
        return set()
    return {member for member in members if ledger.allows(member, TRAIN)}


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


def _judged(pair: VotePair, vote: Vote) -> list[tuple[str, Contender, bool]]:
    """(side, contender, whether it was liked) of the answers that a vote says something of."""
    answers = {side: getattr(pair, side) for side in _SIDES[vote.choice]}
    liked = vote.choice is not VoteChoice.BAD
    return [(side, contender, liked) for side, contender in answers.items() if contender.answer.strip()]


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _origin(pair: VotePair) -> Row:
    return {"source": SOURCE, "lang": "und", "persona": pair.persona, "asked_by": pair.asked_by}


def _version(contender: Contender) -> str:
    return "base" if contender.version is None else str(contender.version)
