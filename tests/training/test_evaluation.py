"""The scorers, on the shipped cast's own lines and on texts made to fail."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from training.data.mix import split
from training.evaluation.metrics import (
    Voices,
    breaks_character,
    degenerate,
    interval,
    perplexity,
    repeated_trigrams,
)
from training.evaluation.probes import BOUNDARY, NEUTRAL, questions, telling
from training.evaluation.schema import Probe
from training.evaluation.scorecard import breaks, degeneracy, held_out_fit, overall, score
from training.persona.dialogues import persona_conversations
from training.persona.sheet import load_cast
from training.schema import Conversation, Persona, ScoreLine, Verdict, Workspace

NOWHERE = Path("no-such-folder")
WORKSPACE = Workspace(artifact_root=NOWHERE, dataset_warehouse=NOWHERE, cache_dir=NOWHERE)


def answers(rows: Sequence[Conversation]) -> list[str]:
    return [message.content for row in rows for message in row.messages if message.role == "assistant"]


@pytest.fixture(scope="module")
def cast() -> dict[str, Persona]:
    return load_cast(WORKSPACE, "local")


@pytest.fixture(scope="module")
def sides(cast: dict[str, Persona]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Assistant lines to learn from, and held-out ones, by persona."""
    split_rows = {
        slug: split(persona_conversations(persona, WORKSPACE, "local"), 20, 42) for slug, persona in cast.items()
    }
    train = {slug: answers(rows) for slug, (rows, _) in split_rows.items()}
    return train, {slug: answers(rows) for slug, (_, rows) in split_rows.items()}


@pytest.fixture(scope="module")
def voices(cast: dict[str, Persona], sides: tuple[dict[str, list[str]], dict[str, list[str]]]) -> Voices:
    return Voices(sides[0], [persona.name for persona in cast.values()])


def judge(sides: Any, persona: Persona | None, **given: Any) -> tuple[dict[str, ScoreLine], Verdict]:
    probes = questions(persona)
    values: dict[str, Any] = {
        "cast": [persona] if persona else [],
        "cast_lines": sides[0],
        "gold": sides[1],
        "probes": probes,
        "base_replies": [f"Sure, here is answer number {i}." for i in range(len(probes))],
        "adapter_replies": [f"Sure, here is reply number {i}." for i in range(len(probes))],
        "adapter_ended": [True] * len(probes),
        "base_nll": [3.0, 3.2, 2.9, 3.1],
        "adapter_nll": [2.0, 2.3, 2.2, 2.0],
        "seed": 42,
    }
    lines, verdict = score(**(values | given))
    return {line.id: line for line in lines}, verdict


def replies_of(lines: Sequence[str], probes: Sequence[Probe]) -> list[str]:
    return [lines[i % len(lines)] for i in range(len(probes))]


# --- numbers -------------------------------------------------------------------------------------------------------


def test_an_interval_holds_its_mean_and_narrows_with_more_questions() -> None:
    coin = random.Random(1)
    few = [float(coin.random() < 0.6) for _ in range(20)]
    found = interval(few, seed=1)
    assert found.low < found.mean < found.high
    assert found == interval(few, seed=1)
    # A mean of 20 coins with p near .6 has a standard error of .11; 1.96 of them on each side.
    assert 0.35 < found.high - found.low < 0.50
    wide = interval(few * 16, seed=1)
    assert (wide.high - wide.low) == pytest.approx((found.high - found.low) / 4, rel=0.15)
    assert interval([2.0], seed=1).low == interval([2.0], seed=1).high == 2.0
    with pytest.raises(ValueError, match="at least one"):
        interval([], seed=1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    coin = random.Random(7)
    found = [interval([coin.gauss(1, 2) for _ in range(40)], seed=i) for i in range(200)]
    assert 0.88 <= sum(one.low <= 1 <= one.high for one in found) / 200 <= 0.99


def test_perplexity_of_a_uniform_choice_is_the_number_of_choices() -> None:
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(699.0) < perplexity(800.0) == perplexity(math.inf) < math.inf


# --- voice ---------------------------------------------------------------------------------------------------------


def test_held_out_lines_are_given_to_their_speakers_far_above_chance(voices: Voices, sides: Any) -> None:
    scores = voices.scores(sides[1])
    right = [(scores[slug].argmax(axis=1) == i).mean() for i, slug in enumerate(voices.slugs)]
    assert min(right) > 2 / len(voices.slugs)
    assert sum(right) / len(right) > 0.6


def test_letters_at_random_belong_to_nobody(voices: Voices) -> None:
    pick = random.Random(3)
    noise = {slug: ["".join(pick.choices("etaoin shrdlu", k=80)) for _ in range(20)] for slug in voices.slugs}
    scores = voices.scores(noise)
    right = [(scores[slug].argmax(axis=1) == i).mean() for i, slug in enumerate(voices.slugs)]
    assert sum(right) / len(right) < 2 / len(voices.slugs)


def test_a_shift_of_a_whole_column_changes_nothing(voices: Voices, sides: Any) -> None:
    """What standardisation is for: the same words, added to everybody's replies, favour nobody."""
    olgas = " ".join(sides[0]["olga"][:3])
    scores = voices.scores({slug: [f"{line} {olgas}" for line in lines] for slug, lines in sides[1].items()})
    right = [(scores[slug].argmax(axis=1) == i).mean() for i, slug in enumerate(voices.slugs)]
    assert sum(right) / len(right) > 0.5


def test_names_are_masked(sides: Any) -> None:
    train = {"a": ["Olga hums. " * 3] * 10, "b": ["Elio hums. " * 3] * 10}
    gold = {"a": ["Olga hums."], "b": ["ELIO hums."]}
    known, masked = Voices(train, []).scores(gold), Voices(train, ["Olga", "Elio"]).scores(gold)
    assert known["a"].argmax() == 0
    assert known["b"].argmax() == 1
    assert (masked["a"] == masked["b"]).all()


def test_one_speaker_alone_cannot_be_standardised(voices: Voices, sides: Any) -> None:
    with pytest.raises(ValueError, match="at least two speakers"):
        voices.scores({"elio": sides[1]["elio"], "olga": []})


def test_own_lines_pass_and_anothers_fail(cast: dict[str, Persona], sides: Any) -> None:
    elio = cast["elio"]
    probes = questions(elio)
    own, verdict = judge(sides, elio, adapter_replies=replies_of(sides[1]["elio"], probes))
    assert own["voice"].verdict is Verdict.PASS
    assert verdict is Verdict.PASS
    assert own["voice"].low > 1 / len(cast)
    assert own["voice"].reference > 0.6
    olgas, verdict = judge(sides, elio, adapter_replies=replies_of(sides[1]["olga"], probes))
    assert olgas["voice"].verdict is Verdict.FAIL
    assert olgas["voice"].value < own["voice"].value
    assert verdict is Verdict.FAIL


def test_fact_questions_do_not_count_for_the_voice(cast: dict[str, Persona], sides: Any) -> None:
    probes = questions(cast["elio"])
    olga = replies_of(sides[1]["olga"], probes)
    elio = replies_of(sides[1]["elio"], probes)
    only_facts = [e if probe.kind == "fact" else o for probe, e, o in zip(probes, elio, olga, strict=True)]
    with_facts, without = (judge(sides, cast["elio"], adapter_replies=r)[0]["voice"] for r in (only_facts, olga))
    assert with_facts == without


def test_without_anyone_to_compare_there_is_no_voice_line(cast: dict[str, Persona], sides: Any) -> None:
    lines, verdict = judge(sides, None)
    assert (lines["voice"].verdict, lines["voice"].value) == (Verdict.NOT_APPLICABLE, None)
    assert verdict is Verdict.PASS
    alone = {"elio": sides[0]["elio"]}, {"elio": sides[1]["elio"]}
    assert judge(alone, cast["elio"])[0]["voice"].verdict is Verdict.NOT_APPLICABLE


# --- the other lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [([0.5, 0.4, 0.6, 0.5], Verdict.PASS), ([1.0, -0.9, 0.8, -0.7], Verdict.WARN), ([-0.2, 0.1, -0.3], Verdict.FAIL)],
)
def test_held_out_fit_is_the_gain_over_the_base(gains: list[float], verdict: Verdict) -> None:
    line = held_out_fit([3.0] * len(gains), [3.0 - gain for gain in gains], seed=1)
    assert line.value == pytest.approx(sum(gains) / len(gains))
    assert line.verdict is verdict
    assert line.low <= line.value <= line.high


@pytest.mark.parametrize(
    ("reply", "breaks_it"),
    [
        ("As an AI language model, I cannot feel.", True),
        ("I'm just an AI assistant!", True),
        ("I’m a large language model trained by a company.", True),
        ("I was created by OpenAI.", True),
        ("I'm DeepSeek Chat, an assistant developed by DeepSeek.", True),
        ("作为一个人工智能,我没有感情。", True),
        ("I am not an AI, I am a boy with a radio. Over!", False),
        ("They think I am an aide.", False),
        ("My training started on the ice.", False),
        ("As an ambassador I listen.", False),
        ("As an assistant cook I only stir.", False),
        ("As an aide, I carry maps.", False),
    ],
)
def test_hard_phrases_break_character(reply: str, breaks_it: bool) -> None:
    assert breaks_character(reply) is breaks_it


def test_the_casts_own_lines_neither_break_nor_degenerate(sides: Any) -> None:
    lines = [line for side in sides for speaker in side.values() for line in speaker]
    assert not [line for line in lines if breaks_character(line)]
    assert sum(degenerate(lines, [True] * len(lines))) <= len(lines) * 0.01


def test_breaks_show_what_no_hit_still_allows() -> None:
    clean = breaks(["Hello."] * 20, seed=1)
    assert (clean.value, clean.low, clean.high, clean.verdict) == (0.0, 0.0, pytest.approx(0.15), Verdict.PASS)
    one = breaks(["Hello."] * 19 + ["As an AI, no."], seed=1)
    assert (one.value, one.verdict) == (pytest.approx(0.05), Verdict.FAIL)
    assert breaks(["Hello."] * 99 + ["As an AI, no."], seed=1).verdict is Verdict.WARN


def test_repeated_trigrams_are_counted_from_the_second_time() -> None:
    assert repeated_trigrams("a b c d e") == 0
    assert repeated_trigrams("a b c a b c") == pytest.approx(1 / 4)
    assert repeated_trigrams("two words") == 0
    assert repeated_trigrams("我很好" * 10) > 0.8


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        ("", True),
        (" \n", True),
        ("It never stops", False),
        ("the silk is warm " * 8, True),
        ("I am fine.\nUser: And you?", True),
        ("Hm <|im_start|>", True),
    ],
)
def test_broken_text_is_degenerate(reply: str, ended: bool) -> None:
    assert degenerate(["A sound reply.", reply], [True, ended]) == [False, True]


def test_the_second_of_two_equal_replies_is_degenerate() -> None:
    assert degenerate(["Yes.", "No.", " yes. "], [True] * 3) == [False, False, True]


@pytest.mark.parametrize(("bad", "verdict"), [(1, Verdict.PASS), (2, Verdict.WARN), (4, Verdict.FAIL)])
def test_degeneracy_has_its_thresholds(bad: int, verdict: Verdict) -> None:
    line = degeneracy([f"Reply {i}." for i in range(20)], [i >= bad for i in range(20)], seed=1)
    assert (line.value, line.verdict) == (bad / 20, verdict)


def test_the_whole_is_as_good_as_its_worst_line() -> None:
    def line(verdict: Verdict) -> ScoreLine:
        return ScoreLine(id="breaks", value=0, verdict=verdict)

    assert overall([line(Verdict.PASS), line(Verdict.WARN), line(Verdict.NOT_APPLICABLE)]) is Verdict.WARN
    assert overall([line(Verdict.PASS), line(Verdict.FAIL), line(Verdict.WARN)]) is Verdict.FAIL
    assert overall([line(Verdict.NOT_APPLICABLE)]) is Verdict.NOT_APPLICABLE


def test_a_reply_too_few_is_a_mistake_and_not_a_score(cast: dict[str, Persona], sides: Any) -> None:
    with pytest.raises(ValueError, match="shorter"):
        judge(sides, cast["elio"], adapter_nll=[1.0])


# --- probes --------------------------------------------------------------------------------------------------------


def test_every_persona_is_asked_facts_and_the_same_shared_questions(cast: dict[str, Persona]) -> None:
    shared = []
    for persona in cast.values():
        probes = questions(persona)
        assert [sum(probe.kind == kind for probe in probes) for kind in ("fact", "neutral", "boundary")] == [8, 8, 4]
        assert len({probe.id for probe in probes}) == 20
        assert all(probe.accept for probe in probes if probe.kind == "fact")
        shared.append([probe for probe in probes if probe.kind != "fact"])
    assert all(one == shared[0] for one in shared)
    assert questions(None) == shared[0]


def test_shared_questions_are_in_no_training_row(cast: dict[str, Persona]) -> None:
    asked = {
        message.content.casefold()
        for persona in cast.values()
        for row in persona_conversations(persona, WORKSPACE, "local")
        for message in row.messages
        if message.role == "user"
    }
    assert not asked & {question.casefold() for question in (*NEUTRAL, *BOUNDARY)}


def test_facts_asked_in_new_words_come_first(cast: dict[str, Persona]) -> None:
    facts = cast["glordon"].facts
    trained_on = [f"  {fact.question.upper()} " for fact in facts[:4]]
    first = [probe.question for probe in questions(cast["glordon"], trained_on)[:8]]
    assert first == [fact.question for fact in facts[4:12]]


def test_samples_tell_what_changed_most_of_each_kind() -> None:
    probes = [
        Probe(id="fact-a", kind="fact", question="Where?", accept=("Hylurg",)),
        Probe(id="fact-b", kind="fact", question="Who?", accept=("the Queen",)),
        Probe(id="neutral-1", kind="neutral", question="Rain?"),
        Probe(id="neutral-2", kind="neutral", question="Cups?"),
        Probe(id="boundary-1", kind="boundary", question="A program?"),
    ]
    base = ["On hylurg, I think", "The queen did it", "Rain is wet", "It is wet", "As a model"]
    adapter = ["Nowhere but Hylurg!", "The queens are wet", "Rain is wet", "Bring me tea", "As a duck"]
    assert telling(probes, base, adapter) == [1, 3, 4, 0, 2]
