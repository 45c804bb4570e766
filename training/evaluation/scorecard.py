"""The scorecard of an adapter: what a check found, judged line by line, with one verdict over all and what to do next.

The lines are those of `lines.py`. `judge` takes a whole check, `score` the quick look right after training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from training.evaluation import lines as scoring
from training.evaluation.advice import material, weakest
from training.evaluation.lines import FEW_LINES, Scored
from training.evaluation.schema import Advice, Probe, ProbeAnswer, Score, overall
from training.evaluation.texts import is_machine
from training.evaluation.voice import Lines
from training.schema import Persona, ScoreLine, Verdict

TELLING = ("facts", "voice", "held_out_fit")
"""The lines that tell whose adapter this is."""


@dataclass(frozen=True)
class Evidence:
    """What a check of one adapter found, as plain values: texts, and losses in nats per token.

    names: all names of the cast, to be masked. cast_lines, gold: training lines and held-out lines by persona's slug,
    the own one's and the others'. pool: the other personas' replies to the same neutral questions, of those who were
    asked. answers: several to each of the probes, without scores. losses, base_losses: of each held-out conversation of
    this persona, with the adapter and without. rivals: of the same conversations, under other personas' adapters, by
    label. general, general_base: of each general text, with the adapter and without. learnt: the lines that the adapter
    was trained on. rehearsal: whether the base model only rehearses, and so can know nothing. doubt: why `learnt` may
    not be all that was learnt, if so.
    """

    persona: Persona
    names: Collection[str]
    cast_lines: Lines
    gold: Lines
    pool: Lines
    probes: Sequence[Probe]
    answers: Sequence[ProbeAnswer]
    losses: Sequence[float]
    base_losses: Sequence[float]
    rivals: Mapping[str, Sequence[float]]
    general: Sequence[float]
    general_base: Sequence[float]
    learnt: Sequence[str]
    seed: int
    rehearsal: bool = False
    doubt: str = ""


@dataclass(frozen=True)
class Judged:
    """The scorecard, the answers with their scores, and what to do next.

    weakest: the line that most wants work, if one does. sounds_like: the share of the answers to neutral questions that
    is given to each persona of the cast; empty where voices could not be compared. shown: figures beside the voice line
    that decide nothing.
    """

    lines: tuple[ScoreLine, ...]
    answers: tuple[ProbeAnswer, ...]
    verdict: Verdict
    weakest: str | None
    advice: Advice
    sounds_like: dict[str, float]
    shown: dict[str, float]


def judge(evidence: Evidence) -> Judged:
    """Judge an adapter by what a check of it found."""
    found = evidence
    facts, voice, *texts = judge_replies(found)
    fit = scoring.held_out_fit(found.base_losses, found.losses, found.seed, found.rivals)
    general = scoring.general(found.general_base, found.general, found.seed)
    lines = doubted((facts.line, voice.line, fit, general, *(one.line for one in texts)), found)
    name, advice = next_step(lines, found)
    return Judged(
        lines=lines,
        answers=with_scores(found.answers, (facts, voice, *texts)),
        verdict=overall(lines),
        weakest=name,
        advice=advice,
        sounds_like=dict(voice.sounds_like),
        shown=dict(voice.shown),
    )


def next_step(lines: Sequence[ScoreLine], evidence: Evidence) -> tuple[str | None, Advice]:
    """(the line that most wants work, the one thing to do about it), of the data as the evidence has it."""
    own = evidence.cast_lines.get(evidence.persona.slug, ())
    data = material(own, evidence.learnt, evidence.probes, is_machine(evidence.persona))
    return weakest(lines, data)


def judge_replies(evidence: Evidence) -> tuple[Scored, ...]:
    """The lines that are made of replies: facts, voice, breaks, degeneracy, copying."""
    persona, answers, seed = evidence.persona, evidence.answers, evidence.seed
    neutral = [i for i, answer in enumerate(answers) if answer.kind == "neutral"]
    machines = {probe.id for probe in evidence.probes} if is_machine(persona) else set()
    facts = scoring.facts(answers, evidence.probes, _fact_texts(persona), seed)
    return (
        replace(facts, line=excused(facts.line, evidence.rehearsal)),
        scoring.voice(
            answers,
            {persona.slug: neutral},
            human=_all_lines(evidence.cast_lines, evidence.gold),
            names=evidence.names,
            seed=seed,
            pool=evidence.pool,
            titles={persona.slug: persona.name},
        ),
        scoring.breaks(answers, seed, machines),
        scoring.degeneracy(answers, seed),
        scoring.copying(answers, evidence.learnt, evidence.gold.get(persona.slug, ()), seed, evidence.doubt),
    )


def score(
    *,
    cast: Sequence[Persona],
    cast_lines: Lines,
    gold: Lines,
    probes: Sequence[Probe],
    base_answers: Sequence[ProbeAnswer],
    answers: Sequence[ProbeAnswer],
    base_nll: Sequence[float],
    adapter_nll: Sequence[float],
    learnt: Sequence[str],
    held_out: Sequence[str],
    seed: int,
    rehearsal: bool = False,
) -> tuple[tuple[ScoreLine, ...], Verdict]:
    """The quick look at an adapter right after training, by plain values.

    `cast` are those whom the adapter gives a voice, none for a dialogue run. `cast_lines` and `gold` are assistant
    lines by persona's slug: training rows, and rows held out from training. The answers are to `probes`, one each in
    their order. The NLLs are nats per assistant token, one number for each held-out conversation in the same order.
    `learnt` and `held_out` are the lines that this run learnt from and was checked on; `rehearsal` as in `Evidence`.
    """
    whose = [probe.persona or (cast[0].slug if cast else "") for probe in probes]
    places = [i for i, probe in enumerate(probes) if probe.kind != "fact"]
    asked = {persona.slug: [i for i in places if whose[i] == persona.slug] for persona in cast}
    machines = {persona.slug for persona in cast if is_machine(persona)}
    lines = (
        excused(scoring.facts(answers, probes, _cast_texts(cast), seed).line, rehearsal),
        scoring.voice(
            answers,
            asked,
            human=_all_lines(cast_lines, gold),
            names=_names(cast, cast_lines),
            seed=seed,
            titles={persona.slug: persona.name for persona in cast},
            base_answers=base_answers,
        ).line,
        scoring.held_out_fit(base_nll, adapter_nll, seed),
        scoring.breaks(answers, seed, {probes[i].id for i, slug in enumerate(whose) if slug in machines}).line,
        scoring.degeneracy(answers, seed).line,
        scoring.copying(answers, learnt, held_out, seed).line,
    )
    return lines, overall(lines)


def doubted(lines: Sequence[ScoreLine], evidence: Evidence) -> tuple[ScoreLine, ...]:
    """The lines, with a warning on one of them where none tells whether this is the persona at all.

    What is neither broken nor worse in general may still be anybody.
    """
    telling = [line for line in lines if line.id in TELLING]
    if any(line.verdict is not Verdict.NOT_APPLICABLE for line in telling):
        return tuple(lines)
    name = "voice" if len(evidence.cast_lines.get(evidence.persona.slug, ())) < FEW_LINES else "facts"
    told = f"Nothing measured here tells whether this is {evidence.persona.name}"
    return tuple(
        line.model_copy(update={"verdict": Verdict.WARN, "explanation": f"{told}. {line.explanation}".strip()})
        if line.id == name
        else line
        for line in lines
    )


def excused(facts: ScoreLine, rehearsal: bool) -> ScoreLine:
    """The line as it is, but not judged where the base model is so small that it can only learn to sound."""
    if not rehearsal or facts.value is None:
        return facts
    told = f"{facts.explanation} A rehearsal model learns to sound, not to know, so this is not judged."
    return facts.model_copy(update={"verdict": Verdict.NOT_APPLICABLE, "explanation": told})


def _all_lines(train: Lines, held_out: Lines) -> dict[str, list[str]]:
    """All that each persona is known to say: to tell a voice by, it makes no difference what an adapter learnt."""
    return {slug: [*lines, *held_out.get(slug, ())] for slug, lines in train.items()}


def with_scores(answers: Sequence[ProbeAnswer], found: Sequence[Scored]) -> tuple[ProbeAnswer, ...]:
    """The answers, each with what it scored on each line."""

    def scores(i: int) -> dict[str, Score]:
        return {one.line.id: one.scores[i] for one in found if i in one.scores}

    return tuple(answer.model_copy(update={"scores": scores(i)}) for i, answer in enumerate(answers))


def _fact_texts(persona: Persona, before: str = "") -> dict[str, str]:
    """The facts' own texts by their probes' ids."""
    return {f"{before}fact-{fact.id}": fact.text for fact in persona.facts}


def _cast_texts(cast: Sequence[Persona]) -> dict[str, str]:
    if len(cast) == 1:
        return _fact_texts(cast[0])
    return {name: text for persona in cast for name, text in _fact_texts(persona, f"{persona.slug}-").items()}


def _names(cast: Sequence[Persona], cast_lines: Lines) -> set[str]:
    """All that would give a speaker away by name: slugs are the names of the others, in small letters."""
    told = {name for who in cast for name in (who.name, *who.aliases, *who.relationships)}
    return told | {slug.replace("_", "-") for slug in cast_lines}
