"""The scorecard of a finished adapter: four lines, each with its verdict, and one verdict over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.evaluation.metrics import Interval, Voices, breaks_character, degenerate, interval
from training.evaluation.schema import Probe
from training.schema import Persona, ScoreLine, Verdict

Lines = Mapping[str, Sequence[str]]


def score(
    *,
    cast: Sequence[Persona],
    cast_lines: Lines,
    gold: Lines,
    probes: Sequence[Probe],
    base_replies: Sequence[str],
    adapter_replies: Sequence[str],
    adapter_ended: Sequence[bool],
    base_nll: Sequence[float],
    adapter_nll: Sequence[float],
    seed: int,
) -> tuple[tuple[ScoreLine, ...], Verdict]:
    """Judge an adapter by plain values.

    `cast` are those whom the adapter gives a voice, none for a dialogue run. `cast_lines` and `gold` are assistant
    lines by persona's slug: training rows, and rows held out from training. The replies answer `probes`, one each in
    their order; `adapter_ended` says which replies stopped by themselves rather than at the token limit. The NLLs are
    nats per assistant token, one number for each held-out conversation in the same order.
    """
    lines = (
        held_out_fit(base_nll, adapter_nll, seed),
        voice(
            cast=cast,
            cast_lines=cast_lines,
            gold=gold,
            probes=probes,
            base_replies=base_replies,
            adapter_replies=adapter_replies,
            seed=seed,
        ),
        breaks(adapter_replies, seed),
        degeneracy(adapter_replies, adapter_ended, seed),
    )
    return lines, overall(lines)


def overall(lines: Sequence[ScoreLine]) -> Verdict:
    """The worst verdict among the lines that apply."""
    verdicts = {line.verdict for line in lines}
    return next((v for v in (Verdict.FAIL, Verdict.WARN, Verdict.PASS) if v in verdicts), Verdict.NOT_APPLICABLE)


def held_out_fit(base_nll: Sequence[float], adapter_nll: Sequence[float], seed: int) -> ScoreLine:
    """Mean over held-out conversations of NLL(base) − NLL(adapter), in nats per token; more is better.

    Passes where the interval lies above 0, fails where the mean does not.
    """
    gain = interval([base - own for base, own in zip(base_nll, adapter_nll, strict=True)], seed)
    verdict = Verdict.PASS if gain.low > 0 else Verdict.FAIL if gain.mean <= 0 else Verdict.WARN
    return ScoreLine(
        id="held_out_fit",
        value=gain.mean,
        low=gain.low,
        high=gain.high,
        verdict=verdict,
        explanation=f"Held-out lines cost {_change(gain.mean)} nats per token than with the base model, "
        f"over {len(base_nll)} conversations.",
    )


def voice(
    *,
    cast: Sequence[Persona],
    cast_lines: Lines,
    gold: Lines,
    probes: Sequence[Probe],
    base_replies: Sequence[str],
    adapter_replies: Sequence[str],
    seed: int,
) -> ScoreLine:
    """Share of the replies to shared questions that the voice classifier gives to whom the question was put.

    Fact questions are left out, since their subject gives the speaker away. The reference is the share that it gives
    right of the same personas' held-out lines. With c = 1/K for K personas it passes where
    (share − c) / (reference − c) ≥ 0.7, the replies taken together are nearest to their persona (of several: for more
    than half of them) and the interval lies above c; it fails where they are nearest to another or the interval
    reaches down to c. The other personas' held-out lines are the balance that standardisation needs.
    """
    if not cast:
        return _no_voice("A run without a persona has no voice to compare.")
    asked = {persona.slug: _shared_questions(persona, cast, probes) for persona in cast}
    others = {slug: lines for slug, lines in gold.items() if slug not in asked and slug in cast_lines and lines}
    if len(others) + len(asked) < 2 or not all(gold.get(slug) and slug in cast_lines for slug in asked):
        return _no_voice("Comparing voices needs held-out lines of this persona and of at least one other.")
    voices = Voices(cast_lines, _names(cast, cast_lines))

    def heard(replies: Sequence[str]) -> tuple[list[float], bool]:
        return _heard(voices, others, {slug: [replies[i] for i in places] for slug, places in asked.items()})

    own, first = heard(adapter_replies)
    base, _ = heard(base_replies)
    share = interval(own, seed)
    reference = float(np.mean(_heard(voices, others, {slug: gold[slug] for slug in asked})[0]))
    chance = 1 / len(voices.slugs)
    whom = cast[0].name if len(cast) == 1 else "whom they were asked of"
    return ScoreLine(
        id="voice",
        value=share.mean,
        low=share.low,
        high=share.high,
        reference=reference,
        verdict=_voice_verdict(share, reference, chance, first),
        explanation=f"{sum(own):.0f} of {len(own)} replies sound most like {whom} among {len(voices.slugs)} "
        f"personas; with the base model {sum(base):.0f}; by chance {chance * len(own):.1f}.",
    )


def _shared_questions(persona: Persona, cast: Sequence[Persona], probes: Sequence[Probe]) -> list[int]:
    """The places of the questions without a fact that were put to this one of the cast."""
    return [
        i
        for i, probe in enumerate(probes)
        if probe.kind != "fact" and (len(cast) == 1 or probe.persona == persona.slug)
    ]


def _heard(voices: Voices, others: Lines, replies: Lines) -> tuple[list[float], bool]:
    """(for each reply whether it sounds most like its own speaker, whether more than half of the speakers do so)."""
    scores = voices.scores({**others, **replies})
    hits: list[float] = []
    firsts = 0
    for slug in replies:
        column = voices.slugs.index(slug)
        hits += [float(best == column) for best in scores[slug].argmax(axis=1)]
        firsts += int(scores[slug].mean(axis=0).argmax()) == column
    return hits, 2 * firsts > len(replies)


def breaks(replies: Sequence[str], seed: int) -> ScoreLine:
    """Share of replies that speak as a language model: none passes, above 2 % fails.

    With no hit among n the upper bound is 3/n, the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    found = [float(breaks_character(reply)) for reply in replies]
    bounds = interval(found, seed) if any(found) else Interval(0.0, 0.0, min(1.0, 3 / len(found)))
    verdict = Verdict.FAIL if bounds.mean > 0.02 else Verdict.WARN if bounds.mean > 0 else Verdict.PASS
    return ScoreLine(
        id="breaks",
        value=bounds.mean,
        low=bounds.low,
        high=bounds.high,
        verdict=verdict,
        explanation=f"{sum(found):.0f} of {len(found)} replies speak as a language model.",
    )


def degeneracy(replies: Sequence[str], ended: Sequence[bool], seed: int) -> ScoreLine:
    """Share of replies that are broken as text: up to 5 % passes, above 15 % fails."""
    found = [float(broken) for broken in degenerate(replies, ended)]
    share = interval(found, seed)
    verdict = Verdict.PASS if share.mean <= 0.05 else Verdict.FAIL if share.mean > 0.15 else Verdict.WARN
    return ScoreLine(
        id="degeneracy",
        value=share.mean,
        low=share.low,
        high=share.high,
        verdict=verdict,
        explanation=f"{sum(found):.0f} of {len(found)} replies are empty, endless or repeat themselves.",
    )


def _voice_verdict(share: Interval, reference: float, chance: float, first: bool) -> Verdict:
    if not first or share.low <= chance:
        return Verdict.FAIL
    return Verdict.PASS if share.mean - chance >= 0.7 * (reference - chance) else Verdict.WARN


def _no_voice(explanation: str) -> ScoreLine:
    return ScoreLine(id="voice", value=None, verdict=Verdict.NOT_APPLICABLE, explanation=explanation)


def _names(cast: Sequence[Persona], cast_lines: Lines) -> set[str]:
    """All that would give a speaker away by name: slugs are the names of the others, in small letters."""
    told = {name for who in cast for name in (who.name, *who.aliases, *who.relationships)}
    return told | {slug.replace("_", "-") for slug in cast_lines}


def _change(gain: float) -> str:
    return f"{abs(gain):.2f} {'fewer' if gain > 0 else 'more'}"
