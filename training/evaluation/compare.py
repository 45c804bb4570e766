"""Two checks of one persona, question by question: is the newer version worse?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import numpy as np

from training.errors import NotComparable
from training.evaluation.intervals import interval, resampled_means
from training.evaluation.schema import CheckReport, Comparison, Difference, Gate, gate_of
from training.schema import ScoreLine, Verdict

MARGIN = 0.15
"""So much worse, in facts or voice, a new version must not be."""
COMPARED: tuple[Literal["facts", "voice"], ...] = ("facts", "voice")
_VERDICTS = {Gate.PASS: Verdict.PASS, Gate.INCONCLUSIVE: Verdict.WARN, Gate.WORSE: Verdict.FAIL}


def compare(of: CheckReport, against: CheckReport, seed: int) -> Comparison:
    """`of` minus `against` in facts and voice, over the questions that both were asked, with a paired bootstrap.

    WORSE where the 95 % interval of one lies below 0, else PASS where the 5th percentile of each lies above −0.15, and
    INCONCLUSIVE otherwise, as where nothing can be compared. Each answer is scored as in its own check: for the voice
    that is beside the other personas' answers of that time. Of a rehearsal model facts say nothing. Raises
    NotComparable.
    """
    _same_questions(of, against)
    found = tuple(_differences(of, against, seed))
    return Comparison(
        of=of.adapter, against=against.adapter, gate=gate_of(found, MARGIN), margin=MARGIN, differences=found
    )


def difference(name: Literal["facts", "voice"], changes: list[float], seed: int) -> Difference:
    """The mean of the changes, one a question, with its 95 % interval, 5th and 95th percentile."""
    bounds = interval(changes, seed)
    floor, ceiling = (float(bound) for bound in np.percentile(resampled_means(changes, seed), (5, 95)))
    told = {"value": bounds.mean, "low": bounds.low, "high": bounds.high, "floor": floor, "ceiling": ceiling}
    return Difference.model_validate({"id": name, **told, "questions": len(changes)})


def version_line(comparison: Comparison) -> ScoreLine:
    """The comparison as a line of the scorecard: the difference that is nearest to being too low."""
    verdict = _VERDICTS[comparison.gate]
    if not comparison.differences:
        told = f"{comparison.of} and {comparison.against} have no scored question in common."
        return ScoreLine(id="version", value=None, verdict=verdict, explanation=told)
    least = min(comparison.differences, key=lambda one: one.floor)
    told = ", ".join(f"{one.id} {one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" for one in comparison.differences)
    return ScoreLine(
        id="version",
        value=least.value,
        low=least.low,
        high=least.high,
        verdict=verdict,
        explanation=f"{comparison.gate.value} against {comparison.against}: {told}.",
    )


def _same_questions(of: CheckReport, against: CheckReport) -> None:
    """Longer answers and cooler ones sound more alike to a classifier, so both must have been drawn the same way."""
    if of.persona != against.persona:
        raise NotComparable(reason=f"one is of {of.name}, the other of {against.name}")
    if (of.max_new_tokens, of.temperature) != (against.max_new_tokens, against.temperature):
        raise NotComparable(reason="their answers were drawn at another temperature or length")


def _differences(of: CheckReport, against: CheckReport, seed: int) -> Iterator[Difference]:
    # A rehearsal model knows nothing, so what it says of facts is chance.
    for name in COMPARED[1:] if of.rehearsal else COMPARED:
        newer, older = _means(of, name), _means(against, name)
        both = [question for question in newer if question in older]
        if both:
            yield difference(name, [newer[question] - older[question] for question in both], seed)


def _means(report: CheckReport, name: str) -> dict[tuple[str, str], float]:
    """The mean score of each question, by its id and its words."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for answer in report.answers:
        if name in answer.scores:
            values[answer.probe, answer.question].append(answer.scores[name].value)
    return {question: sum(found) / len(found) for question, found in values.items()}
