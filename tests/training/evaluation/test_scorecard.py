"""The whole scorecard: of a quick look, of a check, of adapters that are known to be good or bad, and its advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from benchmarks.evaluation import CAUGHT_BY, GOOD, SWAPPED, UNTRAINED, evidence_of, judged
from benchmarks.plays import Play, shipped_cast
from tests.training.evaluation.replies_made import Sides, answers, neutral, replies_of
from training.evaluation.advice import Material, material, weakest
from training.evaluation.lines import voice
from training.evaluation.probes import questions, questions_for
from training.evaluation.schema import Advice, Probe, overall
from training.evaluation.scorecard import Judged, judge, score
from training.schema import Fact, Persona, ScoreLine, Verdict

IDS = ["facts", "voice", "held_out_fit", "general", "breaks", "degeneracy", "copying"]
QUICK = [name for name in IDS if name != "general"]


def line(name: str, verdict: Verdict) -> ScoreLine:
    return ScoreLine.model_validate({"id": name, "value": 0.0, "verdict": verdict})


def by_id(lines: Sequence[ScoreLine]) -> dict[str, ScoreLine]:
    return {one.id: one for one in lines}


# --- the quick look ------------------------------------------------------------------------------------------------


def looked_at(sides: Sides, cast: Sequence[Persona], **given: Any) -> tuple[dict[str, ScoreLine], Verdict]:
    probes = questions_for(cast)
    values: dict[str, Any] = {
        "cast": cast,
        "cast_lines": sides[0],
        "gold": {},
        "probes": probes,
        "base_answers": answers(probes, [f"Sure, here is answer number {i}." for i in range(len(probes))]),
        "answers": answers(probes, [f"Sure, here is reply number {i}." for i in range(len(probes))]),
        "base_nll": [3.0, 3.2, 2.9, 3.1],
        "adapter_nll": [2.0, 2.3, 2.2, 2.0],
        "learnt": ["Something else."],
        "held_out": ["Another thing."],
        "seed": 42,
    }
    lines, verdict = score(**(values | given))
    assert [one.id for one in lines] == QUICK
    return by_id(lines), verdict


def told(persona: Persona, probes: Sequence[Probe], lines: Sequence[str]) -> list[str]:
    """The facts where they are asked about, the lines in turn elsewhere."""
    texts = {f"fact-{fact.id}": fact.text for fact in persona.facts}
    return [texts.get(probe.id, lines[i % len(lines)]) for i, probe in enumerate(probes)]


def test_own_lines_pass_and_anothers_fail(cast: dict[str, Persona], sides: Sides) -> None:
    elio = cast["elio"]
    probes = questions(elio)
    own, verdict = looked_at(sides, [elio], answers=answers(probes, told(elio, probes, sides[1]["elio"])))
    assert verdict is Verdict.PASS, own
    assert own["voice"].low > 1 / len(cast)
    assert own["voice"].reference > 0.6
    assert "most like Elio among 7 personas; with the base model" in own["voice"].explanation
    olgas, verdict = looked_at(sides, [elio], answers=answers(probes, told(elio, probes, sides[1]["olga"])))
    assert olgas["voice"].verdict is Verdict.FAIL
    assert olgas["voice"].value < own["voice"].value
    assert verdict is Verdict.FAIL


def test_fact_questions_do_not_count_for_the_voice(cast: dict[str, Persona], sides: Sides) -> None:
    probes = questions(cast["elio"])
    olga, elio = (replies_of(sides[1][who], probes) for who in ("olga", "elio"))
    only_facts = [e if probe.kind == "fact" else o for probe, e, o in zip(probes, elio, olga, strict=True)]
    with_facts, without = (
        looked_at(sides, [cast["elio"]], answers=answers(probes, said))[0]["voice"] for said in (only_facts, olga)
    )
    assert with_facts == without


def test_a_run_without_a_persona_has_neither_facts_nor_voice(sides: Sides) -> None:
    lines, verdict = looked_at(sides, [])
    assert [lines[name].verdict for name in ("facts", "voice")] == [Verdict.NOT_APPLICABLE] * 2
    assert verdict is Verdict.PASS


def test_each_of_a_whole_cast_is_heard_for_itself(cast: dict[str, Persona], sides: Sides) -> None:
    both = [cast["elio"], cast["olga"]]
    probes = questions_for(both)
    own = answers(probes, [sides[1][probe.persona][i % 15] for i, probe in enumerate(probes)])
    swapped = answers(probes, [sides[1][{"elio": "olga", "olga": "elio"}[p.persona]][0] for p in probes])
    assert looked_at(sides, both, answers=own)[0]["voice"].verdict is Verdict.PASS
    assert looked_at(sides, both, answers=swapped)[0]["voice"].verdict is Verdict.FAIL


def test_only_the_machine_of_a_cast_may_call_itself_one(cast: dict[str, Persona], sides: Sides) -> None:
    robot = cast["olga"].model_copy(update={"bio": "Olga is a robot."})
    probes = questions_for([cast["elio"], robot])
    said = {"olga": "As an AI I count, number {n}.", "elio": "I count, number {n}."}
    as_machine = answers(probes, [said[probe.persona].format(n=i) for i, probe in enumerate(probes)])
    assert looked_at(sides, [cast["elio"], robot], answers=as_machine)[0]["breaks"].verdict is Verdict.PASS
    assert looked_at(sides, [cast["elio"], cast["olga"]], answers=as_machine)[0]["breaks"].verdict is Verdict.FAIL


def test_a_loss_too_few_is_a_mistake_and_not_a_score(cast: dict[str, Persona], sides: Sides) -> None:
    with pytest.raises(ValueError, match="shorter"):
        looked_at(sides, [cast["elio"]], adapter_nll=[1.0])


def test_a_rehearsal_model_is_not_judged_by_what_it_knows(cast: dict[str, Persona], sides: Sides) -> None:
    olga = cast["olga"]
    lines, verdict = looked_at(sides, [olga], rehearsal=True)
    facts = lines["facts"]
    assert facts.verdict is Verdict.NOT_APPLICABLE
    assert facts.value == 0
    assert "not judged" in facts.explanation
    judged, _ = looked_at(sides, [olga])
    assert judged["facts"].verdict is Verdict.FAIL
    assert verdict is overall([line for line in lines.values() if line.id != "facts"])


def test_the_whole_is_as_good_as_its_worst_line() -> None:
    one, two = line("breaks", Verdict.PASS), line("voice", Verdict.NOT_APPLICABLE)
    assert overall([one, line("facts", Verdict.WARN), two]) is Verdict.WARN
    assert overall([one, line("facts", Verdict.FAIL), line("voice", Verdict.WARN)]) is Verdict.FAIL
    assert overall([two]) is Verdict.NOT_APPLICABLE


# --- a check -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours() -> Play:
    """Four of the shipped cast, which is quicker than all seven."""
    play, four = shipped_cast(), ("elio", "glordon", "lord-grigon", "olga")
    sides = ({slug: side[slug] for slug in four} for side in (play.personas, play.train, play.gold, play.said))
    return Play(*sides)


@pytest.fixture(scope="module")
def cards(ours: Play) -> dict[str, Judged]:
    return judged(ours, "glordon", "olga")


def test_a_good_adapter_passes_every_line(cards: dict[str, Judged]) -> None:
    good = cards[GOOD]
    assert {one.id: one.verdict for one in good.lines} == dict.fromkeys(IDS, Verdict.PASS)
    assert (good.verdict, good.weakest, good.advice) == (Verdict.PASS, None, Advice.NOTHING)
    assert good.sounds_like["glordon"] > 0.6


@pytest.mark.parametrize(("kind", "name"), CAUGHT_BY.items())
def test_each_bad_adapter_fails_on_the_line_that_should_catch_it(
    cards: dict[str, Judged], kind: str, name: str
) -> None:
    card = cards[kind]
    found = by_id(card.lines)
    assert found[name].verdict is Verdict.FAIL
    assert card.verdict is Verdict.FAIL
    others = {one for one, seen in found.items() if seen.verdict is Verdict.FAIL} - {name}
    # What is not the persona at all fails on facts and voice too; all else on its own line alone.
    assert others <= ({"facts", "voice"} if kind in (SWAPPED, UNTRAINED) else set())
    assert found[card.weakest or ""].verdict is Verdict.FAIL
    assert card.advice is not Advice.NOTHING


def test_another_characters_lines_fail_in_a_play_too(earnest: Play) -> None:
    people = list(earnest.personas)

    def heard(who: str, other: str) -> Verdict:
        replies = neutral(earnest.said[other][:32])
        asked = {who: range(len(replies))}
        return voice(replies, asked, human=earnest.known, names=earnest.names, seed=1).line.verdict

    for who, other in permutations(people, 2):
        assert heard(who, other) is Verdict.FAIL, (who, other)
    own = [heard(who, who) for who in people]
    assert Verdict.FAIL not in own
    assert own.count(Verdict.PASS) >= 4


def test_facts_of_a_play_are_told_from_another_persons(earnest: Play) -> None:
    good = evidence_of(earnest, "jack", "cecily")
    assert by_id(judge(good).lines)["facts"].verdict is Verdict.PASS
    cecilys = [fact.text for fact in earnest.personas["cecily"].facts]
    wrong = [
        answer.model_copy(update={"reply": cecilys[i % len(cecilys)]}) if answer.kind == "fact" else answer
        for i, answer in enumerate(good.answers)
    ]
    assert by_id(judge(replace(good, answers=wrong)).lines)["facts"].verdict is Verdict.FAIL


def test_every_answer_carries_its_scores(cards: dict[str, Judged]) -> None:
    of_all = {"breaks", "degeneracy", "copying"}
    for answer in cards[GOOD].answers:
        own = {"fact": {"facts"}, "neutral": {"voice"}, "boundary": set()}[answer.kind]
        assert set(answer.scores) == of_all | own
        assert all(score.explanation for score in answer.scores.values())
    wrong = [answer.scores["voice"] for answer in cards[SWAPPED].answers if answer.kind == "neutral"]
    assert "olga" in {score.answer for score in wrong}


def test_a_line_is_the_mean_of_its_answers_scores(cards: dict[str, Judged]) -> None:
    for card in cards.values():
        for one in card.lines:
            values = [answer.scores[one.id].value for answer in card.answers if one.id in answer.scores]
            if values:
                assert one.value == pytest.approx(
                    sum(values) / len(values) - (one.reference or 0) * (one.id == "copying")
                )


def test_a_lonely_persona_is_judged_but_for_its_voice(ours: Play) -> None:
    alone = {"glordon": ours.train["glordon"]}, {"glordon": ours.gold["glordon"]}
    card = judge(replace(evidence_of(ours, "glordon", "olga"), cast_lines=alone[0], gold=alone[1], pool={}, rivals={}))
    assert by_id(card.lines)["voice"].verdict is Verdict.NOT_APPLICABLE
    assert (card.verdict, card.sounds_like) == (Verdict.PASS, {})


def test_what_nothing_tells_of_the_persona_is_not_passed(ours: Play) -> None:
    """A sheet without facts of somebody who says nothing, spoken by somebody else's adapter."""
    found = evidence_of(ours, "glordon", "olga")
    nobody = found.persona.model_copy(update={"name": "Jane", "slug": "jane", "facts": ()})
    probes = tuple(probe for probe in found.probes if probe.kind != "fact")
    answers = tuple(answer for answer in found.answers if answer.kind != "fact")
    unknown = replace(found, persona=nobody, probes=probes, answers=answers, losses=(), base_losses=(), rivals={})
    card = judge(unknown)
    lines = by_id(card.lines)
    assert {lines[name].verdict for name in ("facts", "held_out_fit")} == {Verdict.NOT_APPLICABLE}
    assert lines["voice"].verdict is Verdict.WARN
    assert "whether this is Jane" in lines["voice"].explanation
    assert (card.verdict, card.weakest, card.advice) == (Verdict.WARN, "voice", Advice.MORE_LINES)
    known = dict.fromkeys(["jane"], ["A dull line, said by Jane."] * 40)
    card = judge(replace(unknown, cast_lines=known, gold={}, pool={}))
    assert (card.verdict, card.weakest, card.advice) == (Verdict.WARN, "facts", Advice.MORE_FACTS)


# --- advice --------------------------------------------------------------------------------------------------------

GOOD_DATA = Material(lines=80)


def advised(verdicts: dict[str, Verdict], data: Material = GOOD_DATA) -> tuple[str | None, Advice]:
    return weakest([line(name, verdicts.get(name, Verdict.PASS)) for name in IDS], data)


@pytest.mark.parametrize(
    ("name", "data", "advice"),
    [
        ("breaks", Material(lines=20, breaking=0.01), Advice.CLEAN_DATA),
        ("degeneracy", Material(lines=80, broken=0.1), Advice.CLEAN_DATA),
        ("copying", Material(lines=80, repeated=0.2), Advice.CLEAN_DATA),
        ("facts", Material(lines=20, untold=0.5), Advice.MORE_FACTS),
        ("voice", Material(lines=39), Advice.MORE_LINES),
        ("general", Material(lines=20), Advice.LOWER_LEARNING_RATE),
        ("degeneracy", GOOD_DATA, Advice.LOWER_LEARNING_RATE),
        ("held_out_fit", GOOD_DATA, Advice.HIGHER_LEARNING_RATE),
        ("copying", GOOD_DATA, Advice.FEWER_EPOCHS),
        ("voice", GOOD_DATA, Advice.MORE_EPOCHS),
        ("facts", GOOD_DATA, Advice.MORE_EPOCHS),
    ],
)
def test_data_come_first_then_the_rate_then_the_epochs(name: str, data: Material, advice: Advice) -> None:
    assert advised({name: Verdict.FAIL}, data) == (name, advice)


def test_the_weakest_line_is_the_worst_and_among_equals_the_one_with_the_first_cure() -> None:
    assert advised({}) == (None, Advice.NOTHING)
    assert advised({"facts": Verdict.WARN, "copying": Verdict.FAIL}) == ("copying", Advice.FEWER_EPOCHS)
    both = {"copying": Verdict.FAIL, "general": Verdict.FAIL}
    assert advised(both) == ("general", Advice.LOWER_LEARNING_RATE)
    assert advised(both, Material(lines=80, repeated=0.5)) == ("copying", Advice.CLEAN_DATA)
    assert advised({"voice": Verdict.WARN, "held_out_fit": Verdict.WARN}) == ("voice", Advice.HIGHER_LEARNING_RATE)


def test_what_the_data_look_like() -> None:
    fact = Fact(id="f", text="F.", question="F?", accept=("silk",))
    probes = [
        Probe(id="fact-f", kind="fact", question="F?", accept=fact.accept),
        Probe(id="fact-g", kind="fact", question="G?", accept=("lava",)),
        Probe(id="neutral-1", kind="neutral", question="N?"),
    ]
    learnt = ["Silk, always silk.", "silk, always  silk.", "As an AI, I spin.", "so so so so so so so so"]
    found = material(learnt[:2], learnt, probes)
    assert found == Material(lines=2, breaking=0.25, broken=0.25, repeated=0.25, untold=0.5)
    assert material(learnt[:2], learnt, probes, machine=True).breaking == 0
    assert material([], [], []) == Material(lines=0, untold=1.0)


def test_a_version_that_may_be_worse_is_not_told_that_all_is_well() -> None:
    for verdict, advice in ((Verdict.FAIL, Advice.MORE_LINES), (Verdict.WARN, Advice.MORE_SAMPLES)):
        lines = [line("voice", Verdict.PASS), line("version", verdict)]
        assert weakest(lines, GOOD_DATA) == ("version", advice)


def test_what_is_too_close_to_tell_hides_no_line_that_wants_work() -> None:
    lines = [line("version", Verdict.WARN), line("voice", Verdict.WARN)]
    assert weakest(lines, GOOD_DATA) == ("voice", Advice.MORE_EPOCHS)
