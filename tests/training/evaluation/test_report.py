"""A report once people have voted: line 9 counts as any other does."""

from __future__ import annotations

import pytest

from tests.training.evaluation.replies_made import report
from training.evaluation.schema import Advice, CheckReport
from training.schema import ScoreLine, Verdict

PASS, WARN, FAIL, NONE = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_APPLICABLE


def line(name: str, verdict: Verdict) -> ScoreLine:
    return ScoreLine.model_validate({"id": name, "value": 0.5, "verdict": verdict})


def found(voice: Verdict, advice: Advice) -> CheckReport:
    weakest = None if advice is Advice.NOTHING else "voice"
    lines = (line("voice", voice), line("breaks", PASS))
    return report("glordon", "aaaaaaaaaaaa", verdict=voice, lines=lines, weakest=weakest, advice=advice)


@pytest.mark.parametrize(
    ("voice", "advice", "votes", "told"),
    [
        (PASS, Advice.NOTHING, PASS, (PASS, None, Advice.NOTHING)),
        (PASS, Advice.NOTHING, NONE, (PASS, None, Advice.NOTHING)),
        (PASS, Advice.NOTHING, WARN, (WARN, "people", Advice.NOTHING)),
        (PASS, Advice.NOTHING, FAIL, (FAIL, "people", Advice.MORE_LINES)),
        (WARN, Advice.MORE_EPOCHS, FAIL, (FAIL, "people", Advice.MORE_LINES)),
        (FAIL, Advice.MORE_EPOCHS, WARN, (FAIL, "voice", Advice.MORE_EPOCHS)),
        (FAIL, Advice.MORE_EPOCHS, FAIL, (FAIL, "people", Advice.MORE_LINES)),
        (FAIL, Advice.CLEAN_DATA, FAIL, (FAIL, "voice", Advice.CLEAN_DATA)),
        (WARN, Advice.MORE_LINES, WARN, (WARN, "voice", Advice.MORE_LINES)),
    ],
)
def test_votes_count_in_the_verdict_and_in_what_to_do_next(
    voice: Verdict, advice: Advice, votes: Verdict, told: tuple[Verdict, str | None, Advice]
) -> None:
    heard = found(voice, advice).with_votes(line("people", votes))
    assert (heard.verdict, heard.weakest, heard.advice) == told
    assert [one.id for one in heard.lines] == ["voice", "breaks", "people"]
