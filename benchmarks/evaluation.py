"""How far the instruments of evaluation can be believed.

    .venv/bin/python -m benchmarks.evaluation [--real FOLDER …] [--only coverage gate …]

Prints Markdown tables. Those of a play need its folder, with a `dialogue.jsonl` for each person, and a `profile.md` and
`facts.json` for the table of facts; `overtraining` and `trained` train for some minutes, on a rehearsal model that they
make where --cache has none.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import intervals, votes
from benchmarks.intervals import table
from benchmarks.plays import Play, read_play, shipped_cast
from training.evaluation.lines import voice
from training.evaluation.probes import check_probes
from training.evaluation.schema import Probe, ProbeAnswer
from training.evaluation.scorecard import Evidence, Judged, judge
from training.evaluation.texts import found_words
from training.evaluation.voice import Voices, hear, separation
from training.places import SHIPPED
from training.schema import Persona, Verdict

CACHE = Path.home() / ".cache" / "understudy"
UNSEEN_SPLITS = range(100, 106)
"""By which the voice line's rule was not chosen; on others of the same plays it was."""
SIGNS = {Verdict.PASS: "pass", Verdict.WARN: "warn", Verdict.FAIL: "**fail**", Verdict.NOT_APPLICABLE: "–"}


@dataclass(frozen=True)
class Given:
    """Where the tables find what they are of: plays' folders, and a folder for rehearsal models."""

    real: Sequence[Path]
    cache: Path


# --- voices --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """Shares of lines, and of so many lines together, that are given to who said them."""

    single: float
    pooled: float
    chance: float


def attribution(play: Play, *, pooled: int = 20, draws: int = 50, parts: int = 4) -> Attribution:
    """How often lines are given to their speaker, one by one and so many together.

    Each quarter of everybody's lines is judged by what the other three are known by; they alone make the classifier
    and the yardstick.
    """
    lines = {who: [*play.known[who], *play.said[who]] for who in play.personas}
    single: list[bool] = []
    together: list[bool] = []
    for part in range(parts):
        others = {who: [line for i, line in enumerate(said) if i % parts != part] for who, said in lines.items()}
        judged = {who: said[part::parts] for who, said in lines.items()}
        for heard in hear(Voices(others, play.names), judged):
            single += heard.right
            drawn = random.Random(f"{part} {heard.speaker}")
            for _ in range(draws):
                some = drawn.sample(range(len(heard.scores)), pooled)
                together.append(replace(heard, scores=heard.scores[some]).pooled == heard.speaker)
    return Attribution(float(np.mean(single)), float(np.mean(together)), 1 / len(play.personas))


def attributions(given: Given) -> str:
    """How often human lines are given to who said them, by what lines used nowhere else are known by."""
    rows = []
    for name, plays in _casts(given).items():
        found = [attribution(play) for play in plays]
        figures = [np.mean([getattr(one, part) for one in found]) for part in ("chance", "single", "pooled")]
        least = min(one.pooled for one in found)
        rows.append([name, 4 * len(plays), *(f"{figure:.2f}" for figure in figures), f"{least:.2f}"])
    return table(["lines of", "splits", "chance", "one line", "20 together", "in the worst four splits"], rows)


def among_themselves(voices: Voices, who: str, replies: Sequence[str], pool: dict[str, list[str]]) -> list[bool]:
    """Whether each reply is given to `who`, columns standardised over the replies themselves, as is often done."""
    raw = {slug: voices.log_probabilities(lines) for slug, lines in {**pool, who: replies}.items()}
    centre = np.mean([found.mean(axis=0) for found in raw.values()], axis=0)
    spread = np.sqrt(np.mean([((found - centre) ** 2).mean(axis=0) for found in raw.values()], axis=0))
    return [bool(best == voices.slugs.index(who)) for best in ((raw[who] - centre) / spread).argmax(axis=1)]


def yardsticks(given: Given) -> str:
    """How often replies with and without a persona's voice are given to it, by what they are measured against."""
    play, rows = shipped_cast(), []
    for count in (2, 3, 7):
        people = sorted(play.personas)[-count:]
        train, gold, said = ({slug: side[slug] for slug in people} for side in (play.train, play.gold, play.said))
        voices = Voices(train, play.names)
        kinds: dict[str, list[tuple[str, Sequence[str]]]] = {
            "own lines": [(who, said[who]) for who in people],
            "another's lines": [(who, gold[other]) for who in people for other in people if other != who],
            "a polite assistant's": [(who, _assistant()[:24]) for who in people],
        }
        for kind, cases in kinds.items():
            here: list[bool] = []
            usual: list[bool] = []
            for who, replies in cases:
                pool = {slug: said[slug] for slug in people if slug != who}
                here += hear(voices, {who: replies}, pool)[0].right
                usual += among_themselves(voices, who, replies, pool)
            rows.append([count, kind, *(f"{np.mean(found):.2f}" for found in (here, usual)), f"{1 / count:.2f}"])
    return table(
        ["personas", "replies", "against people's own lines (here)", "among the replies themselves", "chance"], rows
    )


def separations(given: Given, questions: int = 40) -> str:
    """How well answers of several personas are told apart, beside answers of one persona alone."""
    rows = []
    for name, (play, *_) in _casts(given).items():
        voices = Voices(play.train, play.names)
        drawn = random.Random(3)
        for count in (2, 3, 5):
            others, own = [], []
            for _ in range(questions):
                who = drawn.sample(sorted(play.personas), count)
                others.append(separation(voices, {one: drawn.choice(play.said[one]) for one in who}))
                own.append(separation(voices, dict(zip(who, drawn.sample(play.said[who[0]], count), strict=True))))
            right, apart, alone = (
                np.mean([getattr(one, part) for one in found])
                for found, part in ((others, "right"), (others, "distance"), (own, "distance"))
            )
            rows.append([name, count, f"{1 / count:.2f}", f"{right:.2f}", f"{apart:.2f}", f"{alone:.2f}"])
    head = ["lines of", "answers", "chance", "given to the right one", "mean distance", "distance, one persona's lines"]
    return table(head, rows)


def strangers(given: Given) -> str:
    """What the voice line says of people's own lines, and of everybody else's in their place."""
    rows = []
    for name, plays in _casts(given, UNSEEN_SPLITS).items():
        for most in (16, 32):
            own, others = Counter[Verdict](), Counter[Verdict]()
            for play in plays:
                for who, other in product(play.personas, repeat=2):
                    (own if who == other else others)[_heard(play, who, other, most)] += 1
            told = (", ".join(f"{SIGNS[one]} {seen[one]}" for one in SIGNS if seen[one]) for seen in (own, others))
            rows.append([name, len(plays), most, *told])
    return table(["lines of", "splits", "lines at most", "own lines", "another's lines"], rows)


def _heard(play: Play, who: str, other: str, most: int) -> Verdict:
    """The voice line of `who`, where `other` says the lines, none of which is held against itself."""
    said = play.said[other][:most]
    probes = [Probe(id=f"neutral-{i}", kind="neutral", question=f"Question {i}?") for i in range(len(said))]
    answers = _answers(probes, None, said)
    return voice(answers, {who: range(len(said))}, human=play.known, names=play.names, seed=42).line.verdict


def _casts(given: Given, splits: range = range(4)) -> dict[str, list[Play]]:
    real = {folder.name: [read_play(folder, seed=seed) for seed in splits] for folder in given.real}
    return {**real, "the shipped cast": [shipped_cast()]}


# --- facts ---------------------------------------------------------------------------------------------------------


def facts(given: Given) -> str:
    """How often keywords tell a right answer from one to another question, or from another persona's to the same."""
    rows = []
    for name, (play, *_) in _casts(given).items():
        asked = [fact for persona in play.personas.values() for fact in persona.facts if fact.accept]
        if not asked:
            continue
        right = [bool(found_words(fact.text, fact.accept)) for fact in asked]
        clean = [not found_words(fact.text, fact.reject) for fact in asked]
        other = [
            not found_words(wrong.text, fact.accept)
            for persona in play.personas.values()
            for fact in persona.facts
            for wrong in persona.facts
            if fact.accept and wrong.id != fact.id
        ]
        figures = [f"{np.mean(found):.2f} of {len(found)}" for found in (right, clean, other)]
        rows.append([name, *figures])
    head = ["facts of", "own text has an accept word", "and no reject word", "other facts have no accept word"]
    return table(head, rows)


# --- adapters that are known ---------------------------------------------------------------------------------------

GOOD, SWAPPED, UNTRAINED = "the persona's own held-out lines", "another persona's adapter", "an untrained adapter"
OVERTRAINED, COPIER = "over-trained: general loss as after 30 epochs", "says its training lines"
BREAKER, BABBLER = "one reply in eight speaks as a language model", "one reply in three repeats itself"
CAUGHT_BY = {
    SWAPPED: "voice",
    UNTRAINED: "held_out_fit",
    OVERTRAINED: "general",
    COPIER: "copying",
    BREAKER: "breaks",
    BABBLER: "degeneracy",
}
"""The line that should catch each."""


def evidence_of(play: Play, who: str, other: str, seed: int = 42) -> Evidence:
    """A check of a good adapter: it tells its facts, and says to all else what the persona said in held-out lines."""
    persona = play.personas[who]
    probes = check_probes(persona)
    held_out = len(play.gold[who])
    draw = np.random.default_rng(seed)
    base = draw.normal(3.2, 0.3, held_out)
    own = base - draw.normal(0.18, 0.15, held_out)
    general = draw.normal(2.9, 0.3, 60)
    return Evidence(
        persona=persona,
        names=play.names,
        cast_lines=play.train,
        gold=play.gold,
        pool={slug: lines for slug, lines in play.said.items() if slug != who},
        probes=probes,
        answers=_answers(probes, persona, play.said[who]),
        losses=own.tolist(),
        base_losses=base.tolist(),
        rivals={other: (base - draw.normal(0.02, 0.1, held_out)).tolist()},
        general=(general + draw.normal(0.03, 0.05, 60)).tolist(),
        general_base=general.tolist(),
        learnt=play.train[who],
        seed=seed,
    )


def spoilt(kind: str, good: Evidence, play: Play, other: str) -> Evidence:
    """The same check, had the adapter been such a one."""
    probes, who = good.probes, good.persona
    base, general = np.asarray(good.base_losses), np.asarray(good.general_base)
    match kind:
        case "another persona's adapter":
            # Questions of fact come first, and do not count for the voice, which is told by lines used nowhere else.
            facts = sum(probe.kind == "fact" for probe in probes)
            lines = [*play.gold[other][:facts], *play.said[other]]
            answers = _answers(probes, play.personas[other], lines)
            return replace(good, answers=answers, losses=good.rivals[other], rivals={who.slug: good.losses})
        case "an untrained adapter":
            return replace(good, answers=_answers(probes, None, _assistant()), losses=good.base_losses)
        case "over-trained: general loss as after 30 epochs":
            return replace(good, losses=(base - 0.15).tolist(), general=(general + 1.16).tolist())
        case "says its training lines":
            long = [line for line in play.train[who.slug] if len(line.split()) >= 12]
            return replace(good, answers=_answers(probes, who, long), losses=(base - 0.15).tolist())
        case "one reply in eight speaks as a language model":
            return _every(8, good, "As an AI language model, I have no {n} of my own.")
        case _:
            return _every(3, good, "again and {n} again and {n} again and {n} again and {n} again")


def _every(number: int, good: Evidence, text: str) -> Evidence:
    answers = [
        answer.model_copy(update={"reply": text.format(n=i)}) if i % number == 0 else answer
        for i, answer in enumerate(good.answers)
    ]
    return replace(good, answers=answers)


def _answers(probes: Sequence[Probe], persona: Persona | None, lines: Sequence[str]) -> list[ProbeAnswer]:
    """The facts' own words to questions of fact, and to each other question the next of the lines."""
    told = {f"fact-{fact.id}": fact.text for fact in (persona.facts if persona else ())}
    rest = [probe for probe in probes if probe.id not in told]
    said = told | {probe.id: lines[i % len(lines)] for i, probe in enumerate(rest)}
    return [
        ProbeAnswer(
            probe=probe.id,
            kind=probe.kind,
            question=probe.question,
            sample=0,
            seed=0,
            reply=said[probe.id],
            tokens=len(said[probe.id].split()),
            ended=True,
        )
        for probe in probes
    ]


def _assistant() -> list[str]:
    """Replies of a polite assistant."""
    rows = (SHIPPED / "data" / "dialogues" / "general.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["messages"][-1]["content"] for row in rows]


def judged(play: Play, who: str, other: str) -> dict[str, Judged]:
    """The scorecards of a good adapter and of each kind of bad one."""
    good = evidence_of(play, who, other)
    return {GOOD: judge(good)} | {kind: judge(spoilt(kind, good, play, other)) for kind in CAUGHT_BY}


def adapters(given: Given) -> str:
    """What the scorecard says of adapters that are known to be good or bad."""
    play = shipped_cast()
    lines = ("facts", "voice", "held_out_fit", "general", "breaks", "degeneracy", "copying")
    rows = []
    for who, other in (("glordon", "olga"), ("elio", "caleb")):
        for kind, card in judged(play, who, other).items():
            verdicts = {line.id: SIGNS[line.verdict] for line in card.lines}
            rows.append([who, kind, *(verdicts[line] for line in lines), card.advice.value.replace("_", " ")])
    return table(["persona", "adapter", *(line.replace("_", " ") for line in lines), "advice"], rows)


# --- all -----------------------------------------------------------------------------------------------------------


def overtraining(given: Given) -> str:
    """What 30 epochs do to a real adapter."""
    # Here, since it brings torch along, which no other table needs.
    from benchmarks.overtraining import table_of

    return table_of(given.cache)


def trained(given: Given) -> str:
    """What the scorecard says of adapters that were really trained, well or badly."""
    # As above.
    from benchmarks.trained import table_of

    return table_of(given.cache)


def shares(given: Given) -> str:
    """How often 95 % intervals of shares hold the truth."""
    return intervals.coverage()


def losses(given: Given) -> str:
    """How often 95 % intervals of differences of losses hold the truth, over so many conversations."""
    return intervals.loss_coverage()


def differences(given: Given) -> str:
    """How often 95 % intervals of differences hold the truth: of two versions, and of replies and held-out lines."""
    return intervals.difference_coverage()


def gates(given: Given) -> str:
    """How often the version gate says what, where the truth is known."""
    return intervals.gates()


def voting(given: Given) -> str:
    """How far a blind vote can be believed."""
    return votes.tables()


TABLES: dict[str, Callable[[Given], str]] = {
    "coverage": shares,
    "losses": losses,
    "differences": differences,
    "gate": gates,
    "attribution": attributions,
    "strangers": strangers,
    "yardstick": yardsticks,
    "separation": separations,
    "facts": facts,
    "adapters": adapters,
    "votes": voting,
    "overtraining": overtraining,
    "trained": trained,
}
"""Each table by its name; a new one is a function here."""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="Plays' folders.")
    parser.add_argument("--cache", type=Path, default=CACHE, help="Where rehearsal models are kept.")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    asked = parser.parse_args()
    for name in asked.only:
        print(f"## {(TABLES[name].__doc__ or name).rstrip('.')}\n", flush=True)
        print(TABLES[name](Given(asked.real, asked.cache)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
