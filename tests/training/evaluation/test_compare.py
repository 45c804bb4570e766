"""Two versions of a persona, question by question."""

from __future__ import annotations

import pytest

from benchmarks.intervals import gated
from training.errors import NotComparable
from training.evaluation.compare import MARGIN, compare, difference, version_line
from training.evaluation.schema import CheckReport, CheckSpec, Difference, Gate, ProbeAnswer, Score, gate_of
from training.schema import Verdict


def report(version: str, facts: list[float], voice: list[float], **given: object) -> CheckReport:
    """A check whose questions have these mean scores, two answers each."""
    answers = [
        ProbeAnswer(
            probe=f"{kind}-{i}",
            kind="fact" if kind == "facts" else "neutral",
            question=f"{kind} {i}?",
            sample=sample,
            seed=sample,
            reply="Hm.",
            tokens=2,
            ended=True,
            scores={kind: Score(value=value), "breaks": Score(value=0.0)},
        )
        for kind, values in (("facts", facts), ("voice", voice))
        for i, value in enumerate(values)
        for sample in range(2)
    ]
    values = {
        "job_id": version,
        "spec": CheckSpec(guild_id="1", persona="olga"),
        "persona": "olga",
        "name": "Olga",
        "adapter": version,
        "base_model": "standin",
        "rehearsal": False,
        "device": "cpu",
        "system": "You are Olga.",
        "temperature": 0.7,
        "max_new_tokens": 96,
        "seconds": 1.0,
        "verdict": Verdict.PASS,
        "lines": (),
        "answers": answers,
    }
    return CheckReport.model_validate(values | given)


EVEN = [0.4, 0.6] * 8


def test_an_equal_version_passes_and_a_much_worse_one_is_worse() -> None:
    same = compare(report("v2", EVEN, EVEN), report("v1", EVEN, EVEN), seed=1)
    assert (same.gate, same.of, same.against, same.margin) == (Gate.PASS, "v2", "v1", 0.15)
    assert [(one.id, one.value, one.questions) for one in same.differences] == [("facts", 0.0, 16), ("voice", 0.0, 16)]
    worse = compare(report("v2", EVEN, [0.1] * 16), report("v1", EVEN, EVEN), seed=1)
    assert worse.gate is Gate.WORSE
    assert worse.differences[1].high < 0
    assert compare(report("v2", [0.9] * 16, EVEN), report("v1", EVEN, EVEN), seed=1).gate is Gate.PASS


def test_few_and_uneven_questions_decide_nothing() -> None:
    found = compare(report("v2", EVEN, [1.0, 0.0, 0.0]), report("v1", EVEN, [0.0, 1.0, 0.0]), seed=1)
    assert found.gate is Gate.INCONCLUSIVE


def test_questions_are_paired_by_their_words() -> None:
    """Both have the same mean; question by question one is always .1 better, which no unpaired test could see."""
    older = [i / 16 for i in range(15)]
    newer = [value + 0.05 for value in older]
    found = compare(report("v2", newer, EVEN), report("v1", older, EVEN), seed=1).differences[0]
    assert (found.low, found.value, found.high) == pytest.approx((0.05, 0.05, 0.05))
    fewer = compare(report("v2", newer[:9], []), report("v1", older, EVEN), seed=1)
    assert [(one.id, one.questions) for one in fewer.differences] == [("facts", 9)]


def test_nothing_in_common_is_no_pass() -> None:
    found = compare(report("v2", [], []), report("v1", EVEN, EVEN), seed=1)
    assert (found.gate, found.differences) == (Gate.INCONCLUSIVE, ())
    assert version_line(found).verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"persona": "elio", "name": "Elio"}, "one is of Elio, the other of Olga"),
        ({"max_new_tokens": 32}, "temperature or length"),
        ({"temperature": 0.0}, "temperature or length"),
    ],
)
def test_what_was_not_asked_alike_is_not_compared(given: dict[str, object], why: str) -> None:
    with pytest.raises(NotComparable, match=why):
        compare(report("v2", EVEN, EVEN, **given), report("v1", EVEN, EVEN), seed=1)


def test_the_line_shows_what_comes_nearest_to_too_low() -> None:
    lower = [value - change for value, change in zip(EVEN, [0.2, 0.1, -0.15] * 6, strict=False)]
    line = version_line(compare(report("v2", EVEN, lower), report("v1", EVEN, EVEN), seed=1))
    assert (line.id, line.value, line.verdict) == ("version", pytest.approx(-0.0625, abs=0.03), Verdict.PASS)
    assert "pass against v1: facts +0.00" in line.explanation


def test_the_gate_needs_both_and_either_can_fail_it() -> None:
    good, bad = difference("facts", [0.0] * 10, 1), difference("voice", [-0.3] * 10, 1)
    assert gate_of((good,), MARGIN) is Gate.PASS
    assert gate_of((good, bad), MARGIN) is Gate.WORSE
    assert gate_of((), MARGIN) is Gate.INCONCLUSIVE


def test_what_is_surely_worse_never_passes_however_little_it_is() -> None:
    little = difference("facts", [-0.04, -0.05, -0.06] * 5, 1)
    assert -MARGIN < little.floor < little.high < 0
    assert gate_of((little,), MARGIN) is Gate.WORSE


def test_a_comparison_turned_is_the_one_that_was_asked_the_other_way_round() -> None:
    other = [value - 0.2 for value in EVEN]
    newer, older = report("v2", EVEN, other), report("v1", other, EVEN)
    turned, asked = compare(newer, older, seed=1).turned(), compare(older, newer, seed=1)
    assert (turned.of, turned.against, turned.gate) == ("v1", "v2", asked.gate)
    for one, same in zip(turned.differences, asked.differences, strict=True):
        assert (one.id, one.questions) == (same.id, same.questions)
        for name in ("value", "low", "high", "floor", "ceiling"):
            assert getattr(one, name) == pytest.approx(getattr(same, name), abs=0.03)
    assert compare(newer, older, seed=1).turned().turned() == compare(newer, older, seed=1)


def test_a_report_of_before_that_knows_no_ceiling_is_read() -> None:
    told = {"id": "voice", "value": 0.1, "low": 0.0, "high": 0.2, "floor": 0.02, "questions": 16}
    assert Difference.model_validate(told).ceiling == 0.2


def test_facts_are_not_compared_of_a_model_that_only_rehearses() -> None:
    newer, older = report("v2", EVEN, EVEN, rehearsal=True), report("v1", EVEN, EVEN, rehearsal=True)
    assert [one.id for one in compare(newer, older, seed=1).differences] == ["voice"]


def test_the_gate_passes_equal_versions_and_hardly_ever_much_worse_ones() -> None:
    """40 questions × 3: .90 / .25 / .002 of one line in the long run; 300 runs have a standard error of up to .03."""
    equal, worse, much = (gated(40, 3, by, runs=300)[0] for by in (0.0, 0.1, 0.22))
    assert equal > 0.82
    assert 0.1 < worse < 0.35
    assert much <= 0.02
