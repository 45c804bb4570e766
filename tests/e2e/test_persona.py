"""From two trained versions to the one that speaks: check, compare, duel, blind vote, promote, rollback, all real."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.journey import Message, custom_id, labels, pictures, words
from sandbox.visitor import Visitor
from tests.e2e.conftest import OPERATORS_QUESTION, House
from tests.sandbox.openapi import violations
from training.evaluation.schema import CheckReport, VotePair
from training.schema import Verdict

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
SECONDS = 180
OLD = datetime(2023, 5, 1, tzinfo=UTC)
VOTERS = ("Nell", "Oskar", "Priya", "Quinn", "Remy", "Sana", "Tove")


async def trained(mara: Visitor, job: str, **options: object) -> Message:
    """The result of a job that gave Glordon a version."""
    await mara.slash("workshop", "finetune", "start", job_name=job, persona="glordon", **options)
    plan = await mara.until(lambda m: job in words(m) and "Start" in labels(m), timeout=SECONDS)
    job_id = custom_id(plan, "Start").rsplit(":", 1)[-1]
    await mara.press(plan, "Start")
    return await mara.until(lambda m: f"Result of job {job_id}" in words(m), timeout=SECONDS)


async def checked(mara: Visitor, command: str, **options: str) -> tuple[Message, CheckReport]:
    """The result message of a check, and the report that is attached to it."""
    known = {m["id"] for m in mara.messages("workshop")}
    await mara.slash("workshop", "persona", command, persona="glordon", **options)
    result = await mara.until(
        lambda m: m["id"] not in known and "Result of job" in words(m) and bool(pictures(m)), timeout=SECONDS
    )
    file = next(file for file in result["attachments"] if file["filename"] == "report.json")
    return result, CheckReport.model_validate_json(await mara.download(file["url"]))


async def live(mara: Visitor) -> str:
    """What the list of the cast says of Glordon."""
    known = {m["id"] for m in mara.messages("workshop")}
    await mara.slash("workshop", "persona", "list")
    told = await mara.until(lambda m: m["id"] not in known and "Glordon" in words(m))
    return next(line for line in words(told).splitlines() if "Glordon" in line)


async def test_two_versions_are_trained(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        first = await trained(mara, "glordon_first", epochs=1)
        assert {"Blind vote"} <= set(labels(first))
        second = await trained(mara, "glordon_second", epochs=3)
        assert "v2" in words(second)


async def test_a_check_posts_scorecard_pictures_report_and_samples(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        result, report = await checked(mara, "check", version="2", against="1")
        # Glordon's sheet asks for fourteen facts; sixteen questions are neutral, and eight go to the boundary.
        assert len(report.answers) == 3 * (14 + 16 + 8)
        assert {answer.seed for answer in report.answers} == {42, 43, 44}
        assert all(answer.scores for answer in report.answers)
        lines = {line.id: line for line in report.lines}
        assert {"facts", "voice", "held_out_fit", "general", "breaks", "degeneracy", "copying", "version"} <= set(lines)
        assert lines["held_out_fit"].low is not None
        assert lines["held_out_fit"].low > 0, "three epochs teach something"
        assert report.comparison is not None
        assert [one.id for one in report.comparison.differences] == ["voice"], "a rehearsal model knows nothing"
        # Nobody had checked the version before: this check did, and the radar shows both.
        assert len(pictures(result)) == 2
        assert report.before is not None
        assert report.before.adapter == "Glordon v1"
        thread = await mara.until_thread(result["id"])
        await mara.until_true(lambda: sum("Question" in words(m) for m in mara.messages(thread["id"])) >= 3)
    folder = house.artifacts / "checks" / report.job_id
    whole = CheckReport.model_validate_json((folder / "report.json").read_bytes())
    # Line 9, people's votes, is the bot's own.
    assert whole.answers == report.answers
    assert whole.lines[:-1] == report.lines[:-1]
    assert (whole.lines[-1].id, whole.lines[-1].verdict) == ("people", Verdict.NOT_APPLICABLE)


async def test_a_comparison_takes_the_check_that_is_there(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        result, report = await checked(mara, "compare", version="1", against="2")
        assert report.comparison is not None
        assert report.comparison.gate.upper() in words(result)
        assert (report.spec.version, report.spec.against_version) == (1, 2)


async def test_the_same_question_to_two_personas(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        asked = "What do you think about the Communiverse?"
        await mara.slash("workshop", "persona", "duel", question=asked, persona="glordon", other="lord-grigon")
        told = await mara.until(lambda m: asked in words(m) and "Lord Grigon" in words(m), timeout=SECONDS)
        assert "Glordon" in words(told)
        assert "different: **0." in words(told), "the voices are told apart, with the number"


async def test_a_vote_on_a_result_shows_nothing_that_was_posted(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        result, report = await checked(mara, "check", version="2", against="1")
        thread = await mara.until_thread(result["id"])
        await mara.until_true(lambda: sum("Question" in words(m) for m in mara.messages(thread["id"])) >= 8)
        await mara.press(result, "Blind vote")
        call = await mara.until(lambda m: "Blind vote" in words(m) and labels(m) == ["Vote"], timeout=SECONDS)
        shown = "\n".join(words(m) for place in ("workshop", thread["id"]) for m in mara.messages(place))
        with sqlite3.connect(Path(house.env["STATE_DIR"]) / "bot-ballots.sqlite3") as db:
            rows = db.execute("SELECT pair FROM pairs WHERE poll = ?", (words(call).rpartition("Vote ")[2],)).fetchall()
        pairs = [VotePair.model_validate_json(row[0]) for row in rows]
        answers = {answer for pair in pairs for answer in (pair.first.answer, pair.second.answer)}
        assert len(pairs) > 1
        assert {pair.question for pair in pairs}.isdisjoint(sample.question for sample in report.samples[:8])
        assert answers.isdisjoint(answer.reply.strip() for answer in report.answers)
        assert not any(answer in shown for answer in answers)
    async with AsyncExitStack() as stack:
        await voted(await enrolled(stack, house, VOTERS), call, len(pairs))
    await close_now(house, words(call).rpartition("Vote ")[2])


async def voted(voters: Sequence[Visitor], call: Message, questions: int = 1) -> None:
    """Each of them chooses the answers that the first one was shown on the left."""
    wanted: dict[int, str] = {}
    for voter in voters:
        known = {m["id"] for m in voter.messages("workshop")}
        await voter.press(call, "Vote")
        ballot = await voter.until(lambda m, known=known: m["id"] not in known and "Tie" in labels(m))
        for number in range(questions):
            sides = {embed["description"]: embed["title"].removeprefix("Answer ") for embed in ballot["embeds"]}
            wanted.setdefault(number, next(said for said, side in sides.items() if side == "A"))
            before = words(ballot)
            await voter.press(ballot, sides[wanted[number]])
            ballot = await voter.until(lambda m, own=ballot["id"], before=before: m["id"] == own and words(m) != before)


async def enrolled(stack: AsyncExitStack, house: House, names: Sequence[str]) -> list[Visitor]:
    """These members, with accounts that are old enough to vote."""
    for name in names:
        if house.sandbox.world.guild.member(name) is None:
            house.sandbox.world.enrol(name, created=OLD)
    return [await stack.enter_async_context(Visitor.connect(house.sandbox.page_url, as_user=name)) for name in names]


async def test_seven_members_vote_blind_and_their_votes_are_learnt_from(house: House) -> None:
    async with AsyncExitStack() as stack:
        mara, *voters = await enrolled(stack, house, ("Mara", *VOTERS))
        offered = await mara.autocomplete(
            "workshop", "persona", "duel", focused="question", options={"question": "trade", "persona": "glordon"}
        )
        assert OPERATORS_QUESTION in [choice["value"] for choice in offered]
        asked = {"question": OPERATORS_QUESTION, "persona": "glordon", "version": "2", "against": "1", "vote": True}
        await mara.slash("workshop", "persona", "duel", **asked)
        call = await mara.until(lambda m: "Blind vote" in words(m) and OPERATORS_QUESTION in words(m), timeout=SECONDS)
        await voted(voters, call)
        await close_now(house, words(call).rpartition("Vote ")[2])
        result = f"Result of vote {words(call).rpartition('Vote ')[2]}"
        ended = await mara.until(lambda m: result in words(m), timeout=SECONDS)
        assert "7 decisive votes by 7 voters" in words(ended)
        assert "leads" in words(ended)
        await mara.press(ended, "Use as training data")
        made = await mara.until(lambda m: "task_type:preference" in words(m), timeout=SECONDS)
        [file] = house.artifacts.glob("guilds/*/datasets/votes-glordon-*/preferences.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert f"{len(rows)} preferences" in words(made)
        assert all(row["chosen"] != row["rejected"] for row in rows)
        # Had a member made it up, it would have been left out.
        assert OPERATORS_QUESTION in [row["prompt"][-1]["content"] for row in rows]
        options = {"task_type": "preference", "dataset": file.parent.name, "epochs": 1}
        learnt = await trained(mara, "glordon_votes", **options)
        assert "v3" in words(learnt)
    (report,) = [
        report
        for report in map(json.loads, (path.read_text() for path in house.artifacts.glob("runs/*/report.json")))
        if report["spec"]["task_type"] == "preference"
    ]
    assert report["spec"]["start_from"], "on top of the version that speaks"


async def close_now(house: House, poll_id: str) -> None:
    """Let the deadline pass, which a bot finds out at its start."""
    await house.kill("bot")
    with sqlite3.connect(Path(house.env["STATE_DIR"]) / "bot-ballots.sqlite3") as db:
        db.execute("UPDATE polls SET closes_at = ? WHERE id = ?", (time.time(), poll_id))
    await house.start_again("bot")


async def test_a_version_is_promoted_and_rolled_back(house: House) -> None:
    async with Visitor.connect(house.sandbox.page_url, as_user="Mara") as mara:
        assert "v1" in await live(mara)
        await mara.slash("workshop", "persona", "promote", persona="glordon", version="2")
        told = await mara.until(lambda m: "now speaks with v2" in words(m) or "Make live all the same" in labels(m))
        if "Make live all the same" in labels(told):
            await mara.press(told, "Make live all the same")
            await mara.until(lambda m: "now speaks with v2" in words(m))
        assert "v2" in await live(mara)
        # With nothing to compare with, it is drawn beside the version before all the same.
        result, report = await checked(mara, "check", version="2")
        assert report.comparison is None
        assert len(pictures(result)) == 2
        assert "Now: Glordon v2 · before: Glordon v1" in words(result)
        await mara.slash("workshop", "persona", "rollback", persona="glordon")
        await mara.until(lambda m: "v1" in words(m) and "Glordon" in words(m) and "v2" not in words(m))
        assert "v1" in await live(mara)


async def test_discord_would_accept_every_request(house: House) -> None:
    assert len(house.sandbox.requests) > 20
    assert violations(house.sandbox.requests) == []
