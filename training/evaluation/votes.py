"""What blind votes say: which of two versions people prefer, how surely, and how far the voters agree.

The unit is the voter: whoever voted on five questions is one voter, for the version that they chose more often. So
what a test says holds for the questions that were asked, and for people like those who voted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.schema import Rubric, Vote, VoteChoice, VotePair
from training.schema import ScoreLine, Verdict

Version = int | None
"""None: the base model without an adapter."""
Side = Literal["first", "second"]
Array = NDArray[np.float64]

LEAST_DECISIVE = 6
LEAST_VOTERS = 5
STOP_AT = 20.0
"""The e-value at which a vote may stop: under the null hypothesis it is ever reached in at most 1 vote of 20."""
HALF = 0.5
BRIGADED = 2 / 3
"""The most who would choose a version that is no better, if a third of the voters choose it whatever it says."""
MOST_TOLD = 700.0
"""The logarithm of the largest e-value that is told; beyond, no floating-point number holds it."""
RATED_ITEMS = 10
_SIDES: dict[VoteChoice, tuple[Side, ...]] = {
    VoteChoice.FIRST: ("first",),
    VoteChoice.SECOND: ("second",),
    VoteChoice.BAD: ("first", "second"),
    VoteChoice.TIE: (),
}
_THUMBS = {1: False, 2: False, 3: None, 4: True, 5: True}
RESAMPLES = 1000

# Midpoints of equal parts of the Beta(1/2, 1/2) distribution. A mixture over points is as valid as one over a density.
_POINTS = 512
_SHARES = np.sin(np.linspace(0, np.pi / 2, 1001)[1:-1]) ** 2


class Outcome(StrEnum):
    """What comes of a vote on two versions."""

    TOO_FEW = "too_few"
    UNDECIDED = "undecided"
    LEADS = "leads"
    WON = "won"


@dataclass(frozen=True)
class Tally:
    """The votes on two versions: choices, then voters by whom they chose more often, then what that says.

    `share` is the part of the voters with a preference who prefer the first, with a 95 % interval that holds however
    often it is looked at. `evidence` is the e-value against an even split, `firm` that against a brigade of a third.
    """

    of: Version
    against: Version
    questions: int
    wins: int
    losses: int
    ties: int
    bad: int
    voters: int
    for_first: int
    for_second: int
    share: float | None
    low: float | None
    high: float | None
    evidence: float
    firm: float
    outcome: Outcome

    @property
    def decisive(self) -> int:
        """Votes for one of the two."""
        return self.wins + self.losses

    @property
    def settled(self) -> bool:
        """Whether the vote may close before its time."""
        return self.outcome is Outcome.WON

    @property
    def preferred(self) -> Version:
        """The version that more voters prefer; the second where as many prefer each."""
        return self.of if self.for_first > self.for_second else self.against

    def turned(self) -> Tally:
        """The same, said of the second version."""
        share, low, high = (None if x is None else 1 - x for x in (self.share, self.high, self.low))
        return replace(
            self,
            of=self.against,
            against=self.of,
            wins=self.losses,
            losses=self.wins,
            for_first=self.for_second,
            for_second=self.for_first,
            share=share,
            low=low,
            high=high,
        )


@dataclass(frozen=True)
class Strength:
    """How a version fares among all that were voted on: the chance that it is preferred to another one of them."""

    version: Version
    value: float
    low: float
    high: float


# --- two versions --------------------------------------------------------------------------------------------------


def e_value(wins: float, losses: float, most: float = HALF) -> float:
    """How strongly votes speak against the hypothesis that at most a share of `most` would choose the winner.

    A voter without a preference may count as half a win and half a loss, since the likelihood ratio is convex in them.

    The beta-binomial e-process: the mean likelihood ratio over alternatives from Beta(1/2, 1/2) beyond `most`. While
    the hypothesis holds and votes are independent, it is ever 20 or more with a probability of at most 1/20, however
    often one looks (Ville's inequality; Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference",
    Statistical Science 38, 2023).
    """
    first = np.arcsin(np.sqrt(most))
    angles = first + (np.pi / 2 - first) * (np.arange(_POINTS) + 0.5) / _POINTS
    gained = np.log(np.sin(angles) ** 2 / most)
    lost = np.log(np.cos(angles) ** 2 / (1 - most))
    return exp(min(_log_mean_exp(wins * gained + losses * lost), MOST_TOLD))


def interval(wins: int, losses: int) -> tuple[float, float]:
    """The 95 % confidence sequence of the share that would choose the winner: valid however often one looks.

    All shares against which the two-sided beta-binomial e-process is below 20.
    """
    angles = np.pi / 2 * (np.arange(_POINTS) + 0.5) / _POINTS
    mixed = _log_mean_exp(2 * (wins * np.log(np.sin(angles)) + losses * np.log(np.cos(angles))))
    kept = _SHARES[mixed - wins * np.log(_SHARES) - losses * np.log1p(-_SHARES) < np.log(STOP_AT)]
    return (0.0 if wins == 0 else float(kept[0]), 1.0 if losses == 0 else float(kept[-1]))


def tally(pairs: Iterable[VotePair], votes: Iterable[Vote], of: Version, against: Version) -> Tally:
    """Count the votes on these two versions, whichever of them came first in a pair."""
    turned = {pair.id: pair.first.version == against for pair in pairs if _versions(pair) == {of, against}}
    cast = [(vote, _sign(vote.choice, turned[vote.pair])) for vote in votes if vote.pair in turned]
    leaning: Counter[str] = Counter()
    for vote, sign in cast:
        leaning[vote.voter] += sign
    for_first = sum(lean > 0 for lean in leaning.values())
    for_second = sum(lean < 0 for lean in leaning.values())
    wins, losses = (sum(sign == wanted for _, sign in cast) for wanted in (1, -1))
    bad = sum(vote.choice is VoteChoice.BAD for vote, _ in cast)
    decided = for_first + for_second
    low, high = interval(for_first, for_second) if decided else (None, None)
    evidence, firm = evidences(for_first, for_second, len(leaning) - decided)
    return Tally(
        of=of,
        against=against,
        questions=len(turned),
        wins=wins,
        losses=losses,
        ties=len(cast) - wins - losses - bad,
        bad=bad,
        voters=len(leaning),
        for_first=for_first,
        for_second=for_second,
        share=for_first / decided if decided else None,
        low=low,
        high=high,
        evidence=evidence,
        firm=firm,
        outcome=_outcome(wins + losses, len({vote.voter for vote, sign in cast if sign}), evidence, firm),
    )


def decided(pair: VotePair, votes: Iterable[Vote]) -> VoteChoice | None:
    """The better answer of a pair, FIRST or SECOND, where its voters say so clearly enough to learn from; else None.

    It takes as many who chose one of the two as any vote takes to say something, and more than two thirds of them for
    the same one, which is what a third who agreed beforehand make of an even split. None is better where both answers
    are the same, one is empty, or more voters call both bad than choose either.
    """
    answers = {pair.first.answer.strip(), pair.second.answer.strip()} - {""}
    counts = Counter({vote.voter: vote.choice for vote in votes if vote.pair == pair.id}.values())
    first, second = counts[VoteChoice.FIRST], counts[VoteChoice.SECOND]
    most = max(first, second)
    if len(answers) < 2 or first + second < LEAST_DECISIVE or counts[VoteChoice.BAD] > most:
        return None
    if 3 * most <= 2 * (first + second):
        return None
    return VoteChoice.FIRST if first > second else VoteChoice.SECOND


def judgements(pair: VotePair, votes: Sequence[Vote], rubrics: Sequence[Rubric]) -> dict[tuple[str, Side], bool]:
    """Which answers of a pair were called good, and which bad, by (voter, side); no empty ones.

    votes: the last of each voter. The answer that a voter prefers is good, both are bad where they say so. The worse of
    two is not thereby bad, so nothing is said of it, nor by a tie. A form on an answer counts in place of the vote:
    worth talking to by 4 or 5 is good, by 1 or 2 bad, by 3 neither.
    """
    told: dict[tuple[str, Side], bool | None] = {
        (vote.voter, side): vote.choice is not VoteChoice.BAD
        for vote in votes
        if vote.pair == pair.id
        for side in _SIDES[vote.choice]
    }
    told |= {(one.voter, one.side): _THUMBS[one.worth_talking_to] for one in rubrics if one.pair == pair.id}
    said = {side: getattr(pair, side).answer.strip() for _, side in told}
    return {key: label for key, label in told.items() if label is not None and said[key[1]]}


def people_line(found: Tally) -> ScoreLine:
    """Line 9 of the scorecard: the share of the voters who prefer the first version."""
    verdict = Verdict.NOT_APPLICABLE
    if found.outcome in (Outcome.WON, Outcome.LEADS):
        ahead = found.for_first > found.for_second
        verdict = Verdict.FAIL if not ahead else Verdict.PASS if found.outcome is Outcome.WON else Verdict.WARN
    elif found.outcome is Outcome.UNDECIDED:
        verdict = Verdict.WARN
    enough = found.outcome is not Outcome.TOO_FEW
    return ScoreLine(
        id="people",
        value=found.share if enough else None,
        low=found.low if enough else None,
        high=found.high if enough else None,
        verdict=verdict,
        explanation=_explained(found),
    )


def _explained(found: Tally) -> str:
    if found.outcome is Outcome.TOO_FEW:
        return f"not enough votes: {found.decisive} decisive ones by {found.voters} voters"
    asked = f"{found.questions} question{'' if found.questions == 1 else 's'}"
    return f"{found.for_first} of {found.for_first + found.for_second} voters with a preference, on {asked}"


def evidences(for_first: int, for_second: int, for_neither: int = 0) -> tuple[float, float]:
    """(e-value against an even split, to either side; that against a brigade of a third, for whoever is ahead).

    Voters without a preference tell nothing of a split, but they do not belong to a brigade: left out, they would make
    its share larger than a third.
    """
    either = (e_value(for_first, for_second) + e_value(for_second, for_first)) / 2
    ahead, behind = max(for_first, for_second), min(for_first, for_second)
    return either, e_value(ahead + for_neither / 2, behind + for_neither / 2, BRIGADED)


def _outcome(decisive: int, deciding: int, evidence: float, firm: float) -> Outcome:
    if decisive < LEAST_DECISIVE or deciding < LEAST_VOTERS:
        return Outcome.TOO_FEW
    if firm >= STOP_AT:
        return Outcome.WON
    return Outcome.LEADS if evidence >= STOP_AT else Outcome.UNDECIDED


def _sign(choice: VoteChoice, turned: bool) -> int:
    """1: for the first version, -1: for the second, 0: for neither."""
    sign = {VoteChoice.FIRST: 1, VoteChoice.SECOND: -1}.get(choice, 0)
    return -sign if turned else sign


def _versions(pair: VotePair) -> set[Version]:
    return {pair.first.version, pair.second.version}


def _log_mean_exp(logarithms: Array) -> float:
    """The logarithm of the mean of e to each."""
    top = logarithms.max()
    return float(top + np.log(np.exp(logarithms - top).mean()))


# --- several versions ----------------------------------------------------------------------------------------------


def strengths(pairs: Iterable[VotePair], votes: Iterable[Vote], seed: int = 0) -> list[Strength]:
    """All versions that were voted on, the strongest first, with 95 % intervals from 1,000 resamples of the voters.

    Bradley-Terry with a tie as half a win for each; each version also ties once with an average one, which keeps the
    strength of an unbeaten one finite. Both bad says nothing of which is better.
    """
    versions, wins = _wins_by_voter(pairs, votes)
    if len(versions) < 2:
        return []
    drawn = np.random.default_rng(seed).multinomial(len(wins), np.full(len(wins), 1 / len(wins)), size=RESAMPLES)
    value = preferred(bradley_terry(wins.sum(axis=0)))
    low, high = np.percentile(preferred(bradley_terry(np.einsum("rv,vij->rij", drawn, wins))), [2.5, 97.5], axis=0)
    order = np.argsort(-value, kind="stable")
    return [Strength(versions[i], float(value[i]), float(low[i]), float(high[i])) for i in order]


def _wins_by_voter(pairs: Iterable[VotePair], votes: Iterable[Vote]) -> tuple[list[Version], Array]:
    """(the versions, voters × versions × versions: how often each voter preferred the row to the column)."""
    met = {pair.id: (pair.first.version, pair.second.version) for pair in pairs}
    counted = [vote for vote in votes if vote.pair in met and vote.choice is not VoteChoice.BAD]
    versions = sorted({version for vote in counted for version in met[vote.pair]}, key=lambda version: version or 0)
    voters = sorted({vote.voter for vote in counted})
    wins = np.zeros((len(voters), len(versions), len(versions)))
    for vote in counted:
        first, second = (versions.index(version) for version in met[vote.pair])
        share = {VoteChoice.FIRST: 1.0, VoteChoice.SECOND: 0.0}.get(vote.choice, 0.5)
        voter = voters.index(vote.voter)
        wins[voter, first, second] += share
        wins[voter, second, first] += 1 - share
    return versions, wins


def bradley_terry(wins: Array) -> Array:
    """Strengths (… × versions) whose ratios are the odds of winning; `wins`: … × versions × versions, row over column.

    The minorise-maximise iteration of Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of
    Statistics 32, 2004.
    """
    met = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1) + 0.5
    strength = np.ones(won.shape)
    for _ in range(2000):
        met_strength = (met / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1)
        fresh = won / (met_strength + 1 / (strength + 1))
        if np.abs(np.log(fresh / strength)).max() < 1e-7:
            break
        strength = fresh
    return fresh


def preferred(strength: Array) -> Array:
    """The chance of each version to win against another one of them, drawn at random."""
    odds = strength[..., :, None] / (strength[..., :, None] + strength[..., None, :])
    return np.asarray((odds.sum(axis=-1) - 0.5) / (strength.shape[-1] - 1))


# --- agreement -----------------------------------------------------------------------------------------------------


def agreement(pairs: Iterable[VotePair], votes: Iterable[Vote]) -> float | None:
    """Krippendorff's alpha of the choices between an older and a newer version, a tie in the middle.

    Both bad is left out. Which of the two a pair has first makes no difference.
    """
    order = {VoteChoice.FIRST: 0, VoteChoice.TIE: 1, VoteChoice.SECOND: 2}
    turned = {pair.id: (pair.first.version or 0) > (pair.second.version or 0) for pair in pairs}
    chosen: dict[str, dict[str, int]] = defaultdict(dict)
    for vote in votes:
        if vote.choice in order and vote.pair in turned:
            chosen[vote.pair][vote.voter] = 2 - order[vote.choice] if turned[vote.pair] else order[vote.choice]
    return ordinal_alpha(chosen.values())


def rubric_agreement(rubrics: Iterable[Rubric], question: str) -> float | None:
    """Krippendorff's alpha of one question of the rubric form, over all answers that were rated."""
    rated: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for rubric in rubrics:
        rated[rubric.pair, rubric.side][rubric.voter] = getattr(rubric, question)
    return ordinal_alpha(rated.values())


def ordinal_alpha(items: Iterable[Mapping[str, int]]) -> float | None:
    """Krippendorff's alpha of ordinal ratings, given for each item by rater: 1 is agreement, 0 what chance would give.

    None below 10 items with two raters or more, or where all ratings are the same. Krippendorff, "Computing
    Krippendorff's alpha-reliability", 2011.
    """
    shared = [list(ratings.values()) for ratings in items if len(ratings) > 1]
    levels = sorted({rating for ratings in shared for rating in ratings})
    if len(shared) < RATED_ITEMS or len(levels) < 2:
        return None
    place = {level: index for index, level in enumerate(levels)}
    coincidences = np.zeros((len(levels), len(levels)))
    for ratings in shared:
        counts = np.bincount([place[rating] for rating in ratings], minlength=len(levels)).astype(np.float64)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(ratings) - 1)
    totals = coincidences.sum(axis=1)
    distance = _ordinal_distance(totals)
    expected = (np.outer(totals, totals) * distance).sum()
    return float(1 - (totals.sum() - 1) * (coincidences * distance).sum() / expected)


def _ordinal_distance(totals: Array) -> Array:
    """Between two levels, squared: how many ratings lie from one to the other, half of those at the ends."""
    middle = np.cumsum(totals) - totals / 2
    return np.asarray((middle[:, None] - middle[None, :]) ** 2)
