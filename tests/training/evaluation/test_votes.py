"""Blind votes: what they say of versions, how far voters agree, and how seldom chance is believed."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from benchmarks.votes import Crowd, found, voters_needed
from training.evaluation.schema import Contender, Rubric, Vote, VoteChoice, VotePair
from training.evaluation.votes import (
    BRIGADED,
    STOP_AT,
    Outcome,
    Version,
    agreement,
    bradley_terry,
    e_value,
    evidences,
    interval,
    ordinal_alpha,
    people_line,
    rubric_agreement,
    strengths,
    tally,
)
from training.schema import Verdict

FIRST, SECOND, TIE, BAD = VoteChoice.FIRST, VoteChoice.SECOND, VoteChoice.TIE, VoteChoice.BAD


def pair(number: int = 0, first: Version = 2, second: Version = None) -> VotePair:
    return VotePair(
        id=f"{number:012d}",
        persona="glordon",
        question="How is Elio?",
        first=Contender(version=first, answer="He is my friend."),
        second=Contender(version=second, answer="Who?"),
        asked_by="sheet",
    )


def cast(choices: Iterable[VoteChoice], about: VotePair | None = None) -> list[Vote]:
    return [Vote(pair=(about or pair()).id, voter=f"v{i}", choice=choice) for i, choice in enumerate(choices)]


def told(choices: Iterable[VoteChoice]) -> Outcome:
    return tally([pair()], cast(choices), 2, None).outcome


# --- two versions --------------------------------------------------------------------------------------------------


def test_not_enough_votes_below_six_decisive_ones_or_five_voters() -> None:
    assert told([FIRST] * 5) is Outcome.TOO_FEW
    assert told([FIRST] * 5 + [TIE, BAD]) is Outcome.TOO_FEW
    assert told([FIRST] * 6) is Outcome.UNDECIDED
    pairs = [pair(number) for number in range(3)]
    four_voters = [vote for one in pairs for vote in cast([FIRST] * 4, one)]
    assert tally(pairs, four_voters, 2, None).outcome is Outcome.TOO_FEW
    assert people_line(tally(pairs, four_voters, 2, None)).value is None


def test_how_many_who_agree_it_takes() -> None:
    assert [told([FIRST] * count) for count in (6, 7, 9, 10)] == [
        Outcome.UNDECIDED,
        Outcome.LEADS,
        Outcome.LEADS,
        Outcome.WON,
    ]


def test_a_vote_counts_for_the_version_whichever_side_it_was_on() -> None:
    pairs = [pair(0), pair(1, first=None, second=2)]
    votes = [*cast([FIRST, FIRST, TIE, BAD], pairs[0]), *cast([SECOND, FIRST, SECOND], pairs[1])]
    counted = tally(pairs, votes, 2, None)
    assert (counted.wins, counted.losses, counted.ties, counted.bad, counted.voters) == (4, 1, 1, 1, 4)
    # The second voter chose each version once, the fourth neither.
    assert (counted.for_first, counted.for_second) == (2, 0)
    other = tally(pairs, votes, None, 2)
    assert (other.wins, other.losses) == (1, 4)
    assert other == counted.turned()


def test_other_versions_votes_do_not_count() -> None:
    pairs = [pair(0), pair(1, first=3)]
    votes = [*cast([FIRST] * 6, pairs[0]), *cast([SECOND] * 6, pairs[1])]
    assert tally(pairs, votes, 2, None).wins == 6
    assert tally(pairs, votes, 3, None).losses == 6
    assert tally(pairs, votes, 3, 2).decisive == 0
    assert tally(pairs, votes, 3, 2).share is None


def test_the_unit_is_the_voter() -> None:
    pairs = [pair(number) for number in range(5)]
    one_loud = [vote for one in pairs for vote in cast([FIRST], one)]
    counted = tally(pairs, one_loud, 2, None)
    assert (counted.wins, counted.for_first) == (5, 1)
    assert counted.evidence == tally([pair()], cast([FIRST]), 2, None).evidence


def test_the_line_of_the_scorecard() -> None:
    won = people_line(tally([pair()], cast([FIRST] * 12), 2, None))
    assert (won.id, won.value, won.verdict) == ("people", 1.0, Verdict.PASS)
    assert won.low is not None
    assert 0.5 < won.low < 0.8
    assert won.explanation == "12 of 12 voters with a preference, on 1 question"
    assert people_line(tally([pair()], cast([FIRST] * 8), 2, None)).verdict is Verdict.WARN
    assert people_line(tally([pair()], cast([SECOND] * 8), 2, None)).verdict is Verdict.FAIL
    assert people_line(tally([pair()], cast([FIRST, SECOND] * 5), 2, None)).verdict is Verdict.WARN
    assert people_line(tally([pair()], cast([FIRST]), 2, None)).verdict is Verdict.NOT_APPLICABLE


# --- evidence ------------------------------------------------------------------------------------------------------


def test_the_e_value_is_a_mean_likelihood_ratio() -> None:
    """Against an even split it has a closed form: B(k + 1/2, l + 1/2) / B(1/2, 1/2) · 2^(k + l), to both sides."""
    from scipy.special import betaln

    for wins, losses in ((7, 0), (12, 3), (30, 22), (0, 0)):
        exact = np.exp(betaln(wins + 0.5, losses + 0.5) - betaln(0.5, 0.5)) * 2.0 ** (wins + losses)
        assert evidences(wins, losses)[0] == pytest.approx(exact, rel=1e-3)


@given(
    share=st.floats(0.0, 1.0), most=st.sampled_from([0.5, BRIGADED]), wins=st.integers(0, 40), losses=st.integers(0, 40)
)
def test_no_next_vote_is_expected_to_raise_it_while_nothing_is_there(
    share: float, most: float, wins: int, losses: int
) -> None:
    chance = share * most
    following = chance * e_value(wins + 1, losses, most) + (1 - chance) * e_value(wins, losses + 1, most)
    assert following <= e_value(wins, losses, most) * (1 + 1e-9)


@given(wins=st.integers(0, 40), losses=st.integers(0, 40), decided=st.floats(0.0, 1.0))
def test_nor_is_one_of_a_crowd_with_ties_and_a_brigade_of_a_third(wins: int, losses: int, decided: float) -> None:
    now = e_value(wins, losses, BRIGADED)
    honest = decided * (e_value(wins + 1, losses, BRIGADED) + e_value(wins, losses + 1, BRIGADED)) / 2
    honest += (1 - decided) * e_value(wins + 0.5, losses + 0.5, BRIGADED)
    assert e_value(wins + 1, losses, BRIGADED) / 3 + honest * 2 / 3 <= now * (1 + 1e-9)


def test_many_votes_have_finite_evidence() -> None:
    assert e_value(20_000, 0) > 1e300
    assert 0 <= e_value(0, 20_000) < 1
    assert interval(20_000, 0)[0] > 0.99


def test_the_interval_holds_however_often_one_looks() -> None:
    rng = random.Random(3)
    missed = 0
    for _ in range(200):
        wins = losses = 0
        for _ in range(40):
            wins, losses = (wins + 1, losses) if rng.random() < 0.7 else (wins, losses + 1)
            low, high = interval(wins, losses)
            if not low <= 0.7 <= high:
                missed += 1
                break
    assert missed / 200 <= 0.05
    assert interval(7, 0)[0] > 0.5 > interval(6, 0)[0]
    assert interval(3, 7) == pytest.approx(tuple(1 - bound for bound in reversed(interval(7, 3))), abs=2e-3)


@pytest.mark.parametrize(
    "crowd",
    [
        Crowd(),
        Crowd(voters=8, questions=5, taste=0.3),
        Crowd(minds=1.0),
        Crowd(left=0.6),
        Crowd(left=2 / 3),
        Crowd(brigade=1 / 3),
        Crowd(voters=12, brigade=1 / 3),
        Crowd(questions=5, brigade=1 / 3),
    ],
)
def test_a_version_that_is_no_better_wins_in_at_most_one_vote_of_twenty(crowd: Crowd) -> None:
    assert found(crowd, runs=1000).won <= 0.05


def test_what_a_plain_test_would_have_believed() -> None:
    """The instrument measures: peeking, clusters, a brigade and one that comes first are seen where they matter."""
    assert found(Crowd(voters=100), 200).naive > 0.1
    assert found(Crowd(voters=8, questions=5, taste=0.3), 400).naive > 0.15
    assert found(Crowd(voters=100, brigade=1 / 3), 100).leads > 0.3
    assert found(Crowd(voters=60, brigade=1 / 3, early=True), 100).won > 0.9


def test_a_better_version_is_found() -> None:
    leads, won = voters_needed(0.8, runs=300, most=250)
    assert leads is not None
    assert won is not None
    assert 25 <= leads <= 50
    assert 100 <= won <= 200


# --- several versions ----------------------------------------------------------------------------------------------


def test_strengths_are_those_of_the_bradley_terry_model() -> None:
    """Bradley-Terry is a logistic regression on who met whom; ours also ties each once with an average version."""
    rng = np.random.default_rng(5)
    wins = rng.integers(0, 12, size=(4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    names = np.eye(4)
    met = [(names[i] - names[j], wins[i, j]) for i in range(4) for j in range(4) if i != j]
    tied = [(side * name, 0.5) for name in names for side in (1, -1)]
    design = np.array([row for row, _ in [*met, *tied]])
    weights = np.array([weight for _, weight in [*met, *tied]])
    model = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10, max_iter=10_000)
    # The same rows seen from the loser's side, since a regression needs both outcomes.
    labels = np.repeat([1, 0], len(design))
    model.fit(np.concatenate([design, -design]), labels, sample_weight=np.concatenate([weights, weights]))
    assert np.log(bradley_terry(wins)) == pytest.approx(model.coef_[0], abs=1e-3)


def test_versions_are_ranked_with_intervals_over_voters() -> None:
    pairs = [pair(0, 2, None), pair(1, 3, 2), pair(2, 3, None)]
    votes = [*cast([FIRST] * 9 + [SECOND] * 3, pairs[0]), *cast([FIRST] * 8 + [SECOND] * 4, pairs[1])]
    votes += cast([FIRST] * 11 + [TIE, BAD], pairs[2])
    ranked = strengths(pairs, votes)
    assert [one.version for one in ranked] == [3, 2, None]
    assert all(0 < one.low <= one.value <= one.high < 1 for one in ranked)
    assert sum(one.value for one in ranked) == pytest.approx(1.5)
    assert strengths(pairs, votes) == ranked
    assert strengths(pairs, []) == []


def test_voters_are_resampled_and_not_votes() -> None:
    """Two voters who always say the same are two opinions, however often they say them."""
    pairs = [pair(number) for number in range(50)]
    choices = [FIRST if i % 2 else SECOND for i in range(len(pairs))]
    loud = [Vote(pair=one.id, voter=f"v{i % 2}", choice=choices[i]) for i, one in enumerate(pairs)]
    many = [Vote(pair=one.id, voter=f"v{i}", choice=choices[i]) for i, one in enumerate(pairs)]
    two_voters, fifty_voters = strengths(pairs, loud)[0], strengths(pairs, many)[0]
    assert two_voters.value == pytest.approx(fifty_voters.value) == pytest.approx(0.5)
    assert two_voters.high - two_voters.low > 0.9
    assert 0.2 < fifty_voters.high - fifty_voters.low < 0.4


# --- agreement -----------------------------------------------------------------------------------------------------

KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""The reliability data of Krippendorff (2011): four observers, twelve units, . where one was not seen."""


def items(raters: Iterable[str]) -> list[dict[str, int]]:
    columns = zip(*(line.split() for line in raters), strict=True)
    return [{f"r{i}": int(value) for i, value in enumerate(column) if value != "."} for column in columns]


def test_alpha_of_the_published_example() -> None:
    assert ordinal_alpha(items(KRIPPENDORFF)) == pytest.approx(0.815, abs=5e-4)


def test_alpha_means_nothing_of_few_items_or_of_one_rater() -> None:
    assert ordinal_alpha(items(KRIPPENDORFF)[:9]) is None
    assert ordinal_alpha([{"a": 1}] * 20) is None
    assert ordinal_alpha([{"a": 3, "b": 3}] * 20) is None
    assert ordinal_alpha([{"a": 1 + i % 2, "b": 1 + i % 2} for i in range(20)]) == pytest.approx(1.0)


def pair_of(number: int, *, turned: bool) -> VotePair:
    sides = [Contender(version=1, answer="A."), Contender(version=2, answer="B.")]
    first, second = reversed(sides) if turned else sides
    return VotePair(id=f"{number:012d}", persona="glordon", question="Q?", first=first, second=second, asked_by="sheet")


def test_which_version_a_pair_has_first_makes_no_difference_to_agreement() -> None:
    """Twelve questions, six voters, of whom five prefer the newer version each time."""
    straight = [pair_of(i, turned=False) for i in range(12)]
    mixed = [pair_of(i, turned=i % 2 == 0) for i in range(12)]

    def cast(pairs: list[VotePair]) -> list[Vote]:
        newer = {one.id: FIRST if one.first.version == 2 else SECOND for one in pairs}
        older = {one.id: SECOND if one.first.version == 2 else FIRST for one in pairs}
        return [
            Vote(pair=one.id, voter=voter, choice=(older if voter == "abcdef"[i % 6] else newer)[one.id])
            for i, one in enumerate(pairs)
            for voter in "abcdef"
        ]

    assert agreement(mixed, cast(mixed)) == pytest.approx(agreement(straight, cast(straight)))


def test_agreement_of_votes_and_of_rubrics() -> None:
    votes = [Vote(pair=f"{i:012d}", voter=v, choice=FIRST if i % 2 else SECOND) for i in range(12) for v in "ab"]
    pairs = [pair_of(i, turned=False) for i in range(12)]
    assert agreement(pairs, votes) == pytest.approx(1.0)
    assert agreement(pairs, [vote.model_copy(update={"choice": BAD}) for vote in votes]) is None
    rubrics = [
        Rubric(pair=f"{i:012d}", voter=v, side="first", in_character=1 + i % 5, true_to_facts=3, worth_talking_to=1)
        for i in range(12)
        for v in "ab"
    ]
    assert rubric_agreement(rubrics, "in_character") == pytest.approx(1.0)
    assert rubric_agreement(rubrics, "true_to_facts") is None


def test_stopping_takes_twenty() -> None:
    assert STOP_AT == 20.0
    assert not tally([pair()], cast([FIRST] * 9), 2, None).settled
    assert tally([pair()], cast([SECOND] * 10), 2, None).settled
    assert tally([pair()], cast([SECOND] * 10), 2, None).preferred is None
