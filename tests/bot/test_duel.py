"""/persona duel in the real bot: answers side by side, how far apart they are, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tasks.embedded_redis import EmbeddedRedis
from tests.bot.house import RATES_REFILL, House, is_private, told, words
from tests.bot.samples import reply
from tests.bot.voters import GLORDON, visitors, voting_house
from training.evaluation.schema import Separation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with voting_house(tmp_path_factory.mktemp("house"), redis_server.url) as running:
        for _ in range(2):
            await running.worker.trained("glordon")
        yield running


@pytest.fixture(autouse=True)
def rested(house: House) -> None:
    """No test waits for the rate limits that an earlier one used up."""
    house.sandbox.clock.advance(RATES_REFILL)


async def test_the_same_question_to_two_personas(house: House) -> None:
    async with AsyncExitStack() as stack:
        [nell] = await visitors(stack, house, ["Nell"])
        await nell.slash(
            "tavern", "persona", "duel", question="What is the Communiverse?", persona="glordon",
            other="Ambassador Questa", version="1",
        )  # fmt: skip
        shown = await nell.until(lambda seen: "⚔️ What is the Communiverse?" in words(seen))
        assert not is_private(shown)
        assert "Honk once." in words(shown)
        assert "We of the Communiverse" in words(shown)
        assert "Glordon and Ambassador Questa share **0 %** of their words." in words(shown)
        assert "Two answers of Glordon share 100 %" in words(shown)


async def test_a_worker_tells_voices_apart(house: House) -> None:
    said: list[dict[str, str]] = []

    def apart(replies: dict[str, str]) -> Separation:
        said.append(replies)
        return Separation(right=1.0, distance=0.6 if len(said) == 1 else 0.1, speakers=len(replies))

    house.worker.apart = apart
    async with AsyncExitStack() as stack:
        [nell] = await visitors(stack, house, ["Nell"])
        await nell.slash("tavern", "persona", "duel", question="Apart?", persona="glordon", other="questa", version="1")
        shown = await nell.until(lambda seen: "⚔️ Apart?" in words(seen) and "How far apart" in words(seen))
        assert "Clearly different: **0.60** apart" in words(shown)
        assert "two answers of Glordon lie 0.10 apart" in words(shown)
    assert [list(replies) for replies in said] == [["glordon", "questa"]] * 2
    house.worker.apart = None


async def test_one_members_answers_are_written_one_after_another(house: House) -> None:
    async with AsyncExitStack() as stack:
        nell, oskar = await visitors(stack, house, ["Nell", "Oskar"])
        house.worker.chat_open.clear()
        await nell.slash("tavern", "persona", "duel", question="First?", persona="glordon", version="2")
        await nell.slash("tavern", "persona", "duel", question="Second?", persona="glordon", version="2")
        await told(nell, "The answers that you asked for before are still being written")
        await oskar.slash("tavern", "persona", "duel", question="Mine?", persona="glordon", version="2")
        house.worker.chat_open.set()
        for question in ("First?", "Mine?"):
            await nell.until(lambda seen, q=question: f"⚔️ {q}" in words(seen))
        await nell.slash("tavern", "persona", "duel", question="Third?", persona="glordon", version="2")
        await nell.until(lambda seen: "⚔️ Third?" in words(seen))
        assert "Second?" not in [spec.messages[-1].content for spec in house.worker.asked]


async def test_a_sheet_is_read_once_while_a_member_types(house: House) -> None:
    house.worker.sheets["questa"] = GLORDON.model_copy(update={"slug": "questa"})
    async with AsyncExitStack() as stack:
        [nell] = await visitors(stack, house, ["Nell"])
        before = house.worker.sheets_read
        for typed in ("W", "Wh", "Who", "Who i"):
            offered = await nell.autocomplete(
                "tavern", "persona", "duel", focused="question", options={"question": typed, "persona": "questa"}
            )
            assert "Who is your friend?" in [choice["value"] for choice in offered]
        assert house.worker.sheets_read == before + 1


async def test_the_same_question_to_two_versions(house: House) -> None:
    async with AsyncExitStack() as stack:
        nell, mara = await visitors(stack, house, ["Nell", "Mara"])
        await nell.slash("tavern", "persona", "duel", question="And now?", persona="glordon", version="2")
        shown = await nell.until(lambda seen: "⚔️ And now?" in words(seen))
        assert "Glordon · v2\nHonk twice." in words(shown)
        assert "Glordon · untrained\nI am here to help." in words(shown)
        assert "Glordon v2 and Glordon untrained share" in words(shown)
        # Whoever read them above could tell who says what.
        await mara.slash("tavern", "persona", "duel", question="And now?", persona="glordon", version="2", vote=True)
        await told(mara, "both answered the same, or one said nothing new")


@pytest.mark.parametrize(
    ("who", "options", "sentence"),
    [
        ("Nell", {"vote": True}, "Only members with the role Trainer"),
        ("Mara", {"vote": True, "other": "questa"}, "A blind vote is between two versions of one persona"),
        ("Nell", {"other": "questa", "against": "1"}, "Other personas answer with the version that is live"),
        ("Nell", {"version": "1", "against": "v1"}, "Glordon v1 cannot be put against itself"),
        ("Nell", {"version": "77"}, "77"),
        ("Nell", {"other": "nobody"}, "There is no persona called nobody"),
        ("Nell", {"persona": "questa"}, "No version of Ambassador Questa is live"),
        ("Nell", {"question": "   "}, "There is nothing to answer"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(
    house: House, who: str, options: dict[str, Any], sentence: str
) -> None:
    async with AsyncExitStack() as stack:
        [member] = await visitors(stack, house, [who])
        before = len(house.worker.asked)
        await member.slash("workshop", "persona", "duel", **{"question": "Well?", "persona": "glordon", **options})
        await told(member, sentence)
        assert len(house.worker.asked) == before


async def test_a_vote_on_the_same_words_is_refused(house: House) -> None:
    async with AsyncExitStack() as stack:
        [mara] = await visitors(stack, house, ["Mara"])
        house.worker.answers += [reply("Same.", version=2), reply(" Same. ", version=None)]
        await mara.slash("workshop", "persona", "duel", question="Well?", persona="glordon", vote=True, version="2")
        await told(mara, "There is nothing to vote on here: both answered the same")


async def test_questions_come_from_the_sheet(house: House) -> None:
    async with AsyncExitStack() as stack:
        [nell] = await visitors(stack, house, ["Nell"])
        offered = await nell.autocomplete(
            "workshop", "persona", "duel", focused="question", options={"question": "friend", "persona": "glordon"}
        )
        assert [choice["value"] for choice in offered] == ["friend", "Who is your friend?"]
