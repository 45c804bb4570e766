"""The thread of samples under a check's result: each message once, whatever kills the bot or is not allowed to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.courier import THREAD_EXISTS
from sandbox.people import Overwrite, Permission
from tasks.embedded_redis import EmbeddedRedis
from tests.bot.checks import THREAD, checked, found_of, result_of, samples_under
from tests.bot.house import (
    RATES_REFILL,
    House,
    KillAtPost,
    faultless,
    is_private,
    job_of,
    restart_after,
    started,
    words,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with faultless(tmp_path_factory.mktemp("house"), redis_server.url, THREAD_EXISTS) as running:
        for _ in ("v1", "v2"):
            await running.worker.trained("glordon")
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def nothing_is_owed(house: House, visitor: Any, name: str) -> None:
    """Wait until a later job of the channel was shown: what was owed before it has been posted."""
    card = await started(visitor, name)
    await visitor.press(card, "Cancel")
    await visitor.until(lambda seen: f"Result of job {job_of(card)}" in words(seen))


async def test_a_bot_killed_between_any_two_posts_repeats_none(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara)
        parts = (f"Result of job {held.job.id}", THREAD, "Question 1 of 3", "Question 3 of 3")
        killers = [KillAtPost(house, part) for part in parts]
        await house.worker.finish(held, found_of(held))
        for killer in killers:
            await restart_after(house, killer)
        result = await result_of(mara, held)
        await nothing_is_owed(house, mara, "afterwards")
        said = await samples_under(mara, result)
        assert [seen["embeds"][0]["footer"]["text"] for seen in said] == [f"Question {n} of 3" for n in (1, 2, 3)]
        public = [seen for seen in mara.messages("workshop") if held.job.id in words(seen) and not is_private(seen)]
        assert len(public) == 2
        assert [thread["id"] for thread in mara.threads] == [result["id"]]


@pytest.mark.parametrize(("known", "killed"), [(True, False), (False, False), (True, True)])
async def test_without_the_right_to_open_threads_one_message_holds_the_samples(
    house: House, known: bool, killed: bool
) -> None:
    """known: the bot was told by the gateway that it may not; else it finds out by asking."""
    world = house.sandbox.world
    own = world.guild.bot.id
    denied = Overwrite(deny=Permission.CREATE_PUBLIC_THREADS)
    channel = world.guild.channel("workshop")
    assert channel
    try:
        async with house.visitor("Mara") as mara:
            held = await checked(house, mara)
            if known:
                world.set_overwrite("workshop", own, denied)
            else:
                channel.overwrites[own] = denied
            killer = KillAtPost(house, f"Samples of job {held.job.id}") if killed else None
            await house.worker.finish(held, found_of(held))
            if killer:
                await restart_after(house, killer)
            said = await mara.until(lambda seen: f"Samples of job {held.job.id}" in words(seen))
            assert "“Question number 2?”\n**base** “Base 2.”\n**v1** “Old 2.”\n**v2** “New 2.”" in words(said)
            await nothing_is_owed(house, mara, f"closed_{known}_{killed}")
            result = await result_of(mara, held)
            assert not any(thread["id"] == result["id"] for thread in mara.threads)
            public = [seen for seen in mara.messages("workshop") if held.job.id in words(seen) and not is_private(seen)]
            assert [seen["id"] for seen in public][1:] == [result["id"], said["id"]]
    finally:
        world.set_overwrite("workshop", own, Overwrite())


async def test_in_a_thread_the_samples_are_one_message_there(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara)
        await house.worker.finish(held, found_of(held))
        result = await result_of(mara, held)
        await mara.until_thread(result["id"])
        await mara.slash(result["id"], "persona", "check", persona="glordon")
        inner = await house.worker.claim()
        await house.worker.finish(inner, found_of(inner))
        said = await mara.until(lambda seen: f"Samples of job {inner.job.id}" in words(seen))
        assert said["channel_id"] == result["id"]


async def test_a_thread_that_was_deleted_holds_up_nothing(house: House) -> None:
    async with house.visitor("Mara") as mara:
        held = await checked(house, mara)
        killer = KillAtPost(house, f"Result of job {held.job.id}")
        await house.worker.finish(held, found_of(held))
        async with house.visitor("Nell") as nell:
            result = await result_of(nell, held)
        assert house.bot.process
        await house.bot.process.wait()
        world = house.sandbox.world
        world.remove(world.message(result["channel_id"], result["id"]))
        await restart_after(house, killer)
        again = await mara.until(
            lambda seen: f"Result of job {held.job.id}" in words(seen) and seen["id"] != result["id"]
        )
        await samples_under(mara, again)
