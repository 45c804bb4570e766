"""Means with their 95 % intervals, by a bootstrap over questions, and the figures made of a loss."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FEW_VALUES = 10


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def resampled_means(values: Sequence[float], seed: int) -> NDArray[np.float64]:
    """The means of 2,000 samples drawn from the values with replacement, one value a question."""
    return np.asarray(_resamples(values, seed).mean(axis=1))


def _resamples(values: Sequence[float], seed: int) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, sample.size, size=(RESAMPLES, sample.size))
    return np.asarray(sample[drawn])


def level(share: float, count: int) -> float:
    """Where among the resampled means of `count` values the quantile `share` lies, as a share of them.

    Percentiles of resampled means are too narrow for few values, by √((n − 1)/n) and by the normal distribution in
    place of Student's t; the levels are moved outwards by as much (Hesterberg, "What teachers should know about the
    bootstrap", The American Statistician 69, 2015, section 5.3: the expanded percentile interval).
    """
    if count < 2:
        return share
    return NormalDist().cdf(math.sqrt(count / (count - 1)) * _student(share, count - 1))


def _student(share: float, freedom: int) -> float:
    """The quantile of Student's t, to three terms (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def interval(values: Sequence[float], seed: int) -> Interval:
    """The mean of one value a question, with its 95 % expanded percentile interval of 2,000 resamples."""
    if not values:
        raise ValueError("an interval needs at least one value")
    levels = [100 * level(share, len(values)) for share in (0.025, 0.975)]
    low, high = np.percentile(resampled_means(values, seed), levels)
    return Interval(float(np.mean(values)), float(low), float(high))


def studentised(values: Sequence[float], seed: int) -> Interval:
    """The same for differences of losses, which are few and may be skewed: the bootstrap-t interval, where it is wider.

    Each resampled mean is taken in standard errors of its own resample, so that a long tail lengthens the interval on
    its own side (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 12.5). Few values hold too
    little of a very long tail, so their quantiles are taken further out: of n values 1 / (1 + 10 / n) of 2.5 %, by
    which coverage stays above 93 % with a log-normal one (`benchmarks.evaluation --only losses`).
    """
    found, size = interval(values, seed), len(values)
    drawn = _resamples(values, seed)
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(size) if size > 1 else np.zeros(RESAMPLES)
    varied = errors > 1e-12
    if not varied.any():
        return found
    outer = 2.5 / (1 + FEW_VALUES / size)
    high, low = np.percentile((drawn.mean(axis=1)[varied] - found.mean) / errors[varied], [outer, 100 - outer])
    error = float(np.std(values, ddof=1)) / math.sqrt(size)
    return Interval(found.mean, min(found.low, found.mean - low * error), max(found.high, found.mean - high * error))


def share(values: Sequence[float], seed: int) -> Interval:
    """That of `interval` for values from 0 to 1, with two imagined questions more, one of 0 and one of 1.

    Near the ends a bootstrap has too little to draw from: where all answers are right it says that all always will be.
    The two make up for that, as in the interval of Agresti and Coull ("Approximate is better than 'exact'", The
    American Statistician 52, 1998); the mean is that of the values alone.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    mean, found = float(np.mean(values)), interval([*values, 0.0, 1.0], seed)
    return Interval(mean, min(found.low, mean), max(found.high, mean))


def between(one: Interval, other: Interval) -> Interval:
    """One share minus another that was found apart from it.

    Their intervals are put together as squares (Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17, 1998, method 10).
    """
    apart = one.mean - other.mean
    low = apart - math.hypot(one.mean - one.low, other.high - other.mean)
    high = apart + math.hypot(one.high - one.mean, other.mean - other.low)
    return Interval(apart, low, high)


def by_question(questions: Sequence[Hashable], values: Sequence[float]) -> list[float]:
    """The mean of each question's values, in the order in which the questions first come."""
    grouped: dict[Hashable, list[float]] = {}
    for question, value in zip(questions, values, strict=True):
        grouped.setdefault(question, []).append(value)
    return [sum(found) / len(found) for found in grouped.values()]


def perplexity(loss: float) -> float:
    """e to the mean negative log-likelihood, `loss` in nats per token; of more than 700 nats, that of 700.

    Beyond, there is no floating-point number for it, and reports cross borders as JSON, which knows no infinity.
    """
    return math.exp(min(loss, 700.0))
