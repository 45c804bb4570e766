"""Votes and duels in words: within Discord's limits, nobody's markdown or mention, and nothing told too soon."""

from __future__ import annotations

import pytest

from bot import vote_cards
from bot.ballot_box import Poll
from bot.cards import len_of
from bot.errors import NothingToVoteOn
from bot.limits import CONTENT, EMBEDS_IN_ALL, width
from bot.vote_cards import Counted, KnownVotes
from bot.voting import pairs_of, versions_of
from tasks.jobs import JobState
from tests.bot.check_samples import check_job, check_report, check_spec
from tests.bot.samples import reply, report, train_job, train_spec, view
from training.evaluation.schema import Contender, Rubric, SideBySide, Vote, VoteChoice, VotePair
from training.evaluation.separation import shared_words
from training.evaluation.votes import Version, strengths, tally
from training.schema import WHOLE_CAST, Sample

POLL = Poll("a" * 12, "1", "2", "glordon", None, "1200000000000000001", 1.8e9, 1.9e9)
NASTY = "@everyone **bold** <@1> 😀 " * 400


def pair(number: int = 0, answer: str = "A friend.", question: str = "Who?", older: Version = 2) -> VotePair:
    return VotePair(
        id=f"{number:012d}",
        persona="glordon",
        question=question,
        first=Contender(version=older, answer="Nobody."),
        second=Contender(version=3, answer=answer),
        asked_by="sheet",
    )


def result(pairs: list[VotePair], choices: list[VoteChoice], rubrics: tuple[Rubric, ...] = ()) -> str:
    votes = [Vote(pair=one.id, voter=f"v{i}", choice=choice) for one in pairs for i, choice in enumerate(choices)]
    counted = Counted(pairs, votes, rubrics, tally(pairs, votes, *versions_of(pairs)))
    embed = vote_cards.result_embed(
        POLL, "Glordon", counted, KnownVotes(strengths(pairs, votes), None, {"in_character": 0.5})
    )
    assert len_of(embed) <= EMBEDS_IN_ALL
    return f"{embed.title}\n{embed.description}\n" + "\n".join(f"{part.name}\n{part.value}" for part in embed.fields)


def test_nothing_is_told_before_the_close() -> None:
    call = vote_cards.call_embed(POLL, [pair()], "Glordon")
    said = f"{call.title}{call.description}{call.footer.text}"
    assert not any(word in said for word in ("friend", "Nobody", "v3", "v2", "votes"))
    for turned in (False, True):
        shown = vote_cards.ballot_embeds(pair(), turned)
        assert [embed.title for embed in shown] == ["Answer A", "Answer B"]
        assert [embed.description for embed in shown] == (
            ["A friend.", "Nobody."] if turned else ["Nobody.", "A friend."]
        )


@pytest.mark.parametrize(
    ("choice", "turned", "seen"),
    [(VoteChoice.FIRST, False, "A"), (VoteChoice.FIRST, True, "B"), (VoteChoice.SECOND, False, "B"),
     (VoteChoice.SECOND, True, "A"), (VoteChoice.TIE, True, "Tie"), (VoteChoice.BAD, False, "Both bad")],
)  # fmt: skip
def test_a_choice_is_told_by_the_side_that_its_voter_saw(choice: VoteChoice, turned: bool, seen: str) -> None:
    assert vote_cards.as_seen(choice, turned) == seen


@pytest.mark.parametrize(
    ("count", "title"),
    [(5, "not enough votes"), (6, "no clear difference"), (8, "v3 leads"), (10, "v3 won")],
)
def test_how_a_vote_ended(count: int, title: str) -> None:
    said = result([pair()], [VoteChoice.SECOND] * count)
    assert said.startswith(f"🗳️ Glordon: {title}")
    assert f"**v3** · {count} votes “A friend.”" in said
    assert ("prefer v3: **100 %**" in said) == (count > 5)


def test_the_older_version_may_win() -> None:
    said = result([pair(older=None)], [VoteChoice.FIRST] * 19 + [VoteChoice.SECOND])
    assert "Glordon: the base model won" in said
    assert "19 of 20 voters with a preference prefer the base model: **95 %**" in said


def test_ratings_and_ranks_are_told() -> None:
    rubric = Rubric(pair=pair().id, voter="v", side="second", in_character=5, true_to_facts=4, worth_talking_to=2)
    said = result([pair(0), pair(1, older=1)], [VoteChoice.SECOND] * 6, (rubric,))
    assert "v3: in character 5.0 · true to the facts 4.0 · worth talking to 2.0 (1 form)" in said
    assert "In all votes so far, preferred to another version: v3" in said
    assert "in character 0.50" in said


def test_what_people_and_models_wrote_stays_within_limits_and_harmless() -> None:
    pairs = [pair(number, NASTY, NASTY) for number in range(5)]
    said = result(pairs, [VoteChoice.SECOND] * 12)
    for text in (said, str(vote_cards.call_embed(POLL, pairs, NASTY).description)):
        assert "@everyone" not in text
        assert "**bold**" not in text
    assert len_of(vote_cards.call_embed(POLL, pairs, NASTY)) <= EMBEDS_IN_ALL
    assert len_of(vote_cards.over_embed(POLL, pairs, NASTY)) <= EMBEDS_IN_ALL
    assert sum(map(len_of, vote_cards.ballot_embeds(pairs[0], turned=True))) <= EMBEDS_IN_ALL
    assert width(vote_cards.ballot_text(POLL, pairs, 0, "Both bad")) <= CONTENT
    duel = vote_cards.side_by_side(NASTY, NASTY, [reply(NASTY, name=NASTY, persona=f"p{n}") for n in range(4)], reply())
    assert len_of(duel) <= EMBEDS_IN_ALL
    assert all(0 < width(field.value or "") <= 1024 for field in duel.fields)


# --- what is voted on ----------------------------------------------------------------------------------------------


def test_a_trainings_samples_are_put_against_the_base_model() -> None:
    samples = (
        Sample(question="Who?", base="A model.", adapter="A friend."),
        Sample(question="Same?", base="Yes.", adapter=" Yes. "),
        Sample(question="Silent?", base="", adapter="Yes."),
    )
    [found] = pairs_of(view(state=JobState.SUCCEEDED, report=report(samples=samples), version=3))
    assert (found.first, found.second) == (
        Contender(version=None, answer="A model."),
        Contender(version=3, answer="A friend."),
    )
    assert (found.persona, found.question, found.asked_by) == ("glordon", "Who?", "sheet")


def test_a_checks_samples_are_put_against_the_version_that_it_was_compared_with() -> None:
    found = pairs_of(view(check_job(), JobState.SUCCEEDED, check=check_report()))
    assert [(one.first.version, one.first.answer, one.second.version, one.second.answer) for one in found] == [
        (1, f"Old {n}.", 2, f"New {n}.") for n in range(3)
    ]
    alone = tuple(SideBySide(question="Who?", base="A model.", adapter="A friend.") for _ in range(9))
    against_base = check_report(check_spec(against=None, against_version=None), samples=alone)
    found = pairs_of(view(check_job(), JobState.SUCCEEDED, check=against_base))
    assert len(found) == 5
    assert found[0].first == Contender(version=None, answer="A model.")
    asked = check_report(check_spec(against=None, against_version=0), samples=check_report().samples)
    assert pairs_of(view(check_job(), JobState.SUCCEEDED, check=asked))[0].first == Contender(
        version=None, answer="Old 0."
    )


@pytest.mark.parametrize(
    "nothing",
    [
        view(),
        view(state=JobState.SUCCEEDED, report=report(samples=()), version=3),
        view(state=JobState.SUCCEEDED, report=report()),
        view(train_job(persona=WHOLE_CAST), report=report(train_spec(persona=WHOLE_CAST)), version=3),
        view(check_job(), check=check_report(check_spec(version=None, run_id=None))),
    ],
)
def test_there_may_be_nothing_to_vote_on(nothing: object) -> None:
    with pytest.raises(NothingToVoteOn, match="There is nothing to vote on here"):
        pairs_of(nothing)  # type: ignore[arg-type]


# --- side by side --------------------------------------------------------------------------------------------------


def test_how_far_apart_answers_are() -> None:
    assert shared_words("The cat sat.", "the CAT sat!") == 1.0
    assert shared_words("one two three", "three four five") == pytest.approx(1 / 5)
    assert shared_words("", "") == 1.0
    assert shared_words("", "word") == 0.0
    assert shared_words("我喜欢你", "我喜欢他") == pytest.approx(3 / 5)
    assert shared_words("don’t go", "don't go") == 1.0
