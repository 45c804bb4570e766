"""What to do next about a scorecard: first about the data, then about the learning rate, then about the epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.fingerprints import plain
from training.evaluation.lines import FEW_LINES
from training.evaluation.schema import Advice, Probe
from training.evaluation.texts import break_of_character, broken, found_words
from training.schema import ScoreLine, Verdict

ORDER = tuple(Advice)
BAD = (Verdict.FAIL, Verdict.WARN)


@dataclass(frozen=True)
class Material:
    """What the data that an adapter learnt from looks like, as shares from 0 to 1.

    lines: how many lines the persona says in it. breaking: lines that speak as a language model. broken: lines that are
    broken as text. repeated: lines that stand there before. untold: facts asked about of which no line says a keyword;
    all, where there is no fact to ask about.
    """

    lines: int
    breaking: float = 0.0
    broken: float = 0.0
    repeated: float = 0.0
    untold: float = 0.0


def material(own: Sequence[str], learnt: Sequence[str], probes: Sequence[Probe], machine: bool = False) -> Material:
    """The data of a persona: `own` are its lines, `learnt` all lines that the adapter was trained on."""
    facts = [probe for probe in probes if probe.kind == "fact" and probe.accept]
    told = "\n".join(learnt)
    count = max(1, len(learnt))
    return Material(
        lines=len(own),
        breaking=sum(bool(break_of_character(line, machine)) for line in learnt) / count,
        broken=sum(bool(broken(line)) for line in learnt) / count,
        repeated=1 - len(Counter(map(plain, learnt))) / count if learnt else 0.0,
        untold=sum(not found_words(told, fact.accept) for fact in facts) / len(facts) if facts else 1.0,
    )


def weakest(lines: Sequence[ScoreLine], data: Material) -> tuple[str | None, Advice]:
    """(the line that most wants work, the one thing to do about it); (None, nothing) where all is well.

    Of the lines with the worst verdict it is the one whose cure comes first: data, learning rate, epochs.
    """
    verdicts: dict[str, Verdict] = {line.id: line.verdict for line in lines}
    bad = [(BAD.index(line.verdict), _cure(line.id, verdicts, data), line.id) for line in lines if line.verdict in BAD]
    if not bad:
        return None, Advice.NOTHING
    _, cure, name = min(bad, key=lambda found: (found[0], ORDER.index(found[1])))
    return name, cure


def _cure(name: str, verdicts: Mapping[str, Verdict], data: Material) -> Advice:
    """What makes one line better."""
    if name == "version":
        # Too close to tell is no fault of the data: more replies, or people, tell more.
        return Advice.MORE_LINES if verdicts[name] is Verdict.FAIL else Advice.MORE_SAMPLES
    if advice := _about_data(name, data):
        return advice
    learnt = verdicts.get("held_out_fit") not in BAD
    # What has learnt too hard forgets other things, or loses hold of its sentences.
    if verdicts.get("general") in BAD or (name == "degeneracy" and learnt):
        return Advice.LOWER_LEARNING_RATE
    if name == "copying":
        return Advice.FEWER_EPOCHS
    return Advice.MORE_EPOCHS if learnt else Advice.HIGHER_LEARNING_RATE


def _about_data(name: str, data: Material) -> Advice | None:
    spoilt = {"breaks": data.breaking > 0, "degeneracy": data.broken > 0.05, "copying": data.repeated > 0.1}
    if spoilt.get(name):
        return Advice.CLEAN_DATA
    if name == "facts" and data.untold > 0.3:
        return Advice.MORE_FACTS
    # Of what it could do before, an adapter forgets no less for having more lines to learn.
    return Advice.MORE_LINES if data.lines < FEW_LINES and name != "general" else None
