"""Training rows of blind votes: what is chosen, what is left out, and what preference training makes of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from training.data.consent import (
    TRAIN,
    ConsentLedger,
    ledger_path,
    make_permission,
    permission_path,
    record_permission,
    write_ledger,
)
from training.data.preferences import load_preferences
from training.data.schema import Typed
from training.data.votes import agreed, judgement_rows, preference_rows, withheld
from training.evaluation.schema import BallotBox, Contender, Rubric, Vote, VoteChoice, VotePair
from training.schema import Workspace

GUILD = "1200000000000000000"
MEMBER = "1200000000000000003"
CHANNEL = "1200000000000000020"
FIRST, SECOND, TIE, BAD = VoteChoice.FIRST, VoteChoice.SECOND, VoteChoice.TIE, VoteChoice.BAD


def pair(number: int = 0, asked_by: str = "sheet", **changes: object) -> VotePair:
    fields = {
        "id": f"{number:012d}",
        "persona": "glordon",
        "question": f"Question {number}?",
        "first": Contender(version=2, answer="A friend."),
        "second": Contender(version=None, answer="I do not know."),
        "asked_by": asked_by,
        **changes,
    }
    return VotePair.model_validate(fields)


def box(*decided: tuple[VotePair, list[VoteChoice]]) -> BallotBox:
    votes = [
        Vote(pair=one.id, voter=f"voter{i}", choice=choice)
        for one, choices in decided
        for i, choice in enumerate(choices)
    ]
    return BallotBox(pairs=tuple(one for one, _ in decided), votes=tuple(votes))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts", dataset_warehouse=tmp_path / "data", cache_dir=tmp_path / "cache"
    )


# --- preferences ---------------------------------------------------------------------------------------------------


def test_the_majority_is_chosen_and_the_margin_is_told() -> None:
    [won, lost] = preference_rows(box((pair(0), [FIRST] * 8 + [SECOND] * 2 + [TIE]), (pair(1), [SECOND] * 6 + [BAD])))
    assert won["prompt"] == [{"role": "user", "content": "Question 0?"}]
    assert won["chosen"] == [{"role": "assistant", "content": "A friend."}]
    assert won["rejected"] == [{"role": "assistant", "content": "I do not know."}]
    assert won["meta"] == {
        "chosen_version": "2", "rejected_version": "base", "votes": "8:2", "margin": "0.60", "voters": "11",
        "group": won["meta"]["group"],
    }  # fmt: skip
    assert lost["chosen"][0]["content"] == "I do not know."
    assert lost["meta"]["chosen_version"] == "base"


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [FIRST],
        [TIE] * 9,
        [BAD] * 9,
        [FIRST] * 5 + [TIE] * 4,
        [FIRST] * 6 + [BAD] * 7,
        [FIRST] * 5 + [SECOND] * 5,
        [FIRST] * 4 + [SECOND] * 2,
        [SECOND] * 8 + [FIRST] * 4,
    ],
)
def test_what_is_not_decided_gives_no_row(choices: list[VoteChoice]) -> None:
    assert list(preference_rows(box((pair(), choices)))) == []


def test_answers_that_are_the_same_or_empty_give_no_row() -> None:
    same = pair(0, second=Contender(version=None, answer=" A friend. "))
    empty = pair(1, second=Contender(version=None, answer=" "))
    assert list(preference_rows(box((same, [FIRST] * 9), (empty, [FIRST] * 9)))) == []


def test_a_voters_last_vote_counts() -> None:
    once = box((pair(), [FIRST] * 6))
    again = tuple(vote.model_copy(update={"choice": SECOND}) for vote in once.votes)
    [row] = preference_rows(once.model_copy(update={"votes": (*once.votes, *again)}))
    assert row["chosen"][0]["content"] == "I do not know."
    assert row["meta"]["voters"] == "6"
    # Who votes six times over is one voter still.
    assert list(preference_rows(once.model_copy(update={"votes": once.votes[:1] * 6}))) == []


def test_preference_training_reads_them(workspace: Workspace, tmp_path: Path) -> None:
    workspace.dataset_warehouse.mkdir()
    rows = list(preference_rows(box((pair(0), [FIRST] * 6), (pair(1), [SECOND] * 6))))
    path = workspace.dataset_warehouse / "votes.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    read = load_preferences(str(path), workspace, GUILD)
    assert {preference.id for preference in read} == {pair(0).id, pair(1).id}
    [first] = [preference for preference in read if preference.id == pair(0).id]
    assert first.chosen.messages[-1].content == "A friend."
    assert first.rejected.messages[-1].content == "I do not know."
    assert (first.source, first.meta["votes"]) == ("blind-votes", "6:0")


# --- judgements ----------------------------------------------------------------------------------------------------


def test_each_vote_judges_the_answers_that_it_says_something_of() -> None:
    rows = list(judgement_rows(box((pair(), [FIRST, SECOND, TIE, BAD]))))
    told = [(row["meta"]["voter"], row["completion"][0]["content"], row["label"]) for row in rows]
    assert told == [
        ("voter0", "A friend.", True),
        ("voter1", "I do not know.", True),
        ("voter3", "A friend.", False),
        ("voter3", "I do not know.", False),
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows[0]["prompt"] == [{"role": "user", "content": "Question 0?"}]


def test_a_form_on_an_answer_is_a_thumb_that_counts_in_place_of_the_vote() -> None:
    def form(voter: str, side: str, worth: int) -> Rubric:
        said = {"in_character": 3, "true_to_facts": 3, "worth_talking_to": worth}
        return Rubric.model_validate({"pair": pair().id, "voter": voter, "side": side, **said})

    forms = (
        form("voter0", "first", 2),
        form("voter0", "second", 4),
        form("voter1", "first", 3),
        form("nobody", "first", 5),
    )
    cast = box((pair(), [FIRST, FIRST])).model_copy(update={"rubrics": forms})
    told = [(row["meta"]["voter"], row["completion"][0]["content"], row["label"]) for row in judgement_rows(cast)]
    assert told == [("nobody", "A friend.", True), ("voter0", "A friend.", False), ("voter0", "I do not know.", True)]
    assert not list(judgement_rows(cast.model_copy(update={"pairs": (pair(asked_by="member"),)}))), "without consent"


def test_an_empty_answer_is_not_judged() -> None:
    silent = pair(first=Contender(version=2, answer=""))
    assert [row["completion"][0]["content"] for row in judgement_rows(box((silent, [BAD])))] == ["I do not know."]


# --- consent -------------------------------------------------------------------------------------------------------


def permit(workspace: Workspace, scope: str = f"server {GUILD}") -> None:
    permission = make_permission(reference="TICKET-1", scope=(scope,), date=datetime.now(UTC).date())
    record_permission(permission_path(workspace, GUILD), permission)


def grant(workspace: Workspace, status: str = "granted", scope: str = TRAIN) -> None:
    ledger = ConsentLedger(policy_version="1", guild_id=GUILD).decided(MEMBER, status, [scope])  # type: ignore[arg-type]
    write_ledger(ledger_path(workspace, GUILD), ledger)


def typed(**pairs: str) -> dict[str, Typed]:
    """Who typed the pairs: here by their place, in one channel."""
    return {pair(int(place[1:])).id: Typed(user=user, channel=CHANNEL) for place, user in pairs.items()}


def test_what_members_typed_is_left_out_unless_they_agreed() -> None:
    alone, allowed = pair(0, "member"), pair(1, "member", consented=True)
    known = box((alone, [FIRST] * 6), (allowed, [FIRST] * 6), (pair(2, "operator"), [FIRST] * 6))
    assert [row["id"] for row in preference_rows(known)] == [allowed.id, pair(2).id]
    assert {row["id"][:12] for row in judgement_rows(known)} == {allowed.id, pair(2).id}
    assert withheld(known) == 1


def test_consent_is_looked_up_where_it_is_recorded(workspace: Workspace) -> None:
    asked = typed(_0=MEMBER, _1="1200000000000000004")
    known = box((pair(0, "member"), [FIRST] * 6), (pair(1, "member"), [FIRST] * 6), (pair(2), [FIRST] * 6))

    def used() -> list[str]:
        return [row["id"] for row in preference_rows(agreed(asked, workspace, GUILD).marked(known))]

    assert used() == [pair(2).id]
    grant(workspace)
    assert used() == [pair(2).id], "without Discord's permission no consent is enough"
    permit(workspace)
    assert used() == [pair(0).id, pair(2).id]
    grant(workspace, "revoked")
    assert used() == [pair(2).id]
    grant(workspace, scope="show")
    assert used() == [pair(2).id]


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (f"server {GUILD}", True),
        (f"channel {CHANNEL} of server {GUILD}", True),
        (f"channel 1200000000000000099 of server {GUILD}", False),
        ("server 1299999999999999999", False),
    ],
)
def test_the_permission_must_cover_the_channel_that_it_was_typed_in(
    workspace: Workspace, scope: str, covered: bool
) -> None:
    permit(workspace, scope)
    grant(workspace)
    allowed = agreed(typed(_0=MEMBER), workspace, GUILD)
    assert set(allowed.typed) == ({pair(0).id} if covered else set())
    assert withheld(allowed.marked(box((pair(0, "member"), [FIRST])))) == (not covered)


def test_a_claim_of_consent_is_not_believed(workspace: Workspace) -> None:
    claimed = box((pair(0, "member", consented=True), [FIRST]))
    assert withheld(agreed(typed(_0=MEMBER), workspace, GUILD).marked(claimed)) == 1
