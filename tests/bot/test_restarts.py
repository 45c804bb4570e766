"""The bot killed with -9 and started again: cards go on, nothing is lost, nothing is said twice."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.courier import LOOKED_THROUGH
from sandbox import limits
from sandbox.messages import Message as Said
from sandbox.people import Overwrite, Permission, snowflake_of
from tasks.embedded_redis import EmbeddedRedis
from tasks.jobs import Queue
from tests.bot.house import RATES_REFILL, House, KillAtPost, Message, housed, job_of, labels, restart_after, words
from tests.bot.samples import progress, reply, report
from tests.sandbox.openapi import violations

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with housed(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running
        assert violations(running.sandbox.requests) == []
        assert "Traceback" not in running.bot.log.read_text(), running.bot.log.read_text()


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def planned(visitor: Any, name: str) -> Message:
    await visitor.slash("workshop", "finetune", "start", job_name=name, persona="glordon")
    card: Message = await visitor.until(lambda seen: name in words(seen) and "Start" in labels(seen))
    return card


async def started(visitor: Any, name: str) -> Message:
    await visitor.press(await planned(visitor, name), "Start")
    card: Message = await visitor.until(lambda seen: name in words(seen) and labels(seen) == ["Cancel"])
    return card


def about(visitor: Any, job_id: str) -> list[Message]:
    return [seen for seen in visitor.messages("workshop") if job_id in words(seen)]


async def test_a_job_goes_on_with_the_same_card_and_one_result(house: House) -> None:
    async with house.visitor("Mara") as mara:
        card = await started(mara, "survivor")
        held = await house.worker.claim()
        await house.worker.progress(held, progress(10, 40))
        await mara.until(lambda seen: seen["id"] == card["id"] and "Step 10 of 40" in words(seen))
        await house.bot.kill()
        await house.worker.progress(held, progress(20, 40))
        await house.bot.start()
        await mara.until(lambda seen: seen["id"] == card["id"] and "Step 20 of 40" in words(seen))
        await house.worker.finish(held, report(job_id=held.job.id))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert "· done" in words(mara.message(card["id"]))
        assert [seen["id"] for seen in about(mara, held.job.id)] == [card["id"], result["id"]]


async def test_what_was_owed_for_long_in_a_busy_channel_is_found_again(house: House) -> None:
    async with house.visitor("Mara") as mara:
        card = await started(mara, "late")
        held = await house.worker.claim()
        killer = KillAtPost(house, f"Result of job {held.job.id}")
        await house.worker.finish(held, report(job_id=held.job.id))
        await killer.done.wait()
        # As though the channel had been closed to the bot for a day, and busy meanwhile.
        with sqlite3.connect(Path(house.bot.env["STATE_DIR"]) / "bot-ledger.sqlite3") as db:
            db.execute("UPDATE outbox SET created_at = created_at - 86400 WHERE job_id = ?", (held.job.id,))
        chat(house, card["channel_id"], LOOKED_THROUGH + 1, datetime.now(UTC) - timedelta(hours=12))
        await restart_after(house, killer)
        later = await started(mara, "on_time")
        await mara.press(later, "Cancel")
        await mara.until(lambda seen: f"Result of job {job_of(later)}" in words(seen))
        assert len(about(mara, held.job.id)) == 2


def chat(house: House, channel_id: str, count: int, since: datetime) -> None:
    """Let a member have said so much in a channel, in the past."""
    nell = house.sandbox.world.guild.member("Nell")
    assert nell
    said = house.sandbox.world._messages[channel_id]
    for number in range(count):
        key = str(snowflake_of(since) + number)
        said[key] = Said(key, channel_id, nell.user, since.isoformat(), "Hm.")
    house.sandbox.world._messages[channel_id] = dict(sorted(said.items(), key=lambda item: int(item[0])))


async def test_plans_and_buttons_outlive_the_bot_and_commands_are_not_synced_again(house: House) -> None:
    syncs = len(house.requests("PUT", "/applications/{application_id}/guilds/{guild_id}/commands"))
    assert syncs == 1
    async with house.visitor("Tariq") as tariq:
        card = await started(tariq, "impatient")
        held = await house.worker.claim()
        plan_card = await planned(tariq, "patient")
        await house.bot.kill()
        await house.bot.start()
        await tariq.press(card, "Cancel")
        await house.worker.until_cancelled(held)
        await tariq.until(lambda seen: f"Result of job {held.job.id}" in words(seen) and "cancelled" in words(seen))
        assert len(about(tariq, held.job.id)) == 2
        await tariq.press(plan_card, "Start")
        await tariq.until(lambda seen: "**patient**" in words(seen) and labels(seen) == ["Cancel"])
        await house.worker.finish(await house.worker.claim(), None)
    assert len(house.requests("PUT", "/applications/{application_id}/guilds/{guild_id}/commands")) == syncs


async def test_a_wish_outlives_the_bot_and_a_job_that_came_to_rest_meanwhile_shows_it(house: House) -> None:
    async with house.visitor("Mara") as mara:
        card = await started(mara, "dreamer")
        held = await house.worker.claim()
        await house.worker.progress(held, progress(10, 40))
        running = await mara.until(lambda seen: seen["id"] == card["id"] and labels(seen) == ["Pause", "Cancel"])
        await mara.press(running, "Pause")
        await mara.until(lambda seen: "**dreamer** is being paused" in words(seen))
        await house.bot.kill()
        await house.worker.until_paused(held, 10)
        await house.bot.start()
        rests = await mara.until(lambda seen: seen["id"] == card["id"] and "Paused at step 10 of 40." in words(seen))
        assert labels(rests) == ["Resume", "Cancel"]
        await mara.press(rests, "Resume")
        await mara.until(lambda seen: "**dreamer** goes on from where it stopped" in words(seen))
        await house.bot.kill()
        again = await house.worker.claim()
        await house.bot.start()
        await house.worker.finish(again, report(job_id=held.job.id))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        public = [seen["id"] for seen in about(mara, held.job.id)]
        assert public == [card["id"], result["id"]]
        assert again.job == held.job


async def test_an_answer_given_while_the_bot_was_away_is_said_once(house: House) -> None:
    async with house.visitor("Nell") as nell:
        house.worker.chat_open.clear()
        house.worker.answers.append(reply("I waited for you.", name="Olga"))
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Still there?")
        await nell.until(lambda seen: "> Still there?" in words(seen))
        await house.bot.kill()
        house.worker.chat_open.set()
        await house.bot.start()
        await nell.until(lambda seen: "I waited for you." in words(seen))
        await settled(house, "Oskar")
        assert sum("I waited for you." in words(seen) for seen in nell.messages("tavern")) == 1


async def settled(house: House, name: str) -> None:
    """Wait until a later question in the tavern was answered: what was owed before it has been said."""
    async with house.visitor(name) as member:
        house.worker.answers.append(reply(f"Done with {name}.", name=f"Echo {name}"))
        await member.slash("tavern", "persona-chat", persona="glordon", message="Anything else?")
        await member.until(lambda seen: f"Done with {name}." in words(seen))


async def test_a_card_in_doubt_is_found_again(house: House) -> None:
    async with house.visitor("Mara") as mara:
        plan_card = await planned(mara, "doubtful")
        killer = KillAtPost(house, f"Job {job_of(plan_card)}")
        await mara.press(plan_card, "Start")
        await restart_after(house, killer)
        held = await house.worker.claim()
        await house.worker.progress(held, progress(7, 40))
        card = await mara.until(lambda seen: "doubtful" in words(seen) and "Step 7 of 40" in words(seen))
        await house.worker.finish(held, report(job_id=held.job.id))
        result = await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        public = [seen for seen in about(mara, held.job.id) if seen["id"] != plan_card["id"]]
        assert [seen["id"] for seen in public] == [card["id"], result["id"]]


async def test_a_result_in_doubt_is_not_posted_again(house: House) -> None:
    async with house.visitor("Mara") as mara:
        await started(mara, "twice_told")
        held = await house.worker.claim()
        killer = KillAtPost(house, f"Result of job {held.job.id}")
        await house.worker.finish(held, report(job_id=held.job.id))
        await restart_after(house, killer)
        other = await started(mara, "afterwards")
        assert sum("Result of job" in words(seen) for seen in about(mara, held.job.id)) == 1
        await mara.press(other, "Cancel")
        await mara.until(lambda seen: f"Result of job {job_of(other)}" in words(seen))


async def test_words_in_doubt_are_not_said_again(house: House) -> None:
    """Without the message content intent, Discord shows what a webhook said to that webhook only."""
    async with house.visitor("Nell") as nell:
        house.worker.answers.append(reply("Did you hear me?", name="Olga"))
        killer = KillAtPost(house, "Did you hear me?")
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Say it")
        await restart_after(house, killer)
        await settled(house, "Priya")
        assert sum("Did you hear me?" in words(seen) for seen in nell.messages("tavern")) == 1


async def test_what_discord_refuses_is_said_plainly_and_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house.visitor("Mara") as mara:
        card = await started(mara, "refused")
        held = await house.worker.claim()
        killer = KillAtPost(house, f"Result of job {held.job.id}")
        monkeypatch.setattr(limits, "EMBED_CHARACTERS", 20)
        await house.worker.finish(held, report(job_id=held.job.id))
        await restart_after(house, killer)
        await settled(house, "Remy")
        done = mara.message(card["id"])
        assert (done["embeds"], "🟢 **refused** · done" in done["content"], labels(done)) == ([], True, [])
        card_line, result = about(mara, held.job.id)
        assert card_line["id"] == card["id"]
        assert result["embeds"] == []
        assert "**Glordon v" in result["content"]
        assert [user["username"] for user in result["mentions"]] == ["mara"]


async def test_a_closed_channel_holds_up_no_other_and_is_told_when_it_opens(house: House) -> None:
    own = house.sandbox.world.guild.bot.id
    async with house.visitor("Mara") as mara:
        await started(mara, "shut_out")
        held = await house.worker.claim()
        house.sandbox.world.set_overwrite("workshop", own, Overwrite(deny=Permission.VIEW_CHANNEL))
        await house.worker.finish(held, report(job_id=held.job.id))
        await settled(house, "Quinn")
        house.sandbox.world.set_overwrite("workshop", own, Overwrite())
        await mara.until(lambda seen: f"Result of job {held.job.id}" in words(seen))
        assert len(about(mara, held.job.id)) == 2
    assert "is closed to the card of job" in house.bot.log.read_text()
    assert await house.worker._claim(Queue.TRAIN) is None
