"""The scorecard of a finished adapter: four lines, each with its verdict, and one verdict over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.evaluation.metrics import Interval, Scores, Voices, breaks_character, degenerate, interval
from training.evaluation.probes import Probe
from training.schema import Persona, ScoreLine, Verdict

Lines = Mapping[str, Sequence[str]]


def score(
    *,
    persona: Persona | None,
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

    `persona` is None for a dialogue run. `cast_lines` and `gold` are assistant lines by persona's slug: training rows,
    and rows held out from training. The replies answer `probes`, one each in their order; `adapter_ended` says which
    replies stopped by themselves rather than at the token limit. The NLLs are nats per assistant token, one number
    for each held-out conversation in the same order.
    """
    lines = (
        held_out_fit(base_nll, adapter_nll, seed),
        voice(
            persona=persona,
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
    persona: Persona | None,
    cast_lines: Lines,
    gold: Lines,
    probes: Sequence[Probe],
    base_replies: Sequence[str],
    adapter_replies: Sequence[str],
    seed: int,
) -> ScoreLine:
    """Share of the replies to shared questions that the voice classifier gives to the persona.

    Fact questions are left out, since their subject gives the speaker away. The reference is the share that it gives
    right of the persona's own held-out lines. With c = 1/K for K personas it passes where
    (share − c) / (reference − c) ≥ 0.7, the replies taken together are nearest to the persona and the interval lies
    above c; it fails where they are nearest to another or the interval reaches down to c. The other personas' held-out
    lines are the balance that standardisation needs.
    """
    if persona is None:
        return _no_voice("A run without a persona has no voice to compare.")
    others = {slug: lines for slug, lines in gold.items() if slug != persona.slug and slug in cast_lines and lines}
    own_gold = gold.get(persona.slug, ())
    if not others or not own_gold or persona.slug not in cast_lines:
        return _no_voice("Comparing voices needs held-out lines of this persona and of at least one other.")
    shared = [i for i, probe in enumerate(probes) if probe.kind != "fact"]
    voices = Voices(cast_lines, _names(persona, cast_lines))
    column = voices.slugs.index(persona.slug)

    def hits(replies: Sequence[str]) -> tuple[list[float], Scores]:
        scores = voices.scores({**others, persona.slug: replies})[persona.slug]
        return [float(best == column) for best in scores.argmax(axis=1)], scores

    own, scores = hits([adapter_replies[i] for i in shared])
    base, _ = hits([base_replies[i] for i in shared])
    share = interval(own, seed)
    reference = float(np.mean(hits(own_gold)[0]))
    chance = 1 / len(voices.slugs)
    first = int(scores.mean(axis=0).argmax()) == column
    return ScoreLine(
        id="voice",
        value=share.mean,
        low=share.low,
        high=share.high,
        reference=reference,
        verdict=_voice_verdict(share, reference, chance, first),
        explanation=f"{sum(own):.0f} of {len(own)} replies sound most like {persona.name} among {len(voices.slugs)} "
        f"personas; with the base model {sum(base):.0f}; by chance {chance * len(own):.1f}.",
    )


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


def _names(persona: Persona, cast_lines: Lines) -> set[str]:
    """All that would give a speaker away by name: slugs are the names of the others, in small letters."""
    return {persona.name, *persona.aliases, *persona.relationships, *(slug.replace("_", "-") for slug in cast_lines)}


def _change(gain: float) -> str:
    return f"{abs(gain):.2f} {'fewer' if gain > 0 else 'more'}"
