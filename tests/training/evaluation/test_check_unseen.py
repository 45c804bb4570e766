"""Nothing that a run learnt is ever measured on: not of its own data, nor of mixed, earlier or changed data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.training.conftest import Finished
from tests.training.evaluation.checks_made import GLORDON, House, house_at
from training.data.fingerprints import plain
from training.data.read import read_conversations
from training.evaluation import general, shelved
from training.evaluation.probes import check_probes
from training.evaluation.unseen import Run, Unseen, find_run, unseen
from training.lessons import gather, said
from training.persona.dialogues import persona_conversations
from training.persona.sheet import find_persona, load_cast
from training.pipeline import finetune
from training.places import SHIPPED
from training.schema import WHOLE_CAST, Conversation, Hyperparameters, Message, Report, TaskType, TrainSpec, Verdict
from training.standin import corpus

PERSONA = TrainSpec(job_name="learns", guild_id="1", persona="glordon")


@pytest.fixture(scope="module")
def house(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> House:
    return house_at(finished, tmp_path_factory.mktemp("unseen"))


def words(rows: Sequence[Conversation]) -> set[str]:
    return {plain(line) for line in said(rows, "assistant")}


def own_rows(house: House, slug: str = "glordon") -> list[Conversation]:
    return persona_conversations(find_persona(house.workspace, "1", slug), house.workspace, "1")


def as_if_trained(house: House, run_id: str, spec: TrainSpec, **changes: object) -> Run:
    """A run that learnt what its spec says, as far as its report tells."""
    told = {"spec": spec.model_dump(mode="json"), "data_digest": gather(spec, house.workspace).digest}
    house.take(house.run(GLORDON), run_id, **told | changes)
    return find_run(run_id, house.workspace, "1", {})


def look(house: House, run: Run | None, slug: str = "glordon") -> Unseen:
    return unseen(run, find_persona(house.workspace, "1", slug), "1", house.workspace, {})


def general_with(rows: Sequence[Conversation], path: Path) -> str:
    """A file of general exchanges among which these rows stand."""
    exchanges = read_conversations(SHIPPED / "data" / "dialogues" / "general.jsonl")[:40]
    bare = [row.model_copy(update={"messages": tuple(m for m in row.messages if m.role != "system")}) for row in rows]
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in [*exchanges, *bare]), encoding="utf-8")
    return str(path)


def test_sides_are_those_of_the_run_itself(house: House) -> None:
    found = look(house, find_run(GLORDON, house.workspace, "1", {}))
    lessons = gather(house.report(GLORDON).spec, house.workspace)
    assert found.doubt == ""
    assert list(found.learnt) == list(lessons.train) == list(found.train["glordon"])
    assert list(found.held_out["glordon"]) == list(lessons.held_out)
    assert set(found.held_out) == set(load_cast(house.workspace, "1"))
    assert not words(found.learnt) & words([row for rows in found.held_out.values() for row in rows])


def test_at_most_forty_are_measured_and_always_the_same(house: House) -> None:
    row = own_rows(house)[0]
    many = [row.model_copy(update={"id": f"row-{i}"}) for i in range(100)]
    found = Unseen((), {}, {"glordon": many, "olga": []}).measured()
    assert list(found) == ["glordon"]
    assert len(found["glordon"]) == 40
    assert found == Unseen((), {}, {"glordon": many[::-1]}).measured()
    assert Unseen((), {}, {"glordon": many}, doubt="no one knows").measured() == {}


@pytest.mark.parametrize("task_type", [TaskType.MIXED, TaskType.TWO_STAGE, TaskType.DIALOGUE])
def test_what_general_data_tells_as_well_is_never_measured_on(house: House, task_type: TaskType) -> None:
    """The general file holds a part of the persona's own held-out lines. A run for the persona leaves them out; whoever
    learnt the file alone has seen them."""
    held_out = gather(PERSONA, house.workspace).held_out
    dataset = general_with(held_out[:12], house.workspace.artifact_root / f"{task_type}.jsonl")
    knobs = Hyperparameters(mix_general=0.9)
    spec = TrainSpec(
        job_name="leaky", guild_id="1", task_type=task_type, persona="glordon", dataset=dataset, hyperparameters=knobs
    )
    run = as_if_trained(house, f"leaky{task_type[:7].replace('-', 'x'):x<7}", spec)
    lessons = gather(spec, house.workspace)
    leaked = [row for row in held_out if words([row]) <= words(lessons.learnt)]
    assert bool(leaked) == (task_type is TaskType.DIALOGUE)
    found = look(house, run)
    assert found.doubt == ""
    assert list(found.held_out["glordon"]) == [row for row in held_out if row not in leaked]
    assert not words(lessons.learnt) & words(found.held_out["glordon"])


def test_a_mixed_run_is_measured_on_what_it_never_learnt(house: House) -> None:
    """A real run, and a real check of it."""
    held_out = gather(PERSONA, house.workspace).held_out
    dataset = general_with(held_out[:12], house.workspace.artifact_root / "mixed.jsonl")
    knobs = Hyperparameters(epochs=1, batch_size=16, learning_rate=0.01, mix_general=0.5)
    spec = TrainSpec(
        job_name="mixed", guild_id="1", task_type=TaskType.MIXED, persona="glordon", dataset=dataset,
        hyperparameters=knobs,
    )  # fmt: skip
    folder = house.run("mixedmixed00")
    report = finetune(
        spec,
        job_id="mixedmixed00",
        workspace=house.workspace,
        run_dir=folder,
        on_progress=lambda _: None,
        should_stop=lambda: False,
    )
    lessons = gather(spec, house.workspace)
    assert not any(words([row]) <= words(lessons.learnt) for row in held_out)
    checked = house.check(house.spec("mixedmixed00"))
    assert len(checked.losses["glordon"]) == len(held_out) == report.held_out
    assert {slug: len(losses) for slug, losses in checked.losses.items() if slug != "glordon"} == {
        slug: min(40, len(rows)) for slug, rows in look(house, None).held_out.items() if slug != "glordon"
    }


def test_what_an_earlier_run_learnt_counts_as_learnt(house: House) -> None:
    held_out = gather(PERSONA, house.workspace).held_out
    dataset = general_with(held_out[:12], house.workspace.artifact_root / "first.jsonl")
    first = TrainSpec(job_name="first", guild_id="1", task_type=TaskType.DIALOGUE, dataset=dataset)
    as_if_trained(house, "firstfirst00", first)
    second = as_if_trained(house, "secondsecond", PERSONA.model_copy(update={"start_from": "firstfirst00"}))
    learnt = words(gather(first, house.workspace).learnt)
    leaked = [row for row in held_out if words([row]) <= learnt]
    assert leaked
    found = look(house, second)
    assert list(found.held_out["glordon"]) == [row for row in held_out if row not in leaked]
    assert learnt <= words(found.learnt)


def test_a_conversation_that_was_learnt_in_part_is_not_held_out_and_that_is_said(house: House) -> None:
    """Of conversations of two turns the general file holds one answer each."""
    held_out = gather(PERSONA, house.workspace).held_out
    several = [row for row in held_out if len(said([row], "assistant")) > 1]
    assert several
    first_turns = [
        row.model_copy(update={"messages": (Message(role="user", content=f"{word}, then?"), row.messages[2])})
        for row in several
        for word in ("Well", "And", "But", "Now")
    ]
    assert {len(said([row], "assistant")) for row in first_turns} == {1}
    dataset = general_with(first_turns, house.workspace.artifact_root / "part.jsonl")
    first = TrainSpec(job_name="part", guild_id="1", task_type=TaskType.DIALOGUE, dataset=dataset)
    as_if_trained(house, "partpartpart", first)
    run = as_if_trained(house, "wentonwenton", PERSONA.model_copy(update={"start_from": "partpartpart"}))
    learnt = words(gather(first, house.workspace).learnt)
    leaked = [row for row in held_out if words([row]) & learnt]
    assert [row for row in leaked if not words([row]) <= learnt]
    found = look(house, run)
    assert list(found.held_out["glordon"]) == [row for row in held_out if row not in leaked]
    assert found.left_out["glordon"] == len(leaked)
    checked = house.check(house.spec("wentonwenton"))
    line = next(line for line in checked.lines if line.id == "held_out_fit")
    assert f"over {len(held_out) - len(leaked)} conversations." in line.explanation
    assert f"{len(leaked)} more are left out" in line.explanation


def test_where_an_earlier_run_is_gone_nobody_knows(house: House) -> None:
    orphan = as_if_trained(house, "orphanorphan", PERSONA.model_copy(update={"start_from": "nowhere00000"}))
    found = look(house, orphan)
    assert "went on from is gone" in found.doubt
    assert found.measured() == {}


def test_pairs_teach_both_of_their_answers(house: House) -> None:
    votes = house.workspace.artifact_root / "votes.jsonl"
    lines = said(own_rows(house), "assistant")
    votes.write_text(
        "".join(
            json.dumps({"prompt": f"Question {i}?", "chosen": lines[i], "rejected": lines[-i - 1]}) + "\n"
            for i in range(30)
        )
    )
    spec = TrainSpec(
        job_name="votes", guild_id="1", task_type=TaskType.PREFERENCE, persona="glordon", dataset=str(votes)
    )
    found = look(house, as_if_trained(house, "votesvotes00", spec))
    lessons = gather(spec, house.workspace)
    learnt = words(lessons.train) | words([pair.rejected for pair in lessons.pairs])
    assert learnt <= words(found.learnt)
    assert not learnt & words(found.held_out["glordon"])
    assert 0 < len(found.held_out["glordon"]) < len(gather(PERSONA, house.workspace).held_out)


def test_questions_of_the_check_that_were_learnt_from_are_counted(house: House) -> None:
    """Votes are on the check's own questions, and so are the pairs that are made of them."""
    persona = find_persona(house.workspace, "1", "glordon")
    asked = check_probes(persona, said(own_rows(house), "user"))
    voted = [*(p for p in asked if p.kind == "neutral"), *(p for p in asked if p.kind == "boundary")]
    votes = house.workspace.artifact_root / "own.jsonl"
    votes.write_text(
        "".join(
            json.dumps({"prompt": probe.question, "chosen": f"Yes, {i}.", "rejected": f"No, {i}."}) + "\n"
            for i, probe in enumerate(voted)
        )
    )
    spec = TrainSpec(job_name="own", guild_id="1", task_type=TaskType.PREFERENCE, persona="glordon", dataset=str(votes))
    as_if_trained(house, "ownownownown", spec)
    learnt = set(said(gather(spec, house.workspace).learnt, "user"))
    known = sum(probe.question in learnt for probe in voted if probe.kind == "neutral")
    assert 0 < known < 16
    line = next(line for line in house.check(house.spec("ownownownown")).lines if line.id == "voice")
    assert line.explanation.endswith(f" {known} of the 16 questions were learnt from.")
    plain_run = next(line for line in house.check(house.spec(GLORDON)).lines if line.id == "voice")
    assert "were learnt from" not in plain_run.explanation


def test_a_run_of_the_whole_cast_is_checked_as_each_of_them(house: House) -> None:
    spec = PERSONA.model_copy(update={"persona": WHOLE_CAST})
    run = as_if_trained(house, "wholewhole00", spec, personas=list(load_cast(house.workspace, "1")))
    for slug in ("glordon", "olga"):
        found = look(house, run, slug)
        assert list(found.held_out[slug]) == list(
            gather(PERSONA.model_copy(update={"persona": slug}), house.workspace).held_out
        )
        assert not words(found.learnt) & words([row for rows in found.held_out.values() for row in rows])
        checked = house.check(house.spec("wholewhole00", slug))
        assert checked.adapter.startswith(f"{checked.name} (learns")
        kept = shelved.last_of(run, slug)
        assert kept is not None
        assert kept.persona == slug
    assert shelved.last_of(run, "glordon") != shelved.last_of(run, "olga")


def test_data_that_changed_since_leaves_the_fit_unjudged(house: House) -> None:
    run = as_if_trained(house, "changed00000", PERSONA, data_digest="something-else")
    assert "has changed since" in look(house, run).doubt
    checked = house.check(house.spec("changed00000"))
    line = next(line for line in checked.lines if line.id == "held_out_fit")
    assert line.verdict is Verdict.NOT_APPLICABLE
    assert "has changed since" in line.explanation
    assert checked.losses == {}
    copied = next(line for line in checked.lines if line.id == "copying")
    assert copied.verdict is not Verdict.PASS
    assert "has changed since" in copied.explanation
    assert next(line for line in checked.lines if line.id == "voice").verdict is not Verdict.NOT_APPLICABLE


def test_data_that_is_gone_leaves_the_fit_unjudged(house: House) -> None:
    spec = PERSONA.model_copy(update={"task_type": TaskType.DIALOGUE, "dataset": "no-such-dataset"})
    folder = house.take(house.run(GLORDON), "gonegone0000", spec=spec.model_dump(mode="json"))
    run = Run("aaaaaaaaaaaa", folder, Report.model_validate_json((folder / "report.json").read_bytes()))
    found = look(house, run)
    assert "cannot be read any more" in found.doubt
    assert found.measured() == {}
    assert found.held_out["glordon"]


def test_nobody_trains_on_what_general_ability_is_measured_with() -> None:
    """Neither the stand-in, nor whoever learns a shipped dataset, whole or in part."""
    shipped = [row for path in (SHIPPED / "data" / "dialogues").glob("*.jsonl") for row in read_conversations(path)]
    learnt = [*corpus().general, *corpus().personas, *shipped]
    known = {plain(m.content) for row in learnt for m in row.messages}
    asked = {plain(m.content) for row in general.texts() for m in row.messages}
    asked |= {plain(one.question) for one in general.questions()}
    assert not known & asked

    def runs(text: str) -> set[tuple[str, ...]]:
        spoken = text.split()
        return {tuple(spoken[i : i + 8]) for i in range(len(spoken) - 7)}

    learnt_runs = {run for text in known for run in runs(text)}
    assert not [text for text in asked if runs(text) & learnt_runs]
