"""Talk in the channel: the real bot process in the real sandbox, with a worker that answers as the test says."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.limits import CONTENT
from bot.phrases import REHEARSAL
from sandbox.people import Overwrite, Permission
from sandbox.visitor import NoAnswer
from tasks.embedded_redis import EmbeddedRedis
from tests.bot.house import PATIENCE, RATES_REFILL, House, faultless, told, words
from tests.bot.samples import reply
from training.schema import Problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with faultless(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def test_a_persona_answers_under_its_own_name(house: House) -> None:
    house.worker.answers.append(reply("Honk, @everyone and <@1200000000000000001>!"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Who *are* you, @everyone?")
        answer = await nell.until(lambda seen: seen["author"]["username"] == "Glordon")
        assert answer["content"].endswith(f"-# Glordon · v2 · {REHEARSAL}")
        asked = await nell.until(lambda seen: "-# Nell to Glordon" in words(seen))
        assert "> Who *are* you" in words(asked)
        for seen in (asked, answer):
            assert seen["mentions"] == []
            assert not seen.get("mention_everyone")
    assert [turn.content for turn in house.worker.asked[-1].messages] == ["Who *are* you, @everyone?"]


async def test_a_long_answer_comes_in_parts_and_in_order(house: House) -> None:
    sentences = [f"This is sentence number {number}." for number in range(200)]
    house.worker.answers.append(reply(" ".join(sentences), name="Olga"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Tell me a lot")
        await nell.until(lambda seen: seen["author"]["username"] == "Olga" and "-# Olga" in words(seen))
        parts = [seen["content"] for seen in nell.messages("tavern") if seen["author"]["username"] == "Olga"]
    assert len(parts) == 3
    assert all(len(part) <= CONTENT for part in parts)
    assert " ".join(parts).split("\n-#")[0].split(". ") == " ".join(sentences).split(". ")


async def test_a_name_that_webhooks_refuse_is_spoken_by_the_bot(house: House) -> None:
    house.worker.answers.append(reply("Hi.", name="Clyde"))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Hello Clyde")
        answer = await nell.until(lambda seen: "-# Clyde" in words(seen))
        assert answer["author"]["username"] == "Understudy"
        assert answer["content"] == f"**Clyde:** Hi.\n-# Clyde · v2 · {REHEARSAL}"


async def test_where_webhooks_are_not_allowed_the_bot_speaks(house: House) -> None:
    own = house.sandbox.world.guild.bot.id
    house.sandbox.world.set_overwrite("tavern", own, Overwrite(deny=Permission.MANAGE_WEBHOOKS))
    try:
        async with house.visitor("Nell") as nell:
            house.worker.answers.append(reply("By another mouth."))
            await nell.slash("tavern", "persona-chat", persona="glordon", message="Who speaks?")
            answer = await nell.until(lambda seen: "By another mouth." in words(seen))
            assert answer["author"]["username"] == "Understudy"
            assert answer["content"].startswith("**Glordon:** By another mouth.")
    finally:
        house.sandbox.world.set_overwrite("tavern", own, Overwrite())


async def test_a_webhook_that_was_deleted_is_made_again(house: House) -> None:
    async with house.visitor("Nell") as nell:
        speakers = []
        for number in range(3):
            house.worker.answers.append(reply(f"Take {number}."))
            await nell.slash("tavern", "persona-chat", persona="glordon", message="Again?")
            answer = await nell.until(lambda seen, number=number: f"Take {number}." in words(seen))
            speakers.append(answer["author"]["username"])
            if number == 0:
                house.sandbox.world.webhooks.clear()
        assert speakers == ["Glordon", "Understudy", "Glordon"]


async def test_an_interaction_that_is_seen_too_late_is_let_go(house: House) -> None:
    assert house.bot.process
    async with house.visitor("Nell") as nell:
        house.bot.process.send_signal(signal.SIGSTOP)
        try:
            asked = asyncio.create_task(nell.slash("workshop", "finetune", "list"))
            seen = len(house.sandbox.requests)
            async with asyncio.timeout(PATIENCE):
                while not house.sandbox.interactions.waiting:
                    await asyncio.sleep(0.01)
            house.sandbox.clock.advance(4)
            with pytest.raises(NoAnswer):
                await asked
        finally:
            house.bot.process.send_signal(signal.SIGCONT)
        await nell.slash("workshop", "finetune", "list")
        await told(nell, "Jobs here")
    assert [request.code for request in house.sandbox.requests[seen:] if request.code] == [10062]
    assert "was answered too late" in house.bot.log.read_text()


async def test_talk_that_fails_says_so(house: House) -> None:
    house.worker.answers.append(Problem(code="AdapterMissing", sentence="Its files are gone. Train it again."))
    async with house.visitor("Nell") as nell:
        await nell.slash("tavern", "persona-chat", persona="glordon", message="Are you there?")
        await nell.until(lambda seen: "🔴 Its files are gone. Train it again." in words(seen))
        await nell.slash("tavern", "persona-chat", persona="nobody", message="Hello?")
        await told(nell, "There is no persona called nobody here.")
        await nell.slash("tavern", "persona-chat", persona="glordon", message="   ")
        await told(nell, "There is nothing to answer.")
        assert not any(seen["flags"] & 128 for seen in nell.messages("tavern")), "nothing is left thinking"
