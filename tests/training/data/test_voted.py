"""Closed votes become a dataset that a preference run learns from, and a file for KTO beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from training.data.catalog import load_dataset, offers
from training.data.consent import (
    ConsentLedger,
    ledger_path,
    make_permission,
    permission_path,
    record_permission,
    write_ledger,
)
from training.data.folder import CARD, CONVERSATIONS, check_folder
from training.data.forgetting import forget
from training.data.lineage import Lineage, note_data
from training.data.preferences import PREFERENCES
from training.data.prepare import prepare
from training.data.schema import LEAST_PAIRS, DataAction, DataReport, DataSpec, Typed
from training.data.voted import JUDGEMENTS, write_votes
from training.errors import DatasetTaken, EmptyDataset, UnknownPersona, UnreadableData, VotesUndecided
from training.evaluation.schema import BallotBox, Contender, Rubric, Vote, VoteChoice, VotePair
from training.lessons import gather
from training.persona.sheet import find_persona
from training.places import guild_folder
from training.schema import TaskType, TrainSpec, Workspace

GUILD = "77"
MEMBER, CHANNEL = "1200000000000000003", "1200000000000000020"
CLEAR = [VoteChoice.FIRST] * 6


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "warehouse", cache_dir=tmp_path / "cache"
    )


def pair(number: int, **changes: Any) -> VotePair:
    told = {
        "id": f"{number:012d}",
        "persona": "glordon",
        "question": f"Question {number}?",
        "first": Contender(version=1, answer=f"First {number}."),
        "second": Contender(version=2, answer=f"Second {number}."),
        "asked_by": "sheet",
    }
    return VotePair.model_validate(told | changes)


def votes(pairs: list[VotePair], *choices: VoteChoice) -> list[Vote]:
    return [Vote(pair=one.id, voter=f"v{n}", choice=choice) for one in pairs for n, choice in enumerate(choices)]


def rubric(of: VotePair, worth: int) -> Rubric:
    said = {"in_character": 3, "true_to_facts": 3, "worth_talking_to": worth}
    return Rubric.model_validate({"pair": of.id, "voter": f"r{worth}", "side": "first", **said})


def exported(
    workspace: Workspace, box: BallotBox, name: str = "votes", job_id: str = "a" * 12, **more: Any
) -> DataReport:
    return done(
        workspace, DataSpec(action=DataAction.VOTES, guild_id=GUILD, name=name, persona="glordon", votes=box, **more),
        job_id,
    )  # fmt: skip


def done(workspace: Workspace, spec: DataSpec, job_id: str = "a" * 12) -> DataReport:
    return prepare(
        spec,
        workspace,
        job_id=job_id,
        most_rows=1000,
        fetch=lambda upload, path: None,
        on_progress=lambda look: None,
        should_stop=lambda: False,
    )


def rows(workspace: Workspace, file: str) -> list[dict[str, Any]]:
    path = guild_folder(workspace, GUILD) / "datasets" / "votes" / file
    return [json.loads(line) for line in path.read_text().splitlines()]


def decided(count: int) -> BallotBox:
    pairs = [pair(number) for number in range(count)]
    return BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, *[VoteChoice.SECOND] * 6, VoteChoice.BAD)))


def test_a_preference_run_learns_from_the_votes(workspace: Workspace) -> None:
    report = exported(workspace, decided(15))
    assert report.card
    assert (report.card.conversations, report.card.persona) == (15, "glordon")
    assert offers(workspace, GUILD)["votes"].conversations == 15
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    lessons = gather(spec, workspace)
    pairs = [*lessons.pairs, *lessons.held_out_pairs]
    assert len(pairs) == 15
    card = find_persona(workspace, GUILD, "glordon").system_card()
    for one in pairs:
        assert one.chosen.messages[0].content == one.rejected.messages[0].content == card
        assert one.chosen.messages[-1].content == f"Second {int(one.id)}."
        assert one.rejected.messages[-1].content == f"First {int(one.id)}."
    assert len(load_dataset("votes", workspace, GUILD)) == 15  # what was chosen, as any dataset


def test_one_vote_that_decided_all_its_questions_is_enough(workspace: Workspace) -> None:
    exported(workspace, decided(LEAST_PAIRS))
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    lessons = gather(spec, workspace)
    assert (len(lessons.pairs), len(lessons.held_out_pairs)) == (LEAST_PAIRS - 1, 1)


@pytest.mark.parametrize(("asked", "enough"), [([2, 3], True), ([12, 12], True), ([5], False), ([1, 1, 1, 1, 1], True)])
def test_what_the_dataset_says_of_a_run_is_so(workspace: Workspace, asked: list[int], enough: bool) -> None:
    questions = [f"Question {number}?" for number, times in enumerate(asked) for _ in range(times)]
    pairs = [pair(number, question=question) for number, question in enumerate(questions)]
    report = exported(workspace, BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, *CLEAR))))
    assert report.card
    assert ("/finetune" in report.card.notes[0]) == enough
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    if enough:
        lessons = gather(spec, workspace)
        assert lessons.pairs
        assert lessons.held_out_pairs
    else:
        with pytest.raises(EmptyDataset):
            gather(spec, workspace)


def test_a_question_that_was_voted_on_again_is_never_learnt_and_checked_on(workspace: Workspace) -> None:
    pairs = [pair(number, question=f"Question {number % 5}?") for number in range(15)]
    exported(workspace, BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, *CLEAR))))
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    lessons = gather(spec, workspace)
    asked = [{one.chosen.messages[-2].content for one in side} for side in (lessons.pairs, lessons.held_out_pairs)]
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]


def test_single_judgements_lie_beside_the_pairs(workspace: Workspace) -> None:
    exported(workspace, decided(LEAST_PAIRS))
    judged = rows(workspace, JUDGEMENTS)
    assert [row["label"] for row in judged].count(True) == 6 * LEAST_PAIRS
    assert [row["label"] for row in judged].count(False) == 2 * LEAST_PAIRS
    assert {row["meta"]["voter"] for row in judged} == {f"v{number}" for number in range(7)}
    folder = guild_folder(workspace, GUILD) / "datasets" / "votes"
    assert {PREFERENCES, JUDGEMENTS} <= set(check_folder(folder).files)
    readme = (folder / "README.md").read_text()
    assert "/finetune start task_type:preference persona:glordon dataset:votes" in readme


def test_judgements_are_exported_where_no_pair_was_decided(workspace: Workspace) -> None:
    pairs = [pair(0), pair(1), pair(2)]
    forms = [rubric(pairs[1], worth) for worth in (1, 3, 5)]
    cast = [*votes([pairs[0]], VoteChoice.BAD, VoteChoice.BAD), *votes([pairs[1], pairs[2]], VoteChoice.TIE)]
    report = exported(workspace, BallotBox(pairs=tuple(pairs), votes=tuple(cast), rubrics=tuple(forms)))
    assert report.card
    assert report.card.conversations == 0
    (note,) = report.card.notes
    assert note.startswith("judgements.jsonl has 6 judgements of single answers")
    judged = [(row["id"].partition("-")[0], row["label"]) for row in rows(workspace, JUDGEMENTS)]
    assert judged == [(pairs[0].id, False)] * 4 + [(pairs[1].id, False), (pairs[1].id, True)]
    folder = guild_folder(workspace, GUILD) / "datasets" / "votes"
    check_folder(folder)
    readme = (folder / "README.md").read_text()
    assert note in readme
    assert "/finetune" not in readme
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    with pytest.raises(UnreadableData, match="no pairs of answers"):
        gather(spec, workspace)
    with pytest.raises(EmptyDataset, match="votes holds 0 usable conversations"):
        load_dataset("votes", workspace, GUILD)
    with pytest.raises(EmptyDataset):
        done(workspace, DataSpec(action=DataAction.PREVIEW, guild_id=GUILD, name="votes"), "b" * 12)
    assert "Lengths" not in readme


def test_a_member_who_is_to_be_forgotten_is_found_in_judgements(workspace: Workspace) -> None:
    consenting(workspace)
    pairs = [pair(0), pair(1, asked_by="member")]
    box = BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, VoteChoice.BAD)))
    exported(workspace, box, typed={pairs[1].id: Typed(user=MEMBER, channel=CHANNEL)})
    exported(
        workspace, box.model_copy(update={"pairs": tuple(pairs[1:])}), "typed", "b" * 12,
        typed={pairs[1].id: Typed(user=MEMBER, channel=CHANNEL)},
    )  # fmt: skip
    home = guild_folder(workspace, GUILD)
    found = forget([home], [], workspace.artifact_root / "runs", users=[MEMBER])
    assert [(one.name, one.version is None) for one in found.datasets] == [("typed", True), ("votes", False)]
    assert {row["id"].partition("-")[0] for row in rows(workspace, JUDGEMENTS)} == {pairs[0].id}
    assert not (home / "datasets" / "typed").exists()


def test_the_card_accounts_for_every_pair(workspace: Workspace) -> None:
    typed = {"asked_by": "member"}
    pairs = [pair(0), pair(1), pair(2, **typed), pair(3, consented=True, **typed), pair(4, persona="olga")]
    cast = [*votes([pairs[0], *pairs[2:]], *CLEAR), *votes([pairs[1]], VoteChoice.TIE)]
    box = BallotBox(pairs=tuple(pairs), votes=tuple(cast))
    folder = guild_folder(workspace, GUILD) / "datasets" / "votes"
    card = write_votes(folder, "votes", box, find_persona(workspace, GUILD, "glordon"), lineage=Lineage())
    (step,) = card.steps
    assert (step.before, step.after) == (4, 2)
    assert step.removed == {"typed by members who have not agreed": 1, "not decided": 1}
    assert {row["id"] for row in rows(workspace, PREFERENCES)} == {pairs[0].id, pairs[3].id}
    assert "Question 2?" not in json.dumps([rows(workspace, name) for name in (PREFERENCES, JUDGEMENTS)])


def test_a_consent_that_a_pair_claims_and_no_ledger_knows_counts_for_nothing(workspace: Workspace) -> None:
    pairs = [pair(0), pair(1, asked_by="member", consented=True)]
    exported(workspace, BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, *CLEAR))))
    assert [row["id"] for row in rows(workspace, PREFERENCES)] == [pairs[0].id]


def consenting(workspace: Workspace) -> None:
    today = datetime.now(UTC).date()
    permission = make_permission(reference="TICKET-1", scope=(f"channel {CHANNEL}",), date=today)
    record_permission(permission_path(workspace, GUILD), permission)
    ledger = ConsentLedger(policy_version="1", guild_id=GUILD).decided(MEMBER, "granted", ["train"])
    write_ledger(ledger_path(workspace, GUILD), ledger)


def test_what_may_be_learnt_from_is_asked_without_a_word_of_it(workspace: Workspace) -> None:
    typed = {"0" * 12: Typed(user=MEMBER, channel=CHANNEL), "1" * 12: Typed(user=MEMBER, channel="1")}
    spec = DataSpec(action=DataAction.AGREED, guild_id=GUILD, persona="glordon", typed=typed)
    assert done(workspace, spec).agreed == ()
    consenting(workspace)
    assert done(workspace, spec, "b" * 12).agreed == ("0" * 12,)


def test_a_member_who_is_to_be_forgotten_is_found_in_votes(workspace: Workspace) -> None:
    consenting(workspace)
    pairs = [*(pair(number) for number in range(14)), pair(14, asked_by="member")]
    box = BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, *CLEAR)))
    card = exported(workspace, box, typed={pairs[-1].id: Typed(user=MEMBER, channel=CHANNEL)}).card
    assert card
    assert card.conversations == 15
    assert str(card.permission).startswith("TICKET-1")
    home, runs = guild_folder(workspace, GUILD), workspace.artifact_root / "runs"
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    lessons = gather(spec, workspace)
    (runs / "learnt").mkdir(parents=True)
    note_data(runs / "learnt", "votes", [*lessons.learnt, *lessons.held_out])
    found = forget([home], [], runs, users=[MEMBER])
    assert found.retrain == ("learnt",)
    assert [(one.name, one.removed) for one in found.datasets] == [("votes", 1)]
    left = [rows(workspace, file) for file in (CONVERSATIONS, PREFERENCES, JUDGEMENTS)]
    assert "Question 13?" in json.dumps(left)
    assert "Question 14?" not in json.dumps(left)
    assert forget([home], [], runs, users=[MEMBER]).datasets == ()


def test_what_cannot_be_made_says_why_and_leaves_nothing(workspace: Workspace) -> None:
    pairs = [pair(0)]
    tied = BallotBox(pairs=tuple(pairs), votes=tuple(votes(pairs, VoteChoice.TIE, VoteChoice.TIE)))
    for box, count in ((tied, 1), (BallotBox(pairs=(), votes=()), 0)):
        with pytest.raises(VotesUndecided, match=f"these {count} questions the better one, or bad"):
            exported(workspace, box)
    assert not list((guild_folder(workspace, GUILD) / "datasets").glob("*"))
    report = exported(workspace, decided(LEAST_PAIRS - 1))
    assert report.card
    assert f"a run takes {LEAST_PAIRS} at least" in report.card.notes[0]
    with pytest.raises(DatasetTaken):
        exported(workspace, decided(1), job_id="b" * 12)
    spec = TrainSpec(job_name="v", guild_id=GUILD, task_type=TaskType.PREFERENCE, persona="glordon", dataset="votes")
    with pytest.raises(EmptyDataset, match="votes holds 4 usable conversations, and 5 is the least"):
        gather(spec, workspace)
    stranger = DataSpec(action=DataAction.VOTES, guild_id=GUILD, name="more", persona="nobody", votes=decided(1))
    with pytest.raises(UnknownPersona):
        prepare(
            stranger, workspace, job_id="c" * 12, most_rows=1, fetch=lambda upload, path: None,
            on_progress=lambda look: None, should_stop=lambda: False,
        )  # fmt: skip


def test_an_export_that_is_done_again_after_a_crash_reports_the_same(workspace: Workspace) -> None:
    first = exported(workspace, decided(3))
    assert exported(workspace, decided(3)) == first
    assert [path.name for path in (guild_folder(workspace, GUILD) / "datasets").iterdir()] == ["votes"]
    assert (guild_folder(workspace, GUILD) / "datasets" / "votes" / CARD).is_file()
