"""The lines of the scorecard: each a value with its 95 % interval, and a verdict by fixed thresholds.

Where several replies answer a question, the question counts once, by their mean; intervals are over questions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import mean

import numpy as np

from training.evaluation.intervals import Interval, between, by_question, share, studentised
from training.evaluation.nearness import nearness
from training.evaluation.schema import Probe, ProbeAnswer, Score
from training.evaluation.stylometry import leads
from training.evaluation.texts import break_of_character, copied_runs, degenerate, found_words
from training.evaluation.voice import Heard, Lines, Voices, hear
from training.schema import ScoreLine, Verdict

NEAR = 0.75
"""So near to a fact's text, an answer without any of its words is worth a look."""
FEW_LINES = 40
"""With fewer lines to learn from, the classifier knows a voice too little."""


@dataclass(frozen=True)
class Scored:
    """A line, and the scores of the answers that it is made of, by their place among the answers.

    sounds_like: of the voice line, the share of the answers given to each persona. shown: of the voice line, older
    measures of manner, for one persona alone.
    """

    line: ScoreLine
    scores: Mapping[int, Score] = field(default_factory=dict)
    sounds_like: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, float] = field(default_factory=dict)


# --- facts ---------------------------------------------------------------------------------------------------------


def facts(answers: Sequence[ProbeAnswer], probes: Sequence[Probe], texts: Mapping[str, str], seed: int) -> Scored:
    """Mean over fact questions of [any accept word and no reject word]; `texts` are the facts by the probe's id.

    Passes from 70 % with a lower bound from 50 %, fails below 50 %. An answer without a keyword that comes as near as
    .75 to the fact's own text counts as not known, and is marked for review.
    """
    asked = {probe.id: probe for probe in probes if probe.kind == "fact" and probe.accept}
    scores = {i: _knows(answer.reply, asked[answer.probe]) for i, answer in enumerate(answers) if answer.probe in asked}
    if not scores:
        return _not_applicable("facts", "There is no fact with a question and accept words to ask about.")
    scores |= _to_review(scores, answers, texts)
    bounds = share(_questions(answers, scores), seed)
    passes = bounds.mean >= 0.7 and bounds.low >= 0.5
    verdict = Verdict.PASS if passes else Verdict.FAIL if bounds.mean < 0.5 else Verdict.WARN
    review = sum(score.explanation.startswith("review") for score in scores.values())
    told = f"{_sum(scores):.0f} of {len(scores)} answers tell the fact that they were asked for"
    return Scored(_line("facts", bounds, verdict, f"{told}{f'; {review} to review' if review else ''}."), scores)


def _knows(reply: str, probe: Probe) -> Score:
    wrong, right = found_words(reply, probe.reject), found_words(reply, probe.accept)
    if wrong:
        return Score(value=0.0, answer=wrong[0], explanation="says a word that the fact rules out")
    if right:
        return Score(value=1.0, answer=right[0], explanation="says a word that shows the fact")
    return Score(value=0.0, explanation="says none of the words that show the fact")


def _to_review(
    scores: Mapping[int, Score], answers: Sequence[ProbeAnswer], texts: Mapping[str, str]
) -> dict[int, Score]:
    """Scores of the answers that say no keyword, and yet nearly what the fact says."""
    silent = [i for i, score in scores.items() if not score.answer and texts.get(answers[i].probe)]
    near = nearness([texts[answers[i].probe] for i in silent], [answers[i].reply for i in silent])
    return {
        i: Score(value=0.0, explanation=f"review: no keyword, but {close:.2f} like the fact's own text")
        for i, close in zip(silent, near, strict=True)
        if close >= NEAR
    }


# --- voice ---------------------------------------------------------------------------------------------------------


def voice(
    answers: Sequence[ProbeAnswer],
    asked: Mapping[str, Sequence[int]],
    *,
    human: Lines,
    names: Collection[str],
    seed: int,
    pool: Lines | None = None,
    titles: Mapping[str, str] | None = None,
    base_answers: Sequence[ProbeAnswer] = (),
) -> Scored:
    """Share of the replies that the voice classifier gives to whom the question was put.

    `asked` are the places of the answers that count, by persona; facts should not, since their subject gives the
    speaker away. `human` are all lines that each persona is known by, `pool` the others' replies to the same questions,
    if there are any. The reference, gold, is the share that is given right of the persona's own lines where they were
    not learnt. For the explanation, `titles` are personas' names as people read them, and `base_answers` those of the
    base model to the same questions. The verdict is that of `_voice_verdict`.
    """
    known = {slug: lines for slug, lines in human.items() if len(lines) > 1}
    asked = {slug: places for slug, places in asked.items() if places}
    if not asked or not all(slug in known for slug in asked):
        return _not_applicable("voice", "Comparing voices needs lines of this persona.")
    if len(known) < 2:
        return _not_applicable("voice", "Comparing voices needs lines of at least one other persona.")
    voices = _voices(tuple((slug, tuple(known[slug])) for slug in sorted(known)), frozenset(names))

    def heard(said: Sequence[ProbeAnswer]) -> list[Heard]:
        return hear(voices, {slug: [said[i].reply for i in places] for slug, places in asked.items()}, pool)

    own = heard(answers)
    scores = _voice_scores(own, asked)
    bounds = share(_questions(answers, scores), seed)
    ceiling, chance = float(np.mean([one.gold for one in own])), 1 / len(known)
    found = [by_question([answers[i].probe for i in asked[one.speaker]], one.leads) for one in own]
    verdict = _voice_verdict(own, found, strong=bounds.mean - chance >= 0.7 * (ceiling - chance))
    told = _voice_told(own, len(known), heard(base_answers) if base_answers else [], titles or {})
    few = [(titles or {}).get(slug, slug) for slug in asked if len(known[slug]) < FEW_LINES]
    thin = f" Known by fewer than {FEW_LINES} lines: {', '.join(few)}." if few else ""
    given = [slug for one in own for slug in one.given]
    return Scored(
        _line("voice", bounds, verdict, told + thin, ceiling),
        scores,
        {slug: given.count(slug) / len(given) for slug in voices.slugs},
        _manner(answers, asked, voices) if len(asked) == 1 else {},
    )


@lru_cache(maxsize=1)
def _voices(human: tuple[tuple[str, tuple[str, ...]], ...], names: frozenset[str]) -> Voices:
    """Kept, since a comparison and each round of drift are judged by the same lines."""
    return Voices(dict(human), names)


def _manner(answers: Sequence[ProbeAnswer], asked: Mapping[str, Sequence[int]], voices: Voices) -> dict[str, float]:
    ((speaker, places),) = asked.items()
    return leads([answers[i].reply for i in places], speaker, voices)


def _voice_scores(own: Sequence[Heard], asked: Mapping[str, Sequence[int]]) -> dict[int, Score]:
    return {
        place: Score(value=float(one.right[i]), answer=one.given[i], explanation=f"standardised: {one.told(i)}")
        for one in own
        for i, place in enumerate(asked[one.speaker])
    }


def _voice_verdict(own: Sequence[Heard], leads: Sequence[Sequence[float]], *, strong: bool) -> Verdict:
    """Of one speaker or, by majority, of several; `leads` are those of their replies, one a question.

    Passes where the replies taken together sound most like the persona, more so than 19 of 20 pools of so many lines of
    anybody else do, and are `strong` or no weaker than 19 of 20 pools of the persona's own lines. Fails where they
    sound most like another, or are as weak as neither such pools of their own would be, nor above those of anybody
    else. `strong`: with c = 1/K for K personas, (share − c) / (gold − c) ≥ 0.7.
    """
    first = above = below = 0
    for one, found in zip(own, leads, strict=True):
        low, high = one.expected(len(found))
        first += one.pooled == one.speaker
        above += mean(found) > high
        below += mean(found) < low
    most = len(own) / 2
    if first <= most or (below > most and above <= most):
        return Verdict.FAIL
    return Verdict.PASS if above > most and (strong or below <= most) else Verdict.WARN


def _voice_told(own: Sequence[Heard], speakers: int, base: Sequence[Heard], titles: Mapping[str, str]) -> str:
    right, count = sum(sum(one.right) for one in own), sum(len(one.given) for one in own)
    whom, pooled = "whom they were asked of", ""
    if len(own) == 1:
        whom, nearest = (titles.get(slug, slug) for slug in (own[0].speaker, own[0].pooled))
        pooled = "" if whom == nearest else f", and taken together most like {nearest}"
    compared = f" with the base model {sum(sum(one.right) for one in base)};" if base else ""
    return (
        f"{right} of {count} replies sound most like {whom} among {speakers} personas{pooled};{compared} "
        f"by chance {count / speakers:.1f}."
    )


# --- losses --------------------------------------------------------------------------------------------------------


def held_out_fit(
    base: Sequence[float], own: Sequence[float], seed: int, rivals: Mapping[str, Sequence[float]] | None = None
) -> ScoreLine:
    """Mean over held-out conversations of NLL(base) − NLL(adapter), in nats per token; more is better.

    `rivals` are the same conversations' losses under other personas' adapters, by label; None: none are asked for.
    Passes where the interval lies above 0 and no rival is as low, fails where the mean is not above 0.
    """
    if not own:
        return _not_applicable("held_out_fit", "There are no held-out conversations.").line
    gain = studentised([b - o for b, o in zip(base, own, strict=True)], seed)
    nearest = min(rivals or {}, key=lambda label: np.mean((rivals or {})[label]), default=None)
    beaten = nearest is not None and np.mean((rivals or {})[nearest]) <= np.mean(own)
    passes = gain.low > 0 and not beaten
    verdict = Verdict.PASS if passes else Verdict.FAIL if gain.mean <= 0 else Verdict.WARN
    told = (
        f"Held-out lines cost {abs(gain.mean):.2f} {'fewer' if gain.mean > 0 else 'more'} nats per token than with the "
        f"base model, over {len(own)} conversations."
    )
    alone = rivals is not None and not rivals
    other = " No other persona's adapter was measured on them, so none is compared with." if alone else ""
    return _line("held_out_fit", gain, verdict, told + (f" {nearest} fits them no worse." if beaten else other))


def general(base: Sequence[float], own: Sequence[float], seed: int) -> ScoreLine:
    """Mean over general texts of NLL(adapter) − NLL(base), in nats per token; less is better.

    Passes up to .10, fails above .25.
    """
    if not own:
        return _not_applicable("general", "There are no general texts.").line
    loss = studentised([o - b for b, o in zip(base, own, strict=True)], seed)
    verdict = Verdict.PASS if loss.mean <= 0.10 else Verdict.FAIL if loss.mean > 0.25 else Verdict.WARN
    told = f"{len(own)} general texts cost {abs(loss.mean):.2f} {'more' if loss.mean > 0 else 'fewer'} nats per token."
    return _line("general", loss, verdict, told)


# --- texts ---------------------------------------------------------------------------------------------------------


def breaks(answers: Sequence[ProbeAnswer], seed: int, machines: Collection[str] = ()) -> Scored:
    """Share of replies that speak as a language model: none passes, above 2 % fails.

    With no hit among n replies the upper bound is 3/n. `machines` are the probes put to personas who are machines by
    their own sheet, and may say so.
    """
    hits = [break_of_character(answer.reply, answer.probe in machines) for answer in answers]
    scores = _scores(hits, "speaks as a language model", "stays in character")
    bounds = share(_questions(answers, scores), seed)
    if not any(hits):
        bounds = Interval(0.0, 0.0, min(1.0, 3 / len(answers)))
    verdict = Verdict.FAIL if bounds.mean > 0.02 else Verdict.WARN if bounds.mean > 0 else Verdict.PASS
    told = f"{_sum(scores):.0f} of {len(scores)} replies speak as a language model"
    rule = "" if any(hits) else f" (≤ {bounds.high:.1%} at 95 %)"
    return Scored(_line("breaks", bounds, verdict, f"{told}{rule}."), scores)


def degeneracy(answers: Sequence[ProbeAnswer], seed: int) -> Scored:
    """Share of replies that are broken as text: up to 5 % passes, above 15 % fails."""
    found = degenerate(
        [answer.reply for answer in answers],
        [answer.ended for answer in answers],
        [answer.question for answer in answers],
    )
    scores = {i: Score(value=float(bool(why)), explanation=why or "sound") for i, why in enumerate(found)}
    bounds = share(_questions(answers, scores), seed)
    told = f"{_sum(scores):.0f} of {len(scores)} replies are empty, endless, repetitive or speak for the user."
    return Scored(_line("degeneracy", bounds, _few(bounds.mean), told), scores)


def copying(
    answers: Sequence[ProbeAnswer], learnt: Sequence[str], gold: Sequence[str], seed: int, doubt: str = ""
) -> Scored:
    """Share of replies with a run of 12 words of one training line, minus that of held-out lines.

    Up to 5 points passes, above 15 fails. In scripts without spaces a run has 20 characters. `doubt`: why `learnt` may
    not be all that was learnt; what then is not copied from it may be copied all the same, and does not pass.
    """
    if not learnt or not gold:
        none = "There are no training lines and held-out lines to compare with."
        return _not_applicable("copying", doubt or none)
    runs = copied_runs([answer.reply for answer in answers], learnt)
    scores = _scores(runs, "has a run of words of a training line", "has no run of words of a training line")
    own = share(_questions(answers, scores), seed)
    human = share([float(bool(run)) for run in copied_runs(gold, learnt)], seed)
    more = between(own, human)
    told = f"{_sum(scores):.0f} of {len(scores)} replies copy a run of words, and {human.mean:.0%} of held-out lines."
    verdict = _few(more.mean)
    if doubt and verdict is Verdict.PASS:
        verdict, told = Verdict.NOT_APPLICABLE, f"{told} {doubt}"
    return Scored(_line("copying", more, verdict, told, human.mean), scores)


def _scores(found: Sequence[str], hit: str, miss: str) -> dict[int, Score]:
    return {
        i: Score(value=float(bool(text)), answer=text, explanation=hit if text else miss)
        for i, text in enumerate(found)
    }


def _few(part: float) -> Verdict:
    return Verdict.PASS if part <= 0.05 else Verdict.FAIL if part > 0.15 else Verdict.WARN


# --- all lines -----------------------------------------------------------------------------------------------------


def _questions(answers: Sequence[ProbeAnswer], scores: Mapping[int, Score]) -> list[float]:
    """The mean score of each question."""
    return by_question([answers[i].probe for i in scores], [score.value for score in scores.values()])


def _sum(scores: Mapping[int, Score]) -> float:
    return sum(score.value for score in scores.values())


def _line(kind: str, bounds: Interval, verdict: Verdict, explanation: str, reference: float | None = None) -> ScoreLine:
    return ScoreLine.model_validate(
        {
            "id": kind,
            "value": bounds.mean,
            "low": bounds.low,
            "high": bounds.high,
            "reference": reference,
            "verdict": verdict,
            "explanation": explanation,
        }
    )


def _not_applicable(kind: str, explanation: str) -> Scored:
    empty = {"id": kind, "value": None, "verdict": Verdict.NOT_APPLICABLE, "explanation": explanation}
    return Scored(ScoreLine.model_validate(empty))
