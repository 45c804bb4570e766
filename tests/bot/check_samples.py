"""Checks and their reports for the bot's tests, ordinary and extreme."""

from __future__ import annotations

import time
from typing import Any, get_args

from tasks.jobs import Job
from tests.bot.samples import CHANNEL, GUILD, JOB_ID, origin
from training.evaluation.schema import (
    Advice,
    CheckReport,
    CheckSpec,
    Comparison,
    Difference,
    DriftPoint,
    Earlier,
    Gate,
    JudgeOpinion,
    Matrix,
    ProbeAnswer,
    Score,
    SideBySide,
)
from training.schema import Fact, Persona, ScoreLine, Verdict

RUN, LIVE_RUN = "b" * 12, "c" * 12
LINE_IDS = get_args(ScoreLine.model_fields["id"].annotation)


def check_spec(**changes: Any) -> CheckSpec:
    known = {"guild_id": GUILD, "persona": "glordon", "run_id": RUN, "version": 2}
    return CheckSpec.model_validate({**known, "against": LIVE_RUN, "against_version": 1, **changes})


def check_job(job_id: str = JOB_ID, channel_id: str = CHANNEL, spec: CheckSpec | None = None) -> Job:
    asked = spec or check_spec()
    return Job(id=job_id, kind="check", spec=asked, origin=origin(channel_id), created_at=time.time())


def comparison(gate: Gate = Gate.PASS, value: float = 0.05) -> Comparison:
    changes = tuple(
        Difference(id=name, value=value, low=value - 0.1, high=value + 0.1, floor=value - 0.08, questions=16)
        for name in ("facts", "voice")
    )
    return Comparison(of="Glordon v2", against="Glordon v1", gate=gate, margin=0.15, differences=changes)


def answer(probe: str = "n1", sample: int = 0, reply: str = "Honk.") -> ProbeAnswer:
    said = {"voice": Score(value=1.0, answer="glordon", explanation="sounds like glordon")}
    return ProbeAnswer(
        probe=probe, kind="neutral", question="What now?", sample=sample, seed=7, reply=reply, tokens=3, ended=True,
        scores=said,
    )  # fmt: skip


def check_report(spec: CheckSpec | None = None, **changes: Any) -> CheckReport:
    lines = (
        ScoreLine(id="facts", value=0.81, low=0.62, high=0.94, verdict=Verdict.PASS),
        ScoreLine(id="voice", value=0.62, low=0.53, high=0.70, reference=0.71, verdict=Verdict.WARN,
                  explanation="First when pooled, below 70 % of gold."),
        ScoreLine(id="held_out_fit", value=0.18, low=0.12, high=0.24, verdict=Verdict.PASS),
        ScoreLine(id="general", value=0.09, low=0.05, high=0.13, verdict=Verdict.PASS),
        ScoreLine(id="breaks", value=0.0, low=0.0, high=0.025, verdict=Verdict.PASS),
        ScoreLine(id="degeneracy", value=0.02, low=0.0, high=0.05, verdict=Verdict.PASS),
        ScoreLine(id="copying", value=0.01, low=-0.02, high=0.04, verdict=Verdict.PASS),
        ScoreLine(id="version", value=0.05, low=-0.05, high=0.15, verdict=Verdict.PASS),
        ScoreLine(id="people", value=None, verdict=Verdict.NOT_APPLICABLE, explanation="Nobody has voted yet."),
    )  # fmt: skip
    asked = spec or check_spec()
    samples = tuple(
        SideBySide(question=f"Question number {n}?", base=f"Base {n}.", before=f"Old {n}.", adapter=f"New {n}.")
        for n in range(3)
    )
    matrix = Matrix(rows=("glordon", "questa"), columns=("glordon", "questa"), values=((0.8, 0.2), (None, 0.7)))
    return CheckReport(
        job_id=JOB_ID, spec=asked, persona=asked.persona, name="Glordon", adapter="Glordon v2", base_model="standin",
        rehearsal=True, device="cpu", system="You are Glordon.", temperature=0.7, max_new_tokens=64, seconds=58,
        verdict=Verdict.WARN, lines=lines, weakest="voice", advice=Advice.MORE_LINES, samples=samples,
        answers=(answer(), answer(sample=1)), sounds_like=matrix, gains=matrix, comparison=comparison(),
        figures={"BLEU": 3.1, "chrF": 17.0}, data_digest="9f3c77aa10",
    ).model_copy(update=changes)  # fmt: skip


def extreme_check(text: str) -> CheckReport:
    """A report with more of everything than there should be, every free text the same nasty one."""
    report = check_report(check_spec(persona="p" * 40, version=10**6, against_version=10**6, drift=True, judge=True))
    lines = tuple(
        ScoreLine(id=name, value=value, low=-1e300, high=1e300, reference=float("nan"), verdict=verdict,
                  explanation=text)
        for name in LINE_IDS
        for value, verdict in ((float("inf"), Verdict.FAIL), (None, Verdict.NOT_APPLICABLE))
    )  # fmt: skip
    side = SideBySide(question=text, base=text, before=text, adapter=text)
    return report.model_copy(
        update={
            "name": text, "adapter": text, "base_model": text, "device": text, "system": text, "lines": lines,
            "weakest": text, "seconds": 1e12, "samples": (side,) * 50, "answers": (answer(reply=text),) * 200,
            "comparison": comparison(Gate.WORSE, -1e300).model_copy(update={"of": text, "against": text}),
            "before": Earlier(adapter=text, lines=lines),
            "drift": tuple(DriftPoint(rounds=10**9, lines=lines) for _ in range(30)),
            "judge": JudgeOpinion(model=text, scores={f"{n}{text}": 1e300 for n in range(30)}, replies=10**9),
            "figures": {f"{n}{text}": 1e300 for n in range(30)},
        }
    )  # fmt: skip


def sheet(**changes: Any) -> Persona:
    facts = (
        Fact(id="elio", text="He is a friend of Elio.", question="Who is Elio?", accept=("friend", "pal"),
             reject=("stranger",)),
        Fact(id="home", text="He comes from Hylurg."),
    )  # fmt: skip
    known: dict[str, Any] = {"name": "Glordon", "slug": "glordon", "bio": "The gentle heir of Hylurg.", "facts": facts}
    return Persona.model_validate({**known, "traits": ("gentle",), "style": "Warm.", **changes})
