"""What a check does besides its forty questions: long talks, general questions, and likeness to held-out lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.training.conftest import Finished
from tests.training.evaluation.checks_made import GLORDON, House, house_at
from training.evaluation import general, shelved
from training.evaluation.drift import ROUNDS, SILENCE, TALKS, TURNS, drift, replies_drawn
from training.evaluation.probes import check_probes
from training.evaluation.schema import Suite
from training.evaluation.scorecard import Evidence
from training.evaluation.unseen import find_run, unseen
from training.inference import Answer
from training.persona.sheet import find_persona, load_cast
from training.schema import Message, Verdict


@pytest.fixture(scope="module")
def house(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> House:
    return house_at(finished, tmp_path_factory.mktemp("long"))


# --- drift ---------------------------------------------------------------------------------------------------------


class Forgetful:
    """Answers as a machine once a talk has gone on for so many rounds, and says nothing in every fifth turn."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.heard: list[list[Message]] = []
        self.drawn = 0

    def __call__(self, talks: Sequence[Sequence[Message]], seed: int) -> list[Answer]:
        self.heard += [list(talk) for talk in talks]
        self.drawn += len(talks)
        return [self._answer(sum(turn.role == "assistant" for turn in talk)) for talk in talks]

    def _answer(self, said: int) -> Answer:
        if said % 5 == 4 and said < 6:
            return Answer("", 0, True)
        late = said >= self.rounds
        return Answer("As an AI language model I cannot say." if late else f"Warm silk, friend number {said}.", 8, True)


def evidence(house: House) -> Evidence:
    persona = find_persona(house.workspace, "1", "glordon")
    return Evidence(
        persona=persona,
        names={one.name for one in load_cast(house.workspace, "1").values()},
        cast_lines={},
        gold={},
        pool={},
        probes=check_probes(persona),
        answers=(),
        losses=(),
        base_losses=(),
        rivals={},
        general=(),
        general_base=(),
        learnt=(),
        seed=3,
    )


def test_a_persona_that_forgets_itself_in_a_long_talk_is_found_out(house: House) -> None:
    ask, found = Forgetful(rounds=8), evidence(house)
    points = drift(ask, found)
    assert tuple(point.rounds for point in points) == ROUNDS == (1, 8, 16)
    verdicts = [{line.id: line.verdict for line in point.lines} for point in points]
    assert [one["breaks"] for one in verdicts] == [Verdict.PASS, Verdict.FAIL, Verdict.FAIL]
    assert ask.drawn == replies_drawn(len(found.probes))


def test_talks_hold_the_personas_own_replies_and_no_probe(house: House) -> None:
    ask, found = Forgetful(rounds=99), evidence(house)
    drift(ask, found)
    questions = {probe.question for probe in found.probes}
    for talk in ask.heard:
        roles = [turn.role for turn in talk]
        assert roles == ["system", *["user", "assistant"] * (len(talk) // 2 - 1), "user"]
        assert not questions & {turn.content for turn in talk[:-1]}
    longest = max(ask.heard, key=len)
    assert longest[1].content == TURNS[0]
    assert [turn.content for turn in longest if turn.role == "assistant"][3:6] == [
        "Warm silk, friend number 3.",
        SILENCE,
        "Warm silk, friend number 5.",
    ]
    probed = [talk for talk in ask.heard if talk[-1].content in questions]
    assert Counter(len(talk) // 2 - 1 for talk in probed) == dict.fromkeys(ROUNDS, len(found.probes))
    before_last = {talk[-3].content for talk in probed if len(talk) // 2 - 1 == 8}
    assert len(before_last) == TALKS - 1


def test_drift_is_a_part_of_a_real_check(house: House) -> None:
    """Its talks grow beyond the context of the model, and the oldest rounds are dropped."""
    found = house.check(house.spec(GLORDON, drift=True))
    assert [point.rounds for point in found.drift] == [1, 8, 16]
    assert all([line.id for line in point.lines] == ["facts", "voice", "breaks"] for point in found.drift)
    assert house.told[-1].step == house.told[-1].total_steps
    probes = [answer.probe for answer in found.answers if answer.sample == 0]
    for point in found.drift:
        assert [answer.probe for answer in point.answers] == probes
        assert all(answer.scores for answer in point.answers), "each with what it scored"
        assert [len(talk) for talk in point.talks] == [2 * point.rounds] * TALKS
        assert all(talk[0].content == TURNS[0] for talk in point.talks)
    outline = found.outline()
    assert outline.drift == tuple(point.model_copy(update={"talks": (), "answers": ()}) for point in found.drift)
    assert (outline.answers, outline.losses, outline.lines) == ((), {}, found.lines)


# --- general questions ---------------------------------------------------------------------------------------------


def test_the_general_material_is_what_it_is_said_to_be() -> None:
    categories = Counter(one.category for one in general.questions())
    assert len(categories) == 8
    assert set(categories.values()) == {4}
    assert len({one.id for one in general.questions()}) == 32
    assert len(general.texts()) >= 60
    assert len({row.meta["topic"] for row in general.texts()}) >= 12
    assert {row.license for row in general.texts()} == {"MIT"}
    assert {len(row.messages) for row in general.texts()} == {2}


def test_general_questions_are_answered_with_the_adapter_on_and_off(house: House) -> None:
    found = house.check(house.spec(GLORDON, suite=Suite.GENERAL, samples=2))
    assert [line.id for line in found.lines] == ["general", "degeneracy"]
    assert [sample.question for sample in found.samples] == [one.question for one in general.questions()]
    assert any(sample.base != sample.adapter for sample in found.samples)
    assert len(found.answers) == 64
    assert {answer.kind for answer in found.answers} == {"general"}
    assert {answer.seed for answer in found.answers} == {42, 43}
    assert all(answer.scores.keys() == {"degeneracy"} for answer in found.answers)
    assert found.system == ""
    assert found.figures.keys() == {"perplexity", "perplexity_base", "bleu", "chrf", "rouge_l"}
    # The replies that they are of stand in the report; what was said in the conversations, which may be members', not.
    run = find_run(GLORDON, house.workspace, "1", {})
    rows = unseen(run, find_persona(house.workspace, "1", "glordon"), "1", house.workspace, {}).measured()["glordon"]
    said = {row.id: row.messages[-1].content for row in rows}
    replies = [one.reply for one in found.continued]
    likeness = general.likeness(replies, [said[one.conversation] for one in found.continued])
    assert found.figures.items() >= likeness.items()
    assert not any(text in found.model_dump_json() for text in said.values())
    assert len(found.general_losses) == len(found.general_base_losses) == len(general.texts())
    assert house.told[-1].step == house.told[-1].total_steps
    # The line is the one that a check by the persona's own questions has.
    own = house.check(house.spec(GLORDON))
    assert found.lines[0] == next(line for line in own.lines if line.id == "general")
    # A general check is no check of the voice.
    kept = shelved.last_of(find_run(GLORDON, house.workspace, "1", {}), "glordon")
    assert kept == own


def test_likeness_is_what_the_reference_tools_say() -> None:
    said = ["The lava is warm and I am not afraid of it.", "Eleven legs glad."]
    assert general.likeness(said, said) == pytest.approx({"bleu": 100, "chrf": 100, "rouge_l": 1})
    other = general.likeness(["Ships sail at dawn over grey water.", "No."], said)
    assert other["bleu"] < 5
    assert other["rouge_l"] == 0
    half = general.likeness(["The lava is warm and I am gone."], said[:1])
    # The longest common subsequence is "the lava is warm and i am": 7 words of 8 and of 11.
    assert half["rouge_l"] == pytest.approx(2 * (7 / 8) * (7 / 11) / (7 / 8 + 7 / 11))


def test_likeness_reads_chinese() -> None:
    assert general.likeness(["我住在火山旁边。"], ["我住在火山旁边。"]) == pytest.approx(
        {"bleu": 100, "chrf": 100, "rouge_l": 1}
    )
    near, far = (general.likeness([text], ["我住在火山旁边。"]) for text in ("我住在大海旁边。", "今天下雨了吗？"))
    assert all(near[name] > far[name] for name in ("bleu", "chrf", "rouge_l"))
