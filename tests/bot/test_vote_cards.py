"""Votes and duels in words: within Discord's limits, nobody's markdown or mention, and nothing told too soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot import check_cards, vote_cards
from bot.ballot_box import FORGOTTEN, NOBODY, Poll
from bot.cards import len_of
from bot.check_cards import TOLD_SAMPLES
from bot.errors import NothingToVoteOn
from bot.limits import CONTENT, EMBEDS_IN_ALL, width
from bot.vote_cards import Counted, KnownVotes
from bot.voting import AskedBy, contest_of, versions_of
from tasks.jobs import JobState, JobView
from tests.bot.check_samples import check_job, check_report, check_spec
from tests.bot.samples import event, reply, report, train_job, train_spec, view
from training.data.schema import DatasetCard
from training.evaluation.schema import (
    Contender,
    DriftPoint,
    Rubric,
    Separation,
    SideBySide,
    Suite,
    Vote,
    VoteChoice,
    VotePair,
)
from training.evaluation.separation import shared_words
from training.evaluation.votes import Version, strengths, tally
from training.schema import WHOLE_CAST, Message, Sample

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


KNOWN: dict[str, AskedBy] = {"Who?": "sheet", "Whence?": "sheet", "Why?": "operator"}


def test_a_training_is_voted_on_by_questions_that_its_result_does_not_answer() -> None:
    samples = (Sample(question="Who?", base="A model. ", adapter="A friend."),)
    found = contest_of(view(state=JobState.SUCCEEDED, report=report(samples=samples), version=3))
    assert (found.persona, found.versions) == ("glordon", (None, 3))
    assert found.questions(KNOWN) == {"Whence?": "sheet", "Why?": "operator"}
    assert found.posted == {"A model.", "A friend."}
    with pytest.raises(NothingToVoteOn, match="every question that is known here is answered above"):
        found.questions({"Who?": "sheet"})


def test_a_check_is_voted_on_by_questions_that_its_thread_does_not_hold() -> None:
    samples = tuple(
        SideBySide(question=f"Question {n}?", base=f"Base {n}.", before=f"Old {n}.", adapter=f"New {n}.")
        for n in range(TOLD_SAMPLES + 2)
    )
    talk = (Message(role="user", content="Hello!"), Message(role="assistant", content="Said in a talk."))
    drifted = check_report().answers[0].model_copy(update={"reply": "Said after a talk."})
    point = DriftPoint(rounds=1, lines=(), talks=(talk,), answers=(drifted,))
    asked = check_report(samples=samples, drift=(point,))
    found = contest_of(view(check_job(), JobState.SUCCEEDED, check=asked))
    assert found.versions == (1, 2)
    assert list(found.questions(KNOWN)) == ["Question 8?", "Question 9?", "Who?", "Whence?", "Why?"]
    thread = [check_cards.sample_embed(event(check_job(), check=asked), part) for part in range(TOLD_SAMPLES)]
    told = {embed.title for embed in thread}
    assert told.isdisjoint(f"“{question}”" for question in found.questions(KNOWN))
    # report.json goes with it, and holds every reply.
    every = {text for one in samples for text in (one.base, one.before, one.adapter)}
    every |= {"Said in a talk.", "Said after a talk."}
    assert found.posted == every | {answer.reply for answer in asked.answers}


@pytest.mark.parametrize("against_version", [None, 0])
def test_what_was_compared_with_nothing_else_is_put_against_the_base_model(against_version: int | None) -> None:
    spec = check_spec(against=None, against_version=against_version)
    assert contest_of(view(check_job(), JobState.SUCCEEDED, check=check_report(spec))).versions == (None, 2)


@pytest.mark.parametrize(
    "nothing",
    [
        view(),
        view(state=JobState.SUCCEEDED, report=report()),
        view(train_job(persona=WHOLE_CAST), report=report(train_spec(persona=WHOLE_CAST)), version=3),
        view(check_job(), check=check_report(check_spec(version=None, run_id=None))),
        view(check_job(), check=check_report(check_spec(against=None, against_version=None, suite=Suite.GENERAL))),
    ],
)
def test_there_may_be_nothing_to_vote_on(nothing: JobView) -> None:
    with pytest.raises(NothingToVoteOn, match="There is nothing to vote on here"):
        contest_of(nothing)


# --- side by side --------------------------------------------------------------------------------------------------


def test_how_far_apart_answers_are() -> None:
    assert shared_words("The cat sat.", "the CAT sat!") == 1.0
    assert shared_words("one two three", "three four five") == pytest.approx(1 / 5)
    assert shared_words("", "") == 1.0
    assert shared_words("", "word") == 0.0
    assert shared_words("我喜欢你", "我喜欢他") == pytest.approx(3 / 5)
    assert shared_words("don’t go", "don't go") == 1.0


def test_personas_are_apart_by_their_voices_where_a_worker_can_say() -> None:
    replies = [reply("Honk.", name="Glordon"), reply("We say so.", persona="questa", name="Questa")]
    own = Separation(right=0.5, distance=0.12, speakers=2)

    def said(right: float, distance: float, own: Separation | None = own) -> str:
        found = Separation(right=right, distance=distance, speakers=2)
        shown = vote_cards.side_by_side("Well?", "Nell", replies, reply("Honk!"), (found, own))
        return str(shown.fields[-1].value)

    assert said(1, 0.61).startswith("Clearly different: **0.61** apart, from 0, one voice, to 1; two answers of")
    assert "2 of 2 answers would be given to whoever gave it" in said(1, 0.61)
    assert "Not clearly different: **0.10**" in said(1, 0.1), "no further apart than one persona from itself"
    assert "Not clearly different: **0.61**" in said(0.5, 0.61)
    assert "Clearly different: **0.61** apart, from 0, one voice, to 1." in said(1, 0.61, None)
    unknown = vote_cards.side_by_side("Well?", "Nell", replies, reply("Honk!"), (None, None))
    assert "share **0 %** of their words" in str(unknown.fields[-1].value)


PREFERENCE_NOTES = {0: (), 4: ("a run takes 5 at least",), 5: ("/finetune start task_type:preference",)}


@pytest.mark.parametrize(
    ("preferences", "says"), [(0, "1 judgement"), (4, "A run takes 5 at least"), (5, "Learn from it with `/finetune")]
)
def test_what_votes_taught_tells_what_to_do_next(preferences: int, says: str) -> None:
    card = DatasetCard(
        name="votes-glordon", made_at="2026-11-29", version="a", sources=(), licenses=(), conversations=preferences,
        turns=0, notes=(*PREFERENCE_NOTES[preferences], "judgements.jsonl has 1 judgement of single answers."),
    )  # fmt: skip
    told = vote_cards.made_rows(card, "glordon", withheld=2)
    assert says in told
    assert "2 typed by members who have not agreed" in told
    assert ("/finetune" in told) == (preferences >= 5)


def test_nobody_is_mentioned_where_whoever_asked_is_forgotten() -> None:
    poll = replace(POLL, asker=NOBODY)
    gone = pair(question=FORGOTTEN)
    shown = [vote_cards.call_embed(poll, [gone], "Glordon"), vote_cards.over_embed(poll, [gone], "Glordon")]
    for text in (*(str(embed.description) for embed in shown), vote_cards.result_text(poll, "Glordon")):
        assert "<@" not in text
    assert "what was asked is forgotten" in str(shown[1].description)
    assert "the result is below" in str(vote_cards.over_embed(POLL, [pair()], "Glordon").description)
