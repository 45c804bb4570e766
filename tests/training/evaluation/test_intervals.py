"""Intervals: what they hold, how wide they are, and how often they hold the truth."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import numpy as np
import pytest

from training.evaluation.intervals import (
    Interval,
    between,
    by_question,
    interval,
    level,
    perplexity,
    share,
    studentised,
)


def test_an_interval_holds_its_mean_and_narrows_with_more_questions() -> None:
    coin = random.Random(1)
    few = [float(coin.random() < 0.6) for _ in range(20)]
    found = interval(few, seed=1)
    assert found.low < found.mean < found.high
    assert found == interval(few, seed=1)
    # A mean of 20 coins with p near .6 has a standard error of .11; 2.09 of them on each side.
    assert 0.35 < found.high - found.low < 0.55
    wide = interval(few * 16, seed=1)
    assert (wide.high - wide.low) == pytest.approx((found.high - found.low) / 4 / 1.07, rel=0.15)
    assert interval([2.0], seed=1).low == interval([2.0], seed=1).high == 2.0
    with pytest.raises(ValueError, match="at least one"):
        interval([], seed=1)


@pytest.mark.parametrize(("count", "student"), [(5, 2.776), (16, 2.131), (40, 2.023), (1000, 1.962)])
def test_levels_are_those_of_students_t(count: int, student: float) -> None:
    found = NormalDist().inv_cdf(level(0.975, count)) * math.sqrt((count - 1) / count)
    assert found == pytest.approx(student, rel=0.005)
    assert level(0.025, count) == pytest.approx(1 - level(0.975, count))


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.95])
def test_intervals_cover_the_truth_where_each_question_has_three_samples(truth: float) -> None:
    """40 questions of different difficulty, three replies each; a simulation of 400 has a standard error of 1.1 %."""
    draw = np.random.default_rng(7)
    covered = 0
    for i in range(400):
        difficulty = draw.beta(4 * truth, 4 * (1 - truth), 40)
        values = draw.binomial(3, difficulty) / 3
        found = share([float(value) for value in values], seed=i)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 400 <= 0.99


@pytest.mark.parametrize("count", [5, 20, 60])
@pytest.mark.parametrize("tail", [-1, 0, 1])
def test_intervals_of_losses_cover_the_truth(count: int, tail: int) -> None:
    """A gain of .2 nats, spread evenly around it, or with a long tail to one side (exponential)."""
    draw, covered = np.random.default_rng(7), 0
    for i in range(400):
        off = tail * (draw.exponential(0.15, count) - 0.15) if tail else draw.normal(0, 0.15, count)
        found = studentised((0.2 + off).tolist(), seed=i)
        covered += found.low <= 0.2 <= found.high
    assert covered / 400 >= 0.93


@pytest.mark.parametrize("count", [5, 10])
def test_few_losses_with_a_very_long_tail_are_covered_too(count: int) -> None:
    draw, covered = np.random.default_rng(7), 0
    for i in range(600):
        found = studentised(draw.lognormal(-2, 0.8, count).tolist(), seed=i)
        covered += found.low <= np.exp(-1.68) <= found.high
    assert covered / 600 >= 0.93


def test_few_losses_or_equal_ones_still_have_an_interval() -> None:
    assert studentised([0.5], seed=1) == Interval(0.5, 0.5, 0.5)
    assert studentised([0.25] * 4, seed=1) == Interval(0.25, 0.25, 0.25)
    two = studentised([0.1, 0.5], seed=1)
    assert (two.low, two.high) == (pytest.approx(0.1), pytest.approx(0.5))


@pytest.mark.parametrize(("count", "samples"), [(16, 3), (40, 3)])
@pytest.mark.parametrize("worse", [0.0, 0.22])
def test_intervals_of_paired_differences_cover_the_truth(count: int, samples: int, worse: float) -> None:
    """The same questions to two versions, one of them right less often by so much."""
    draw, covered = np.random.default_rng(7), 0
    for i in range(400):
        older = draw.beta(1.2, 0.8, count)
        newer = older * (1 - worse / 0.6)
        found = interval(((draw.binomial(samples, newer) - draw.binomial(samples, older)) / samples).tolist(), seed=i)
        covered += found.low <= -worse <= found.high
    assert covered / 400 >= 0.93


@pytest.mark.parametrize(("copied", "human"), [(0.05, 0.0), (0.16, 0.02), (0.5, 0.16)])
def test_intervals_of_the_difference_of_two_shares_cover_the_truth(copied: float, human: float) -> None:
    """40 questions with three replies each, beside 20 held-out lines."""
    draw, covered = np.random.default_rng(7), 0
    for i in range(300):
        replies = draw.binomial(3, draw.beta(2 * copied, 2 * (1 - copied), 40)) / 3
        lines = draw.binomial(1, human, 20).astype(float)
        found = between(share(replies.tolist(), seed=i), share(lines.tolist(), seed=i))
        covered += found.low <= copied - human <= found.high
    assert covered / 300 >= 0.93


def test_where_all_questions_agree_the_interval_still_says_that_they_are_few() -> None:
    few, many = share([1.0] * 16, seed=1), share([1.0] * 64, seed=1)
    assert (few.mean, few.high, many.high) == (1.0, 1.0, 1.0)
    # The rule of three puts the lower bounds at .81 and .95.
    assert few.low == pytest.approx(0.79, abs=0.04)
    assert many.low == pytest.approx(0.94, abs=0.02)
    none = share([0.0] * 16, seed=1)
    assert (none.mean, none.low, none.high) == (0.0, 0.0, pytest.approx(1 - few.low, abs=0.06))
    with pytest.raises(ValueError, match="at least one"):
        share([], seed=1)


def test_a_difference_is_less_sure_than_either_share() -> None:
    one, other = Interval(0.5, 0.4, 0.6), Interval(0.2, 0.1, 0.3)
    found = between(one, other)
    assert found.mean == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.3 - math.hypot(0.1, 0.1), 0.3 + math.hypot(0.1, 0.1)))


def test_several_samples_of_a_question_count_once() -> None:
    assert by_question(["a", "b", "a", "a", "b"], [1.0, 0.0, 0.0, 0.5, 1.0]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="shorter"):
        by_question(["a", "b"], [1.0])


def test_perplexity_of_a_uniform_choice_is_the_number_of_choices() -> None:
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(699.0) < perplexity(800.0) == perplexity(math.inf) < math.inf
