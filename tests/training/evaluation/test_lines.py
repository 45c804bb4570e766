"""Each line of the scorecard: its formula and its thresholds."""

from __future__ import annotations

import pytest

from tests.training.evaluation.replies_made import Sides, answer, answers, neutral
from training.evaluation.lines import Scored, breaks, copying, degeneracy, facts, general, held_out_fit, voice
from training.evaluation.schema import Probe
from training.schema import Verdict

HOME = Probe(id="fact-home", kind="fact", question="Where from?", accept=("Hylurg", "lava"), reject=("Earth",))


NOBODY = "No other persona's adapter was measured on them, so none is compared with."


def heard(sides: Sides, replies: list[str], who: str = "elio", **given: object) -> Scored:
    said = neutral(replies)
    values = {"human": sides[0], "names": ("Elio",), "seed": 1}
    return voice(said, {who: range(len(said))}, **(values | given))


# --- facts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "value", "why"),
    [
        ("Hylurg, where the LAVA is warm.", 1.0, "shows the fact"),
        ("Not Hylurg but Earth.", 0.0, "rules out"),
        ("Nowhere.", 0.0, "none of the words"),
        ("From silk nurseries, above the lake of fire!", 0.0, "review"),
    ],
)
def test_a_fact_is_told_by_an_accept_word_and_no_reject_word(reply: str, value: float, why: str) -> None:
    found = facts([answer(HOME, reply)], [HOME], {"fact-home": "From silk nurseries above the lake of fire."}, seed=1)
    assert found.scores[0].value == value
    assert why in found.scores[0].explanation
    assert ("1 to review" in found.line.explanation) is (why == "review")


def asked_facts(right: int, of: int, samples: int = 3) -> Scored:
    probes = [Probe(id=f"fact-{i}", kind="fact", question=f"{i}?", accept=("yes",)) for i in range(of)]
    said = ["yes" if i < right else "no" for i in range(of)] * samples
    return facts(answers(probes, said), probes, {}, seed=1)


@pytest.mark.parametrize(
    ("right", "of", "verdict"),
    [
        (16, 16, Verdict.PASS),
        (12, 16, Verdict.PASS),
        (5, 7, Verdict.WARN),
        (9, 16, Verdict.WARN),
        (7, 16, Verdict.FAIL),
    ],
)
def test_facts_pass_where_the_lower_bound_is_high_too(right: int, of: int, verdict: Verdict) -> None:
    line = asked_facts(right, of).line
    assert (line.value, line.verdict) == (pytest.approx(right / of), verdict)


def test_samples_make_no_fact_line_surer() -> None:
    once, often = asked_facts(10, 16, samples=1).line, asked_facts(10, 16, samples=8).line
    assert (once.low, once.high) == (often.low, often.high)


def test_without_facts_to_ask_about_there_is_no_line() -> None:
    silent = HOME.model_copy(update={"accept": ()})
    found = facts([answer(silent, "Hylurg")], [silent], {}, seed=1)
    assert (found.line.verdict, found.line.value, found.scores) == (Verdict.NOT_APPLICABLE, None, {})


# --- voice ---------------------------------------------------------------------------------------------------------


def test_own_lines_pass_and_anothers_fail(sides: Sides) -> None:
    own = heard(sides, sides[1]["elio"])
    assert own.line.verdict is Verdict.PASS
    assert min(own.line.reference, own.line.value) > 0.6
    assert own.sounds_like["elio"] == own.line.value
    assert sum(own.sounds_like.values()) == pytest.approx(1)
    other = heard(sides, sides[1]["olga"])
    assert other.line.verdict is Verdict.FAIL
    assert other.sounds_like["olga"] > 0.6
    assert "taken together most like olga" in other.line.explanation
    assert {score.answer for score in other.scores.values()} <= set(sides[0])


def test_a_voice_half_there_is_neither(sides: Sides) -> None:
    pairs = zip(sides[1]["elio"], sides[1]["olga"], strict=False)
    mixed = [own if i % 2 else other for i, (own, other) in enumerate(pairs)]
    line = heard(sides, mixed).line
    assert line.value < 1 / 7 + 0.7 * (line.reference - 1 / 7)
    assert line.verdict in (Verdict.WARN, Verdict.FAIL)


def test_without_anyone_to_compare_there_is_no_voice_line(sides: Sides) -> None:
    elio, olga = ({slug: sides[0][slug]} for slug in ("elio", "olga"))
    for human in (elio, olga, {**elio, "olga": ["Hm."]}, {**olga, "elio": []}):
        line = heard(sides, sides[1]["elio"], human=human).line
        assert (line.verdict, line.value) == (Verdict.NOT_APPLICABLE, None)


def test_few_lines_to_learn_from_are_told(sides: Sides) -> None:
    few = {slug: lines[:39] if slug == "elio" else lines for slug, lines in sides[0].items()}
    assert "fewer than 40 lines: elio" in heard(sides, sides[1]["elio"], human=few).line.explanation
    assert "fewer than" not in heard(sides, sides[1]["elio"]).line.explanation


# --- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [([0.5, 0.4, 0.6, 0.5], Verdict.PASS), ([1.0, -0.9, 0.8, -0.7], Verdict.WARN), ([-0.2, 0.1, -0.3], Verdict.FAIL)],
)
def test_held_out_fit_is_the_gain_over_the_base(gains: list[float], verdict: Verdict) -> None:
    line = held_out_fit([3.0] * len(gains), [3.0 - gain for gain in gains], seed=1)
    assert line.value == pytest.approx(sum(gains) / len(gains))
    assert line.verdict is verdict
    assert line.low <= line.value <= line.high


@pytest.mark.parametrize(("rival", "verdict"), [(2.6, Verdict.PASS), (2.5, Verdict.WARN), (2.4, Verdict.WARN)])
def test_held_out_fit_must_be_the_lowest_in_its_column(rival: float, verdict: Verdict) -> None:
    line = held_out_fit([3.0] * 4, [2.5] * 4, seed=1, rivals={"olga v2": [rival] * 4, "elio v1": [2.9] * 4})
    assert line.verdict is verdict
    assert ("olga v2 fits them no worse" in line.explanation) is (verdict is Verdict.WARN)
    assert "none is compared with" not in line.explanation


def test_held_out_fit_says_where_there_was_nobody_to_compare_with() -> None:
    alone, unasked = (held_out_fit([3.0] * 4, [2.5] * 4, seed=1, rivals=rivals) for rivals in ({}, None))
    assert alone.verdict is Verdict.PASS
    assert alone.explanation == f"{unasked.explanation} {NOBODY}"


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [(-0.1, Verdict.PASS), (0.09, Verdict.PASS), (0.2, Verdict.WARN), (0.3, Verdict.FAIL)],
)
def test_general_ability_has_its_thresholds(loss: float, verdict: Verdict) -> None:
    line = general([2.0, 2.5, 3.0], [2.0 + loss, 2.5 + loss, 3.0 + loss], seed=1)
    assert (line.value, line.verdict) == (pytest.approx(loss), verdict)


def test_nothing_measured_is_not_judged() -> None:
    assert held_out_fit([], [], seed=1).verdict is Verdict.NOT_APPLICABLE
    assert general([], [], seed=1).verdict is Verdict.NOT_APPLICABLE
    with pytest.raises(ValueError, match="longer"):
        general([1.0], [1.0, 2.0], seed=1)


# --- texts ---------------------------------------------------------------------------------------------------------


def test_breaks_show_what_no_hit_still_allows() -> None:
    clean = breaks(neutral([f"Hello {i}." for i in range(120)], questions=40), seed=1)
    assert (clean.line.value, clean.line.low, clean.line.high) == (0.0, 0.0, pytest.approx(0.025))
    assert "≤ 2.5% at 95 %" in clean.line.explanation
    assert clean.line.verdict is Verdict.PASS
    one = breaks(neutral(["Hello."] * 19 + ["As an AI, no."]), seed=1)
    assert (one.line.value, one.line.verdict) == (pytest.approx(0.05), Verdict.FAIL)
    assert one.scores[19].answer == "As an AI"
    assert breaks(neutral(["Hello."] * 99 + ["As an AI, no."]), seed=1).line.verdict is Verdict.WARN


def test_a_machine_may_say_so() -> None:
    said = neutral(["As an AI I see every deck."] * 10)
    assert breaks(said, seed=1).line.verdict is Verdict.FAIL
    assert breaks(said, seed=1, machines={answer.probe for answer in said}).line.verdict is Verdict.PASS


@pytest.mark.parametrize(("bad", "verdict"), [(1, Verdict.PASS), (2, Verdict.WARN), (4, Verdict.FAIL)])
def test_degeneracy_has_its_thresholds(bad: int, verdict: Verdict) -> None:
    said = neutral([f"Reply {i}." if i >= bad else "" for i in range(20)])
    found = degeneracy(said, seed=1)
    assert (found.line.value, found.line.verdict) == (bad / 20, verdict)
    assert found.scores[0].explanation == "says nothing"


WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@pytest.mark.parametrize(
    ("copied", "human", "verdict"),
    [(0, 0, Verdict.PASS), (1, 0, Verdict.PASS), (4, 2, Verdict.WARN), (6, 2, Verdict.FAIL), (6, 5, Verdict.PASS)],
)
def test_copying_is_more_than_held_out_lines_do(copied: int, human: int, verdict: Verdict) -> None:
    own, fresh = " ".join(WORDS), " ".join(reversed(WORDS))
    said = neutral([f"{own} {i}" if i < copied else f"{fresh} {i}" for i in range(20)])
    gold = [f"{own} {i}" if i < human else f"{fresh} {i}" for i in range(20)]
    line = copying(said, [own], gold, seed=1).line
    assert (line.value, line.reference) == (pytest.approx((copied - human) / 20), human / 20)
    assert line.verdict is verdict
    assert line.low <= line.value <= line.high


def test_what_may_be_copied_from_lines_that_nobody_knows_does_not_pass() -> None:
    own, fresh, doubt = " ".join(WORDS), " ".join(reversed(WORDS)), "The data has changed."
    clean = copying(neutral([f"{fresh} {i}" for i in range(20)]), [own], [fresh], seed=1, doubt=doubt).line
    assert (clean.verdict, clean.value) == (Verdict.NOT_APPLICABLE, 0)
    assert clean.explanation.endswith(doubt)
    copied = copying(neutral([own] * 20), [own], [fresh], seed=1, doubt=doubt).line
    assert copied.verdict is Verdict.FAIL
    assert copying(neutral([own]), [], [fresh], seed=1, doubt=doubt).line.explanation == doubt


def test_without_lines_to_compare_copying_is_not_judged() -> None:
    assert copying(neutral(["Hello."]), [], ["Hi."], seed=1).line.verdict is Verdict.NOT_APPLICABLE
    assert copying(neutral(["Hello."]), ["Hi."], [], seed=1).line.verdict is Verdict.NOT_APPLICABLE
