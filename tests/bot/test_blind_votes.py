"""Blind votes in the real bot: who may vote, what they see, and that each vote ends once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import redis.asyncio

from bot.ballot_box import Ballots, Closed
from bot.check_cards import TOLD_SAMPLES
from bot.vote_courier import LOOKED_THROUGH
from sandbox import limits
from sandbox.people import GUILD_ID
from tasks import keys
from tasks.embedded_redis import EmbeddedRedis
from tests.bot.check_samples import check_report
from tests.bot.house import RATES_REFILL, House, KillAtPost, is_private, labels, restart_after, started, told, words
from tests.bot.samples import report
from tests.bot.test_restarts import chat
from tests.bot.voters import (
    ballot,
    choose,
    chosen_by_all,
    closing,
    duelled,
    file_of,
    is_call,
    poll_of,
    pressed,
    result_of,
    side_of,
    visitors,
    voting_house,
)
from training.evaluation.schema import CheckSpec, SideBySide, Vote, VoteChoice
from training.schema import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

BALLOT = ["A", "B", "Tie", "Both bad", "Rate A", "Rate B"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with voting_house(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


# --- a vote from start to end --------------------------------------------------------------------------------------


async def test_a_blind_vote_of_seven_members(house: House) -> None:
    async with AsyncExitStack() as stack:
        names = ["Mara", "Nell", "Oskar", "Priya", "Quinn", "Remy", "Sana"]
        voters = await visitors(stack, house, names)
        [tariq] = await visitors(stack, house, ["Tariq"])
        house.sandbox.world.enrol("Newcomer")
        [newcomer] = await visitors(stack, house, ["Newcomer"])
        await started(tariq, "voted_on")
        held = await house.worker.claim()
        sample = Sample(question="Who are you?", base="A model.", adapter="A friend.")
        await house.worker.finish(held, report(held.job.spec, job_id=held.job.id, samples=(sample,)))
        result = await tariq.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert "Blind vote" in labels(result)

        await voters[1].press(result, "Blind vote")
        await told(voters[1], "Only members with the role Trainer")
        await tariq.press(result, "Blind vote")
        call = await is_call(voters[0], "Who is your friend?")
        assert labels(call) == ["Vote"]
        assert not is_private(call)
        await told(tariq, "The vote on 1 question is open")
        assert tariq.message(result["id"]) == result, "the result stays as it was"
        before = len(house.worker.asked)
        await tariq.press(result, "Blind vote")
        await told(tariq, "A vote on this result is open already")
        assert len(house.worker.asked) == before

        await tariq.press(call, "Vote")
        await told(tariq, "Whoever trained one of these versions does not vote")
        await newcomer.press(call, "Vote")
        await told(newcomer, "Only accounts that are at least 7 days old may vote")

        posted = "".join(words(seen) for seen in voters[0].messages("workshop"))
        assert "A friend." in posted
        assert not any(answer in posted for answer in ("I am here to help.", "Honk once."))
        shown = [await ballot(voter, call) for voter in voters]
        assert all(labels(seen) == BALLOT and is_private(seen) for seen in shown)
        assert all(held.job.id not in str(seen) and "v1" not in words(seen) for seen in shown)
        await choose(voters[0], shown[0], "I am here to help.")
        for voter, seen in zip(voters[1:], shown[1:], strict=True):
            await choose(voter, seen, "Honk once.")
        await pressed(voters[2], shown[2], "Both bad")

        poll_id = poll_of(call)
        await house.bot.kill()
        await house.bot.start()
        # The buttons outlive the bot, and whoever comes again sees the same sides.
        again = await ballot(voters[0], call)
        assert side_of(again, "Honk once.") == side_of(shown[0], "Honk once.")
        await choose(voters[0], again, "Honk once.")
        await choose(voters[2], shown[2], "Honk once.")
        assert words(voters[3].message(call["id"])) == words(call), "nothing is told before the close"

        await closing(house, poll_id, seconds=5)
        ended = await result_of(voters[3], poll_id)
        assert "Glordon: v1 leads" in words(ended)
        assert "7 decisive votes by 7 voters" in words(ended)
        assert "7 of 7 voters with a preference prefer v1: **100 %**" in words(ended)
        assert "**v1** · 7 votes “Honk once.”" in words(ended)
        assert [user["username"] for user in ended["mentions"]] == ["tariq"]
        over = await voters[3].until(lambda seen: seen["id"] == call["id"] and not labels(seen))
        assert "closed" in words(over)
        await voters[4].press(shown[4], "Tie")
        await told(voters[4], "This vote is closed")

        await voters[1].press(ended, "Use as training data")
        await told(voters[1], "Only members with the role Trainer")
        await tariq.press(ended, "Use as training data")
        made = await voters[3].until(lambda seen: "A run takes 5 at least" in words(seen))
        [asked] = house.worker.boxes
        assert asked.votes is not None
        assert str(asked.name) in words(made)
        assert "holds 1 preference" in words(made)
        assert {vote.choice for vote in asked.votes.votes} == {VoteChoice.SECOND}
        assert not any(member in asked.model_dump_json() for member in house.sandbox.world.guild.members)
        assert sum(f"Result of vote {poll_id}" in words(seen) for seen in voters[3].messages("workshop")) == 1


async def test_a_vote_closes_when_it_is_clear(house: House) -> None:
    await house.worker.trained("glordon")
    async with AsyncExitStack() as stack:
        voters = await visitors(stack, house, [f"Voter{number}" for number in range(10)])
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Who is your friend?", version="2", against="1")
        form_filler = voters[0]
        for number, voter in enumerate(voters):
            shown = await ballot(voter, call)
            if voter is form_filler:
                await voter.press(shown, f"Rate {side_of(shown, 'Honk twice.')}")
                await voter.until_true(lambda: form_filler.modal)
                await house.bot.kill()
                await house.bot.start()
                grades = {"In character": ["5"], "True to the facts": ["4"], "Worth talking to": ["3"]}
                await voter.submit(voter.modal, grades)
                await told(voter, "Kept: what you said of answer")
            await choose(voter, shown, "Honk twice.")
            closed = "The vote is closed" in words(voter.message(shown["id"]))
            assert closed == (number == 9)
        ended = await result_of(mara, poll_of(call))
        assert "Glordon: v2 won" in words(ended)
        assert "even if a third of the voters had agreed" in words(ended)
        assert "v2: in character 5.0 · true to the facts 4.0 · worth talking to 3.0 (1 form)" in words(ended)
        assert "In all votes so far" in words(ended), "three versions were voted on by now"
    with sqlite3.connect(file_of(house)) as db:
        row = db.execute("SELECT reason FROM polls WHERE id = ?", (poll_of(call),)).fetchone()
        assert row == (Closed.SETTLED,)
        told_by = db.execute("SELECT pair FROM pairs WHERE poll = ?", (poll_of(call),)).fetchone()
    assert '"asked_by":"sheet"' in told_by[0]


async def test_what_members_typed_is_learnt_from_only_once_they_agreed(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, tariq, *voters = await visitors(stack, house, ["Mara", "Tariq", *(f"Voter{n}" for n in range(6))])
        call = await duelled(mara, "Do you like tea?", version="2")
        await chosen_by_all(voters, call, "Honk twice.")
        await closing(house, poll_of(call), seconds=0)
        ended = await result_of(mara, poll_of(call))
        assert "No training data: whoever typed the question has not agreed to that" in words(ended)
        assert labels(ended) == []
        call = await duelled(tariq, "Do you like cake?", version="2")
        await chosen_by_all(voters, call, "Honk twice.")
        house.worker.agreed.add(tariq.me["id"])
        await closing(house, poll_of(call), seconds=0)
        ended = await result_of(tariq, poll_of(call))
        before = len(house.worker.boxes)
        await mara.press(ended, "Use as training data")
        await mara.until_true(lambda: len(house.worker.boxes) > before)
        await mara.until(lambda seen: "1 typed by members who have not agreed" in words(seen))
        asked = house.worker.boxes[-1]
        assert asked.votes is not None
        [typed] = [pair for pair in asked.votes.pairs if pair.asked_by == "member"]
        assert typed.question == "Do you like cake?"
        assert list(asked.typed) == [typed.id]
        assert asked.typed[typed.id].user == tariq.me["id"]
        assert "Do you like tea?" not in asked.model_dump_json()
        assert {vote.pair for vote in asked.votes.votes} <= {pair.id for pair in asked.votes.pairs}


async def test_few_votes_say_nothing_and_are_judgements_at_most(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, nell = await visitors(stack, house, ["Mara", "Nell"])
        house.worker.agreed.add(mara.me["id"])
        call = await duelled(mara, "Do you like snow?", version="2")
        await pressed(nell, await ballot(nell, call), "A")
        await closing(house, poll_of(call), seconds=0)
        ended = await result_of(nell, poll_of(call))
        assert "Glordon: not enough votes" in words(ended)
        assert "1 decisive vote by 1 voter · 0 ties" in words(ended)
        assert "No pair to learn from: that takes 6 voters who choose" in words(ended)
        assert labels(ended) == ["Use as training data"], "what was said of one answer is a judgement"


async def test_a_vote_that_nobody_took_part_in_teaches_nothing(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Do you like fog?", version="2")
        await closing(house, poll_of(call), seconds=0)
        ended = await result_of(mara, poll_of(call))
        assert "No pair to learn from: that takes 6 voters who choose" in words(ended)
        assert labels(ended) == []


async def test_a_check_tells_what_people_said_and_is_voted_on_by_questions_that_it_does_not_show(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, nell = await visitors(stack, house, ["Mara", "Nell"])
        await mara.slash("workshop", "persona", "check", persona="glordon", version="2", against="1", judge=True)
        held = await house.worker.claim()
        assert isinstance(held.job.spec, CheckSpec)
        assert held.job.spec.votes is not None, "a judge is measured on what people chose"
        assert {vote.pair for vote in held.job.spec.votes.votes} <= {pair.id for pair in held.job.spec.votes.pairs}
        assert "member" not in {pair.asked_by for pair in held.job.spec.votes.pairs}
        assert {vote.voter for vote in held.job.spec.votes.votes} == {str(number) for number in range(10)}
        samples = tuple(
            SideBySide(question=f"Question number {n}?", base=f"Base {n}.", before=f"Old {n}.", adapter=f"New {n}.")
            for n in range(TOLD_SAMPLES + 2)
        )
        lines = tuple(line for line in check_report().lines if line.id != "people")
        found = check_report(held.job.spec, job_id=held.job.id, samples=samples, lines=lines)
        await house.worker.finish(held, found)
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert "✅ People's votes\n100 %" in words(result), "ten voters chose v2 above"
        assert labels(result) == ["Blind vote"]
        thread = await mara.until_thread(result["id"])
        await mara.until_true(lambda: len(mara.messages(thread["id"])) >= TOLD_SAMPLES)
        await mara.press(result, "Blind vote")
        call = await is_call(nell, f"Question number {TOLD_SAMPLES}?")
        posted = "".join(words(seen) for place in ("workshop", thread["id"]) for seen in mara.messages(place))
        assert "Question number 0?" in posted
        shown = await ballot(nell, call)
        assert labels(shown) == [*BALLOT, "Next question"]
        assert "Question 1 of 3" in words(shown)
        await nell.press(shown, "Next question")
        await nell.until(lambda seen: seen["id"] == shown["id"] and "Question 2 of 3" in words(seen))
        for number in (1, 0, 2):
            await nell.until(
                lambda seen, n=number: seen["id"] == shown["id"] and f"Question {n + 1} of 3" in words(seen)
            )
            said = {embed["description"] for embed in nell.message(shown["id"])["embeds"]}
            # The last question is the sheet's.
            nth = f" {number}" if number < 2 else ""
            assert said == {f"Honk {how}{nth}." for how in ("once", "twice")}
            assert number == 2 or not any(answer in posted for answer in said)
            await nell.press(shown, "Tie")
        await nell.until(lambda seen: seen["id"] == shown["id"] and "That was all, thank you" in words(seen))
        assert "You chose **Tie**" in words(await ballot(nell, call))


async def test_answers_that_a_result_has_shown_are_not_voted_on(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        await mara.slash("workshop", "persona", "check", persona="glordon", version="2", against="1")
        held = await house.worker.claim()
        assert isinstance(held.job.spec, CheckSpec)
        shown = SideBySide(question="Where from?", base="No.", before="Honk once.", adapter="Honk.")
        await house.worker.finish(held, check_report(held.job.spec, job_id=held.job.id, samples=(shown,)))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        await mara.press(result, "Blind vote")
        await told(mara, "both answered the same, or one said nothing new. Ask another question with /persona duel")


async def test_general_questions_are_not_put_to_the_vote(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        await mara.slash("workshop", "persona", "check", persona="glordon", version="2", suite="general")
        held = await house.worker.claim()
        assert isinstance(held.job.spec, CheckSpec)
        await house.worker.finish(held, check_report(held.job.spec, job_id=held.job.id, comparison=None))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert labels(result) == []


# --- what nobody foresaw -------------------------------------------------------------------------------------------


async def test_what_a_vote_may_teach_is_told_later_where_the_question_is_lost(house: House) -> None:
    """Redis forgets what the bot asked it, as after a cancellation or where it was emptied."""
    async with AsyncExitStack() as stack:
        mara, nell = await visitors(stack, house, ["Mara", "Nell"])
        call = await duelled(mara, "Who forgets?", version="2")
        await pressed(nell, await ballot(nell, call), "A")
        house.worker.lost = True
        try:
            await closing(house, poll_of(call), seconds=0)
            ended = await result_of(mara, poll_of(call))
        finally:
            house.worker.lost = False
        assert "Glordon: not enough votes" in words(ended)
        assert labels(ended) == ["Use as training data"], "whoever presses it asks again"


async def test_a_result_that_fails_for_now_is_tried_again(house: House) -> None:
    """Something locks the file of votes away right after a close; the result is told once it is there again."""
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Who waits?", version="2", against="1")
        with sqlite3.connect(file_of(house)) as db:
            (kept,) = db.execute("SELECT pair FROM pairs WHERE poll = ?", (poll_of(call),)).fetchone()
            db.execute("UPDATE pairs SET pair = 'torn' WHERE poll = ?", (poll_of(call),))
        await closing(house, poll_of(call), seconds=0)
        async with asyncio.timeout(20):
            while "cannot be shown" not in house.bot.log.read_text():
                await asyncio.sleep(0.1)
        with sqlite3.connect(file_of(house)) as db:
            db.execute("UPDATE pairs SET pair = ? WHERE poll = ?", (kept, poll_of(call)))
        await result_of(mara, poll_of(call))


# --- killed at any moment ------------------------------------------------------------------------------------------


async def test_a_vote_closed_by_a_bot_that_died_is_told_once(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Were you away?", version="2")
        await house.bot.kill()
        ballots = Ballots(file_of(house))
        assert ballots.end(poll_of(call), Closed.DEADLINE, time.time())
        ballots.close()
        await house.bot.start()
        await result_of(mara, poll_of(call))
        await mara.until(lambda seen: seen["id"] == call["id"] and not labels(seen))
        assert sum(f"Result of vote {poll_of(call)}" in words(seen) for seen in mara.messages("workshop")) == 1


async def test_a_vote_that_was_clear_when_the_bot_died_is_closed_at_its_start(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Who was sure?", version="2", against="1")
        await house.bot.kill()
        ballots = Ballots(file_of(house))
        [pair] = ballots.pairs(poll_of(call))
        for number in range(12):
            assert ballots.cast(Vote(pair=pair.id, voter=f"{number:016x}", choice=VoteChoice.FIRST), time.time())
        ballots.close()
        await house.bot.start()
        assert "12 of 12 voters with a preference" in words(await result_of(mara, poll_of(call)))


async def test_a_result_that_was_owed_for_long_in_a_busy_channel_is_found_again(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Who heard it late?", version="2", against="1")
        killer = KillAtPost(house, f"Result of vote {poll_of(call)}")
        await closing(house, poll_of(call), seconds=0)
        await killer.done.wait()
        # As though the channel had been closed to the bot for a day, and busy meanwhile.
        with sqlite3.connect(file_of(house)) as db:
            db.execute("UPDATE polls SET closed_at = closed_at - 86400 WHERE id = ?", (poll_of(call),))
        chat(house, call["channel_id"], LOOKED_THROUGH + 1, datetime.now(UTC) - timedelta(hours=12))
        await restart_after(house, killer)
        # A later vote's message comes after all that this one owes.
        await duelled(mara, "Who heard it in time?", version="2")
        assert sum(f"Result of vote {poll_of(call)}" in words(seen) for seen in mara.messages("workshop")) == 1


@pytest.mark.parametrize("part", ["Vote", "Result of vote"])
async def test_what_was_posted_as_the_bot_died_is_not_posted_again(house: House, part: str) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        question = f"Who heard the {part}?"
        killer = KillAtPost(house, f"{part} ")
        if part == "Result of vote":
            call = await duelled(mara, question, version="2", against="1")
            await closing(house, poll_of(call), seconds=0)
        else:
            await mara.slash(
                "workshop", "persona", "duel", question=question, persona="glordon", vote=True, version="2"
            )
        await restart_after(house, killer)
        call = await is_call(mara, question)
        # A later vote's message comes after all that this one owes.
        await duelled(mara, f"After the {part}?", version="2")
        about = [words(seen) for seen in mara.messages("workshop") if poll_of(call) in words(seen)]
        assert sum(text.endswith(f"Vote {poll_of(call)}") for text in about) == 1
        assert sum(f"Result of vote {poll_of(call)}" in text for text in about) == (part == "Result of vote")


async def test_what_discord_refuses_is_said_plainly(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        call = await duelled(mara, "Too much said?", version="2")
        monkeypatch.setattr(limits, "EMBED_CHARACTERS", 20)
        await closing(house, poll_of(call), seconds=0)
        ended = await result_of(mara, poll_of(call))
        assert ended["embeds"] == []
        assert "Glordon: not enough votes" in words(ended)
        await mara.until(lambda seen: seen["id"] == call["id"] and "closed" in seen["content"] and not labels(seen))


async def test_whoever_trained_a_version_is_known_when_redis_is_not_any_more(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, tariq = await visitors(stack, house, ["Mara", "Tariq"])
        [first, *_] = await house.worker.versions(GUILD_ID, "glordon")
        async with redis.asyncio.Redis.from_url(house.bot.env["REDIS_URL"]) as connection:
            assert await connection.delete(keys.record(GUILD_ID, first.job_id))
        call = await duelled(mara, "Who remembers?", version="2", against="1")
        await tariq.press(call, "Vote")
        await told(tariq, "Whoever trained one of these versions does not vote")
        await house.bot.kill()
        with sqlite3.connect(file_of(house)) as db:
            db.execute("DELETE FROM trainers WHERE job = ?", (first.job_id,))
        await house.bot.start()
        question = "And now?"
        await mara.slash(
            "workshop", "persona", "duel", question=question, persona="glordon", vote=True, version="2", against="1"
        )
        await told(mara, "It is no longer known who trained v1")
        assert not any(question in words(seen) for seen in mara.messages("workshop") if not is_private(seen))


async def test_votes_may_take_a_role(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, nell = await visitors(stack, house, ["Mara", "Nell"])
        await house.bot.stop()
        house.bot.env["DISCORD_VOTE_ROLE"] = "moderator"
        await house.bot.start()
        call = await duelled(mara, "Who may say?", version="2", hours=3)
        await nell.press(call, "Vote")
        await told(nell, "Only members with the role moderator may vote here")
        await pressed(mara, await ballot(mara, call), "B")
        with sqlite3.connect(file_of(house)) as db:
            opened, closes = db.execute(
                "SELECT opened_at, closes_at FROM polls WHERE id = ?", (poll_of(call),)
            ).fetchone()
        assert closes - opened == 3 * 3600
        await house.bot.stop()
        del house.bot.env["DISCORD_VOTE_ROLE"]
        await house.bot.start()
