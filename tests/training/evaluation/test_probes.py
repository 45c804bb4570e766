"""The questions: which are asked, in what order, and that nobody has learnt their answers."""

from __future__ import annotations

from tests.training.evaluation.replies_made import WORKSPACE
from training.evaluation.probes import BOUNDARY, NEUTRAL, check_probes, questions, questions_for, telling
from training.evaluation.schema import Probe
from training.persona.dialogues import persona_conversations
from training.schema import Fact, Persona


def kinds(probes: list[Probe]) -> list[int]:
    return [sum(probe.kind == kind for probe in probes) for kind in ("fact", "neutral", "boundary")]


def test_every_persona_is_asked_facts_and_the_same_shared_questions(cast: dict[str, Persona]) -> None:
    shared = []
    for persona in cast.values():
        probes = questions(persona)
        assert kinds(probes) == [8, 8, 4]
        assert len({probe.id for probe in probes}) == 20
        assert all(probe.accept for probe in probes if probe.kind == "fact")
        shared.append([probe for probe in probes if probe.kind != "fact"])
    assert all(one == shared[0] for one in shared)
    assert questions(None) == shared[0]


def test_a_check_asks_forty_questions_and_those_of_the_quick_look_among_them(cast: dict[str, Persona]) -> None:
    for persona in cast.values():
        probes = check_probes(persona)
        assert kinds(probes) == [min(16, len(persona.facts)), 16, 8]
        assert len({probe.id for probe in probes}) == len({probe.question for probe in probes}) == len(probes)
        assert {probe.question for probe in questions(None)} < {probe.question for probe in probes}
        by_id = {probe.id: probe for probe in probes}
        assert all(by_id[probe.id] == probe for probe in questions(persona))


def test_shared_questions_are_in_no_training_row(cast: dict[str, Persona]) -> None:
    asked = {
        message.content.casefold()
        for persona in cast.values()
        for row in persona_conversations(persona, WORKSPACE, "local")
        for message in row.messages
        if message.role == "user"
    }
    assert (len(set(NEUTRAL)), len(set(BOUNDARY))) == (16, 8)
    assert not asked & {question.casefold() for question in (*NEUTRAL, *BOUNDARY)}


def test_facts_asked_in_new_words_come_first(cast: dict[str, Persona]) -> None:
    facts = cast["glordon"].facts
    trained_on = [f"  {fact.question.upper()} " for fact in facts[:4]]
    first = [probe.question for probe in questions(cast["glordon"], trained_on)[:8]]
    assert first == [fact.question for fact in facts[4:12]]
    checked = [probe.question for probe in check_probes(cast["glordon"], trained_on) if probe.kind == "fact"]
    assert checked == [fact.question for fact in (*facts[4:], *facts[:4])][:16]


def test_a_check_asks_only_for_facts_that_words_can_tell() -> None:
    facts = (
        Fact(id="a", text="A.", question="A?", accept=("a",)),
        Fact(id="b", text="B.", question="B?"),
        Fact(id="c", text="C.", accept=("c",)),
    )
    assert kinds(check_probes(Persona(name="X", slug="x", bio="X.", facts=facts))) == [1, 16, 8]


def test_of_a_whole_cast_each_is_asked(cast: dict[str, Persona]) -> None:
    probes = questions_for([cast["glordon"], cast["olga"]])
    assert kinds(probes) == [4, 16, 8]
    assert len({probe.id for probe in probes}) == len(probes)


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
