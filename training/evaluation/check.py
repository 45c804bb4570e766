"""One check from beginning to end: load → measure → ask → judge → compare → report."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from training import models
from training.data.fingerprints import plain
from training.data.mix import digest
from training.errors import CheckDoesNotFit, LanguageModelFailed
from training.evaluation import lines as scoring
from training.evaluation import shelved
from training.evaluation.advice import material, weakest
from training.evaluation.compare import compare, version_line
from training.evaluation.drift import drift, replies_drawn
from training.evaluation.examine import (
    AT_LENGTH,
    IN_VOICE,
    Seen,
    examine,
    examine_general,
    general_work,
    work_of,
)
from training.evaluation.intervals import perplexity
from training.evaluation.judge import Judge, medians, open_judge
from training.evaluation.probes import check_probes, telling
from training.evaluation.schema import (
    BallotBox,
    CheckReport,
    CheckSpec,
    Earlier,
    JudgeOpinion,
    Probe,
    ProbeAnswer,
    SideBySide,
    Suite,
    overall,
)
from training.evaluation.scorecard import Evidence, judge, next_step
from training.evaluation.subject import Drawn, Steps, Subject, base_of, load_base
from training.evaluation.texts import is_machine
from training.evaluation.unseen import Run, Unseen, find_run, unseen
from training.lessons import lines_of, said
from training.models import Loaded
from training.out_of_memory import out_of_memory
from training.persona.sheet import find_persona, load_cast
from training.runs import write_json
from training.schema import Persona, Phase, Progress, RunId, ScoreLine, Verdict, Workspace

log = logging.getLogger(__name__)
ALONE = {
    "held_out_fit": "Without an adapter there is nothing to gain.",
    "general": "Without an adapter there is nothing to lose.",
}
"""What is said of the base model alone, in place of the lines that compare with it."""

NOT_HEARD = ScoreLine(
    id="people",
    value=None,
    verdict=Verdict.NOT_APPLICABLE,
    explanation="Blind votes are cast and counted in Discord; the cards there tell what they say.",
)
"""Line 9 as long as nobody was heard."""


def check(
    spec: CheckSpec,
    *,
    job_id: str,
    workspace: Workspace,
    run_dir: Path,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    places: Mapping[RunId, Path] | None = None,
    votes: BallotBox | None = None,
) -> CheckReport:
    """Check an adapter, or the base model alone, and leave `report.json` in `run_dir`, last of all.

    A finished folder's report is returned as is. A check by the persona's own questions is also left beside the
    adapter, for later ones to compare with; drift, judge and comparison belong to it alone. Once `should_stop()` is
    true it raises RunStopped.

    places: folders of runs that do not lie below the artifact root. votes: what the judge is measured on. Raises
    UnknownPersona, UncheckableRun, CheckDoesNotFit, JudgeMissing, JudgeIsBase, LanguageModelFailed, and what loading a
    model raises.
    """
    done = run_dir / "report.json"
    if done.is_file():
        return CheckReport.model_validate_json(done.read_bytes())
    run_dir.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    steps = Steps(on_progress, should_stop)
    steps.enter(Phase.DATA)
    votes, spec = spec.votes or votes, spec.model_copy(update={"votes": None})
    bench = _Bench(job_id, workspace, steps, places or {})
    case = bench.case(spec)
    try:
        report = _timed(bench.suite(case, run_dir / "judge.jsonl", votes), begun)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise CheckDoesNotFit(device=models.device_name()) from error
    if spec.suite is Suite.PERSONA:
        shelved.leave(report, case.run)
    write_json(done, report.model_dump(mode="json"))
    return report


@dataclass(frozen=True)
class _Case:
    """One adapter, or none, that is to speak for the persona; what it never learnt; and what it is asked."""

    spec: CheckSpec
    persona: Persona
    run: Run | None
    known: Unseen
    probes: Sequence[Probe]

    @property
    def label(self) -> str:
        """How people read it."""
        if self.spec.version:
            return f"{self.persona.name} v{self.spec.version}"
        told = f"{self.run.name}, {self.run.id[:6]}" if self.run else "base model"
        return f"{self.persona.name} ({told})"

    @property
    def learnt(self) -> list[str]:
        """The lines that the adapter learnt to say."""
        return said(self.known.learnt, "assistant")

    @property
    def work(self) -> int:
        """How many steps it takes to look at it."""
        return work_of(self.probes, self.known.measured(), self.spec)


@dataclass(frozen=True)
class _Bench:
    """What a check works with."""

    job_id: str
    workspace: Workspace
    steps: Steps
    places: Mapping[RunId, Path]

    def case(self, spec: CheckSpec, probes: Sequence[Probe] = ()) -> _Case:
        """Everything that can be refused is, before a model is loaded. `probes`: those that another was asked."""
        persona = find_persona(self.workspace, spec.guild_id, spec.persona)
        run = find_run(spec.run_id, self.workspace, spec.guild_id, self.places) if spec.run_id else None
        known = unseen(run, persona, spec.guild_id, self.workspace, self.places)
        chosen = probes or check_probes(persona, said(known.learnt, "user"))
        return _Case(spec, persona, run, known, chosen)

    def suite(self, case: _Case, journal: Path, votes: BallotBox | None) -> CheckReport:
        """The questions that the check is to ask; `journal` keeps what a judge answers."""
        if case.spec.suite is Suite.GENERAL:
            return self.general_suite(case)
        return self.persona_suite(case, journal, votes)

    # --- by the persona's own questions ------------------------------------------------------------------------------

    def persona_suite(self, case: _Case, journal: Path, votes: BallotBox | None) -> CheckReport:
        """The steps of a check, in order."""
        spec = case.spec
        before = self.case(_earlier(spec), case.probes) if spec.compares else None
        ready = _shelved(before) if before else None
        critic = self._judge(case, before, journal) if spec.judge else None
        subject = Subject(self._load(case), case.run, self.steps)
        work = case.work + (before.work if before and not ready else 0)
        work += replies_drawn(len(case.probes)) if spec.drift else 0
        work += critic.calls(len(case.probes), votes, paired=before is not None) if critic else 0
        self.steps.enter(Phase.EVALUATING, work)

        report, evidence = self._look(case, subject)
        if spec.drift:
            points = drift(lambda talks, seed: subject.ask(talks, IN_VOICE, seed), evidence)
            report = report.model_copy(update={"drift": points})
        if before:
            if ready is None:
                bare = subject.bare() if self._source(before) == subject.loaded.source else None
                # Of two base models only one is in memory at a time.
                del subject
                ready = self._look_before(before, bare)
            report = _compared(report, ready, evidence)
        if critic:
            report = self._judged(report, critic, votes)
        return report.with_votes(NOT_HEARD)

    def _load(self, case: _Case) -> Loaded:
        self.steps.enter(Phase.LOADING)
        return load_base(case.run, self.workspace, self.steps)

    def _look(self, case: _Case, subject: Subject) -> tuple[CheckReport, Evidence]:
        """Measure, ask and judge one adapter."""
        rows, card = case.known.measured(), case.persona.system_card()
        seen = examine(subject, card, case.probes, rows, case.spec)
        draft = self._draft(case, subject.loaded, IN_VOICE, card)
        draft = draft.model_copy(
            update={
                "losses": dict(seen.losses),
                "base_losses": dict(seen.base_losses),
                "general_losses": seen.general,
                "general_base_losses": seen.general_base,
            }
        )
        others = shelved.others_of(draft, self.workspace)
        evidence = self._evidence(case, seen, draft, others)
        found = judge(evidence)
        own = case.persona.slug
        measured = {"perplexity": (seen.losses, own), "perplexity_base": (seen.base_losses, own)}
        told = {
            "verdict": found.verdict,
            "lines": _explained(found.lines, case),
            "weakest": found.weakest,
            "advice": found.advice,
            "samples": _samples(case.probes, seen.base_answers, found.answers),
            "answers": found.answers,
            "sounds_like": shelved.sounds_like(draft, found.sounds_like, others),
            "gains": shelved.gains(draft, others),
            "figures": _perplexities({name: losses.get(slug, ()) for name, (losses, slug) in measured.items()})
            | found.shown,
            "data_digest": digest(rows[own]) if own in rows else "",
        }
        return draft.model_copy(update=told), evidence

    def _look_before(self, before: _Case, bare: Loaded | None) -> CheckReport:
        """Check the version that is compared with in the same go, and keep that for the next time.

        `bare`: its base model, where that is in memory already.
        """
        begun = time.monotonic()
        if bare is None:
            # An adapter and its layers point at each other, so they would stay until some later collection.
            gc.collect()
            bare = load_base(before.run, self.workspace, self.steps)
        report, _ = self._look(before, Subject(bare, before.run, self.steps))
        report = _timed(report, begun)
        shelved.leave(report, before.run)
        return report

    def _evidence(self, case: _Case, seen: Seen, draft: CheckReport, others: Sequence[CheckReport]) -> Evidence:
        gold, own, alone = lines_of(case.known.held_out), case.persona.slug, case.run is None
        cast = load_cast(self.workspace, case.spec.guild_id).values()
        pool = {other.persona: shelved.answers_to(other, case.probes) for other in others}
        return Evidence(
            persona=case.persona,
            names={name for who in cast for name in (who.name, who.slug, *who.aliases, *who.relationships)},
            cast_lines=lines_of(case.known.train),
            gold=gold,
            pool=pool,
            probes=case.probes,
            answers=seen.answers,
            losses=() if alone else seen.losses.get(own, ()),
            base_losses=() if alone else seen.base_losses.get(own, ()),
            rivals={} if alone else shelved.rivals_of(draft, others),
            general=() if alone else seen.general,
            general_base=() if alone else seen.general_base,
            learnt=case.learnt,
            seed=case.spec.seed,
            rehearsal=draft.rehearsal,
            doubt=case.known.doubt,
        )

    def _draft(self, case: _Case, loaded: Loaded, how: Drawn, system: str) -> CheckReport:
        """A report of who was looked at and how, before anything is found."""
        return CheckReport(
            job_id=self.job_id,
            spec=case.spec,
            persona=case.persona.slug,
            name=case.persona.name,
            adapter=case.label,
            base_model=loaded.base.id,
            rehearsal=loaded.base.rehearsal,
            device=models.device_name(),
            system=system,
            temperature=how.temperature,
            max_new_tokens=how.max_new_tokens,
            seconds=0.0,
            verdict=Verdict.NOT_APPLICABLE,
            lines=(),
        )

    # --- by a language model -----------------------------------------------------------------------------------------

    def _source(self, case: _Case) -> str:
        """Where the base model of its adapter is loaded from."""
        return base_of(case.run, self.workspace, self.steps)[1]

    def _judge(self, case: _Case, before: _Case | None, journal: Path) -> Judge:
        judged = (case, before) if before else (case,)
        bases = {base_of(one.run, self.workspace, self.steps)[0].id for one in judged}
        stop = self.steps.should_stop
        return open_judge(self.workspace, bases, case.persona, journal, seed=case.spec.seed, should_stop=stop)

    def _judged(self, report: CheckReport, critic: Judge, votes: BallotBox | None) -> CheckReport:
        """The report with the judge's opinion, which is advisory: a server that fails spoils nothing that was found."""
        first = [answer for answer in report.answers if answer.sample == 0]
        pairs = [(s.question, s.adapter, s.before) for s in report.samples if s.before is not None]
        told: dict[str, Any] = {"scores": {}, "replies": 0}
        figures = dict(report.figures)

        def one_more() -> None:
            self.steps.add(1)

        try:
            ratings = critic.rate(first, one_more)
            rated = {answer.probe: tuple(said) for answer, said in zip(first, ratings, strict=True) if said}
            told |= {"ratings": rated, "scores": medians(ratings), "replies": len(rated)}
            if votes:
                told["agreement"], told["votes"] = critic.agreement(votes, one_more)
            if pairs:
                sides = critic.prefer(pairs, one_more)
                told["preferred"] = {pair[0]: side for pair, side in zip(pairs, sides, strict=True)}
                figures["judge_prefers"] = mean((1 + side) / 2 for side in sides)
        except LanguageModelFailed as error:
            log.warning("The rest of the judge's opinion is left out: %s", error)
        opinion = JudgeOpinion(model=critic.model, **told)
        return report.model_copy(update={"judge": opinion, "figures": figures})

    # --- by general questions ----------------------------------------------------------------------------------------

    def general_suite(self, case: _Case) -> CheckReport:
        """General questions with the adapter on and off, general texts, and likeness to held-out lines."""
        rows = case.known.measured().get(case.persona.slug, [])
        subject = Subject(self._load(case), case.run, self.steps)
        self.steps.enter(Phase.EVALUATING, general_work(rows, case.spec))
        seen = examine_general(subject, rows, case.spec)
        own, base = (seen.general, seen.general_base) if case.run else ((), ())
        broken = scoring.degeneracy(seen.answers, case.spec.seed)
        lines = (scoring.general(base, own, case.spec.seed), broken.line)
        name, advice = weakest(lines, material(case.learnt, case.learnt, (), is_machine(case.persona)))
        answers = [
            answer.model_copy(update={"scores": {"degeneracy": broken.scores[i]}})
            for i, answer in enumerate(seen.answers)
        ]
        measured = {"perplexity": seen.general, "perplexity_base": seen.general_base}
        told = {
            "verdict": overall(lines),
            "lines": _explained(lines, case),
            "weakest": name,
            "advice": advice,
            "samples": _side_by_side(range(len(seen.base_answers)), seen.base_answers, answers),
            "answers": tuple(answers),
            "figures": _perplexities(measured) | dict(seen.likeness),
            "continued": seen.continued,
            "general_losses": seen.general,
            "general_base_losses": seen.general_base,
        }
        return self._draft(case, subject.loaded, AT_LENGTH, "").model_copy(update=told)


def _earlier(spec: CheckSpec) -> CheckSpec:
    """The check of what this one is compared with."""
    told = {"run_id": spec.against, "version": spec.against_version or None, "against": None, "against_version": None}
    return spec.model_copy(update=told | {"drift": False, "judge": False})


def _shelved(case: _Case) -> CheckReport | None:
    """The last check of the adapter, if it was asked these very questions, with these seeds, in this way."""
    found = shelved.last_of(case.run, case.persona.slug)
    if found is None or found.spec.suite is not Suite.PERSONA or found.system != case.persona.system_card():
        return None
    spec = case.spec
    wanted = {(p.id, p.question, n, spec.seed + n) for p in case.probes for n in range(spec.samples)}
    asked = {(a.probe, a.question, a.sample, a.seed) for a in found.answers}
    return found if asked == wanted and Drawn(found.max_new_tokens, found.temperature) == IN_VOICE else None


def _compared(report: CheckReport, before: CheckReport, evidence: Evidence) -> CheckReport:
    """The report with the earlier version beside it.

    Its answers are scored anew as these were, by the same classifier and among the same other voices: what differs is
    then the answers alone.
    """
    scored = judge(replace(evidence, answers=before.answers)).answers
    comparison = compare(report, before.model_copy(update={"answers": scored}), report.spec.seed)
    lines = (*report.lines, version_line(comparison))
    said_before = {answer.question: answer.reply for answer in before.answers if answer.sample == 0}
    samples = [sample.model_copy(update={"before": said_before[sample.question]}) for sample in report.samples]
    name, advice = next_step(lines, evidence)
    told = {"comparison": comparison, "lines": lines, "verdict": overall(lines), "samples": tuple(samples)}
    told |= {"weakest": name, "advice": advice, "before": Earlier(adapter=before.adapter, lines=before.lines)}
    return report.model_copy(update=told)


def _explained(lines: Iterable[ScoreLine], case: _Case) -> tuple[ScoreLine, ...]:
    """The lines, with what is to be known of them beside their figures.

    Where a line does not apply, that is the reason why, if there is a better one than its own.
    """
    reasons = ALONE if case.run is None else {"held_out_fit": case.known.doubt}
    notes = _notes(case)

    def told(line: ScoreLine) -> ScoreLine:
        if line.verdict is Verdict.NOT_APPLICABLE:
            return line.model_copy(update={"explanation": reasons.get(line.id) or line.explanation})
        return line.model_copy(update={"explanation": line.explanation + notes.get(line.id, "")})

    return tuple(map(told, lines))


def _notes(case: _Case) -> dict[str, str]:
    """By line, what the adapter has seen of what it is asked and measured on."""
    learnt = {plain(question) for question in said(case.known.learnt, "user")}
    notes = {}
    for line, kind in (("facts", "fact"), ("voice", "neutral")):
        asked = [plain(probe.question) in learnt for probe in case.probes if probe.kind == kind]
        if any(asked):
            notes[line] = f" {sum(asked)} of the {len(asked)} questions were learnt from."
    if left_out := case.known.left_out.get(case.persona.slug):
        notes["held_out_fit"] = f" {left_out} more are left out, since an answer in them was learnt."
    return notes


def _samples(
    probes: Sequence[Probe], base: Sequence[ProbeAnswer], answers: Sequence[ProbeAnswer]
) -> tuple[SideBySide, ...]:
    """All questions with their first answers, the most telling first."""
    texts = ([answer.reply for answer in side[: len(probes)]] for side in (base, answers))
    return _side_by_side(telling(probes, *texts), base, answers)


def _side_by_side(
    places: Iterable[int], base: Sequence[ProbeAnswer], answers: Sequence[ProbeAnswer]
) -> tuple[SideBySide, ...]:
    return tuple(SideBySide(question=base[i].question, base=base[i].reply, adapter=answers[i].reply) for i in places)


def _perplexities(losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: perplexity(mean(found)) for name, found in losses.items() if found}


def _timed(report: CheckReport, begun: float) -> CheckReport:
    return report.model_copy(update={"seconds": time.monotonic() - begun})
