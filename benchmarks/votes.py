"""How often blind votes find a difference that is not there, and how many voters find one that is.

Simulated crowds vote on two versions; the votes are counted by voter and judged after each vote, as a real one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.evaluation.votes import STOP_AT, evidences

Counts = NDArray[np.int64]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Crowd:
    """Who votes. `rate`: how often an honest voter prefers the first version; `taste`: the SD of that among voters.

    left: how often the left answer is pressed, whatever it says. fixed: the first version is left for everybody.
    brigade: the share of the voters who choose the first version whatever it says. minds: changes of mind a vote.
    """

    voters: int = 24
    questions: int = 1
    rate: float = 0.5
    taste: float = 0.0
    ties: float = 0.1
    left: float = 0.5
    fixed: bool = False
    brigade: float = 0.0
    early: bool = False
    minds: float = 0.0


@dataclass(frozen=True)
class Found:
    """Shares of the simulated votes: what a plain test after each vote finds, what the close says, what stops it."""

    naive: float
    leads: float
    won: float


SPLIT = {
    "one question, 24 voters": Crowd(),
    "one question, 100 voters": Crowd(voters=100),
    "8 voters of strong tastes, 5 questions": Crowd(voters=8, questions=5, taste=0.3),
    "24 voters of strong tastes, 5 questions": Crowd(questions=5, taste=0.3),
    "every vote changed once, 24 voters": Crowd(minds=1.0),
    "60 % press left, sides the same for all": Crowd(left=0.6, fixed=True),
    "60 % press left, sides drawn for each": Crowd(left=0.6),
    "a third always presses left": Crowd(left=0.5 + 0.5 / 3),
    "a third is a brigade, 12 voters": Crowd(voters=12, brigade=1 / 3),
    "a third is a brigade, 24 voters": Crowd(brigade=1 / 3),
    "a third is a brigade, 100 voters": Crowd(voters=100, brigade=1 / 3),
    "a third is a brigade, 24 voters, 5 questions": Crowd(questions=5, brigade=1 / 3),
    "a third is a brigade and comes first, 24 voters": Crowd(brigade=1 / 3, early=True),
    "a third is a brigade and comes first, 60 voters": Crowd(voters=60, brigade=1 / 3, early=True),
    "half are a brigade, 24 voters": Crowd(brigade=0.5),
}
"""Crowds to whom both versions are the same."""


def found(crowd: Crowd, runs: int, seed: int = 0) -> Found:
    """What many votes of such a crowd come to, where the first version is the one that is found better or worse."""
    first, second, voters, wins, losses = counts(crowd, runs, seed)
    evidence, firm = _judged(first, second, voters)
    won = (firm >= STOP_AT).any(axis=1)
    leads = won | (evidence[:, -1] >= STOP_AT)
    naive = (_binomial(wins, losses) < SIGNIFICANT).any(axis=1)
    return Found(float(naive.mean()), float(leads.mean()), float(won.mean()))


def counts(crowd: Crowd, runs: int, seed: int) -> Counts:
    """How it stands after each vote: 5 × runs × votes.

    Voters for the first version, for the second, and all who voted; then votes for the first and for the second.
    """
    rng = np.random.default_rng(seed)
    places = crowd.voters * crowd.questions
    order = _order(crowd, runs, rng)
    rates = _rates(crowd, runs, rng)
    row = np.arange(runs)
    chosen = np.zeros((runs, places), dtype=np.int64)
    leaning = np.zeros((runs, crowd.voters), dtype=np.int64)
    seen = np.zeros((runs, crowd.voters), dtype=bool)
    standing = np.zeros((5, runs), dtype=np.int64)
    told = np.empty((5, runs, order.shape[1]), dtype=np.int64)
    for step in range(order.shape[1]):
        place = order[:, step]
        voter = place // crowd.questions
        choice = np.where(rng.random(runs) < rates[row, voter], 1, -1)
        choice[(rng.random(runs) < crowd.ties) & (rates[row, voter] < 1)] = 0
        earlier, before = chosen[row, place], leaning[row, voter]
        after = before + choice - earlier
        chosen[row, place], leaning[row, voter] = choice, after
        standing[:2] += _sides(after) - _sides(before)
        standing[2] += ~seen[row, voter]
        seen[row, voter] = True
        standing[3:] += _sides(choice) - _sides(earlier)
        told[:, :, step] = standing
    return told


def _sides(leanings: Counts) -> Counts:
    """Whether each is for the first version, whether for the second."""
    return np.stack([leanings > 0, leanings < 0]).astype(np.int64)


def _order(crowd: Crowd, runs: int, rng: np.random.Generator) -> Counts:
    """Which question of which voter is answered when; the brigade has the first numbers."""
    places = crowd.voters * crowd.questions
    again = rng.integers(0, places, size=(runs, round(places * crowd.minds)))
    all_votes = np.concatenate([np.tile(np.arange(places), (runs, 1)), again], axis=1)
    turns = rng.random(all_votes.shape)
    if crowd.early:
        turns += all_votes // crowd.questions >= _brigadiers(crowd)
    return np.take_along_axis(all_votes, np.argsort(turns, axis=1), axis=1)


def _rates(crowd: Crowd, runs: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each voter chooses the first version; 1: always, whatever it says."""
    rates = np.full((runs, crowd.voters), crowd.rate)
    if crowd.taste:
        spread = crowd.rate * (1 - crowd.rate) / crowd.taste**2 - 1
        rates = rng.beta(crowd.rate * spread, (1 - crowd.rate) * spread, size=rates.shape)
    is_left = np.ones(rates.shape, dtype=bool) if crowd.fixed else rng.random(rates.shape) < 0.5
    rates = np.clip(rates + np.where(is_left, crowd.left - 0.5, 0.5 - crowd.left), 0, 1 - 1e-9)
    rates[:, : _brigadiers(crowd)] = 1
    return rates


def _brigadiers(crowd: Crowd) -> int:
    return int(crowd.voters * crowd.brigade + 1e-9)


def _judged(first: Counts, second: Counts, voters: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(evidence against an even split, evidence against a brigade of a third) at each count."""
    standings = np.stack([first.ravel(), second.ravel(), (voters - first - second).ravel()], axis=1)
    seen, back = np.unique(standings, axis=0, return_inverse=True)
    both = np.array([_evidences(*map(int, standing)) for standing in seen])[back.ravel()]
    return both[:, 0].reshape(first.shape), both[:, 1].reshape(first.shape)


_evidences = cache(evidences)


def _binomial(first: Counts, second: Counts) -> NDArray[np.float64]:
    """The two-sided p-value of the usual test, taken at face value at each count."""
    from scipy.stats import binom

    fewer, voters = np.minimum(first, second), first + second
    return np.minimum(1.0, 2 * np.asarray(binom.cdf(fewer, voters, 0.5)))


def voters_needed(rate: float, runs: int = 1000, most: int = 1000, power: float = 0.8) -> tuple[int | None, int | None]:
    """The fewest voters with whom a vote on a version of this win rate is (led, won) that often; None: beyond `most`.

    Whoever votes on one question is one voter, so the votes of a small crowd are the first ones of a large one.
    """
    first, second, voters, _, _ = counts(Crowd(voters=most, rate=rate, ties=0.0), runs, seed=1)
    evidence, firm = _judged(first, second, voters)
    won = np.maximum.accumulate(firm >= STOP_AT, axis=1)
    found_by = (won | (evidence >= STOP_AT)).mean(axis=0), won.mean(axis=0)
    leads, wins = (int(np.argmax(share >= power)) + 1 if share.max() >= power else None for share in found_by)
    return leads, wins


def tables(runs: int = 4000) -> str:
    """Both tables, as Markdown."""
    lines = ["| Nothing to find | p < .05 after each vote | leads at the close | won |", "|---|---|---|---|"]
    for name, crowd in SPLIT.items():
        seen = found(crowd, runs)
        lines.append(f"| {name} | {seen.naive:.1%} | {seen.leads:.1%} | {seen.won:.1%} |")
    lines += ["", "| True win rate | voters for 80 % power: leads | won |", "|---|---|---|"]
    for rate in (0.9, 0.8, 0.75, 0.7):
        lines.append(f"| {rate} | {' | '.join(str(n) if n else 'over 1,000' for n in voters_needed(rate))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
