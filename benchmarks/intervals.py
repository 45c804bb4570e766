"""How often intervals hold the truth, and the version gate says what is so, where the truth is known.

The tables of `benchmarks.evaluation` on intervals and on the gate; they need nothing but arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.evaluation.compare import MARGIN, difference
from training.evaluation.intervals import Interval, between, interval, resampled_means, share, studentised
from training.evaluation.schema import gate_of


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


# --- intervals -----------------------------------------------------------------------------------------------------


def plain_percentiles(values: Sequence[float], seed: int) -> Interval:
    """The ordinary percentile bootstrap, to compare with."""
    low, high = np.percentile(resampled_means(values, seed), [2.5, 97.5])
    return Interval(float(np.mean(values)), float(low), float(high))


def covered(
    method: Callable[[Sequence[float], int], Interval], questions: int, samples: int, truth: float, runs: int
) -> float:
    """How often the interval holds the truth, where questions are of very different difficulty: Beta(2p, 2 − 2p)."""
    draw = np.random.default_rng(11)
    hits = 0
    for i in range(runs):
        difficulty = draw.beta(2 * truth, 2 * (1 - truth), questions)
        found = method((draw.binomial(samples, difficulty) / samples).tolist(), i)
        hits += found.low <= truth <= found.high
    return hits / runs


def coverage(runs: int = 2000) -> str:
    """How often 95 % intervals of shares hold the truth."""
    rows = []
    for questions, samples in ((40, 3), (24, 3), (16, 3), (8, 1)):
        for truth in (0.5, 0.7, 0.9, 0.95):
            found = [covered(method, questions, samples, truth, runs) for method in (share, plain_percentiles)]
            rows.append([f"{questions} × {samples}", truth, *(f"{part:.3f}" for part in found)])
    return table(["questions × samples", "truth", "intervals here", "plain percentile bootstrap"], rows)


Draw = np.random.Generator
Sample = tuple[Callable[[Draw, int], NDArray[np.float64]], float]
SPREAD: dict[str, Sample] = {
    "even (normal)": (lambda draw, count: draw.normal(0.2, 0.15, count), 0.2),
    "a tail (gamma, shape 2)": (lambda draw, count: draw.gamma(2, 0.1, count), 0.2),
    "a long tail (exponential)": (lambda draw, count: 0.4 - draw.exponential(0.2, count), 0.2),
    "a very long tail (log-normal, .8)": (lambda draw, count: draw.lognormal(-2, 0.8, count), float(np.exp(-1.68))),
}
"""Differences of losses, in nats, and their true mean."""


def held(sample: Callable[[Draw, int], Interval], truth: float, runs: int) -> str:
    """How often such an interval holds the truth; each run draws anew."""
    draw = np.random.default_rng(11)
    found = (sample(draw, i) for i in range(runs))
    return f"{np.mean([one.low <= truth <= one.high for one in found]):.3f}"


def loss_coverage(runs: int = 2000) -> str:
    """How often 95 % intervals of differences of losses hold the truth, over so many conversations."""
    sizes = (5, 10, 20, 40, 60)
    rows = []
    for name, (drawn, truth) in SPREAD.items():
        for method in (studentised, plain_percentiles):
            cells = [
                held(lambda draw, i, n=n, m=method, f=drawn: m(f(draw, n).tolist(), i), truth, runs) for n in sizes
            ]
            rows.append([name, "here" if method is studentised else "plain percentiles", *cells])
    return table(["spread", "interval", *sizes], rows)


def difference_coverage(runs: int = 2000) -> str:
    """How often 95 % intervals of differences hold the truth: of two versions, and of replies and held-out lines."""
    rows = []
    for questions, samples in ((40, 3), (16, 3), (16, 8), (8, 3)):
        for worse in (0.0, 0.1, 0.22):

            def paired(draw: Draw, i: int, n: int = questions, s: int = samples, off: float = worse) -> Interval:
                return interval(changes(n, s, off, draw), i)

            rows.append(
                [
                    f"two versions, {questions} × {samples}",
                    f"−{worse:.2f}" if worse else "0",
                    held(paired, -worse, runs),
                ]
            )
    for lines, copied, human in ((20, 0.05, 0.0), (20, 0.16, 0.02), (20, 0.5, 0.16), (40, 0.16, 0.02)):

        def apart(draw: Draw, i: int, n: int = lines, p: float = copied, q: float = human) -> Interval:
            replies = draw.binomial(3, draw.beta(2 * p, 2 * (1 - p), 40)) / 3
            return between(share(replies.tolist(), i), share(draw.binomial(1, q, n).astype(float).tolist(), i))

        name = f"40 × 3 replies, {lines} lines"
        rows.append([name, f"{copied:.2f} − {human:.2f}", held(apart, copied - human, runs)])
    return table(["of", "truth", "intervals here"], rows)


# --- the gate ------------------------------------------------------------------------------------------------------


def changes(questions: int, samples: int, worse: float, draw: np.random.Generator, level: float = 0.6) -> list[float]:
    """What a version that is worse by so much changes, question by question, where the older one is right by level."""
    older = draw.beta(2 * level, 2 * (1 - level), questions)
    newer = older * (1 - worse / level)
    scores = [draw.binomial(samples, right) / samples for right in (newer, older)]
    return [float(value) for value in scores[0] - scores[1]]


def gated(questions: int, samples: int, worse: float, runs: int) -> tuple[float, Counter[str]]:
    """(how often one line alone passes, how often facts and voice together give each verdict)."""
    draw = np.random.default_rng(5)
    alone, both = 0.0, Counter[str]()
    for i in range(runs):
        facts = difference("facts", changes(questions, samples, worse, draw), i)
        voice = difference("voice", changes(questions, samples, worse, draw), i)
        alone += (gate_of((facts,), MARGIN).value == "pass") / runs
        both[gate_of((facts, voice), MARGIN).value] += 1
    return alone, both


def gates(runs: int = 2000) -> str:
    """How often the version gate says what, where the truth is known."""
    rows = []
    for questions, samples in ((40, 3), (16, 3), (16, 8)):
        for worse in (0.0, 0.1, 0.22):
            alone, both = gated(questions, samples, worse, runs)
            told = [f"{both[name] / runs:.3f}" for name in ("pass", "inconclusive", "worse")]
            rows.append([f"{questions} × {samples}", f"−{worse:.2f}" if worse else "0", f"{alone:.3f}", *told])
    return table(["questions × samples", "true change", "one line passes", "both pass", "inconclusive", "worse"], rows)
