"""Members of the sandbox who vote blind, and what the scripted voices say to them."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bot.check_cards import TOLD_SAMPLES
from tests.bot.house import House, Message, housed, is_private, words
from tests.bot.samples import reply
from tests.sandbox.openapi import violations
from training.schema import ChatSpec, Fact, Persona

OLD = datetime(2023, 5, 1, tzinfo=UTC)
GLORDON = Persona(
    name="Glordon",
    slug="glordon",
    bio="A soft alien.",
    facts=(Fact(id="friend", text="Elio is his friend.", question="Who is your friend?", accept=("Elio",)),),
)


@asynccontextmanager
async def voting_house(folder: Path, redis_url: SecretStr) -> AsyncIterator[House]:
    """A house whose Glordon has a sheet and answers by version, and whose bot asks Discord for nothing wrong."""
    async with housed(folder, redis_url) as running:
        running.worker.sheets["glordon"] = GLORDON
        running.worker.answer_to = answered
        yield running
        assert violations(running.sandbox.requests) == []
        assert [seen for seen in running.sandbox.requests if seen.status in (401, 429)] == []
        # The one that a test lets happen is of a file that it tore.
        unforeseen = running.bot.log.read_text().replace("cannot be shown.\nTraceback", "cannot be shown.")
        assert "Traceback" not in unforeseen, unforeseen


def answered(spec: ChatSpec) -> Any:
    """What each version says, so that it is known which one a voter chose."""
    number = re.sub(r"\D", "", spec.messages[-1].content)
    # Of numbered questions, those that a result shows come first.
    nth = f" {int(number) - TOLD_SAMPLES}" if number else ""
    said = {0: "I am here to help.", 1: f"Honk once{nth}.", 2: f"Honk twice{nth}."}
    names = {"glordon": "Glordon", "questa": "Ambassador Questa"}
    version = None if spec.version in (0, None) else spec.version
    own = f"We of the Communiverse say so. {spec.seed}" if spec.persona == "questa" else said[spec.version or 0]
    return reply(own, persona=spec.persona, name=names[spec.persona], version=version)


async def is_call(visitor: Any, part: str) -> Message:
    """The message of an open vote."""
    call: Message = await visitor.until(lambda seen: "Blind vote" in words(seen) and part in words(seen))
    return call


async def ballot(visitor: Any, call: Message) -> Message:
    """What a voter is shown after pressing Vote."""
    before = {seen["id"] for seen in visitor.messages("workshop")}
    await visitor.press(call, "Vote")
    shown: Message = await visitor.until(lambda seen: seen["id"] not in before and is_private(seen))
    return shown


def side_of(shown: Message, answer: str) -> str:
    """The button of the side on which this voter sees an answer."""
    [title] = [embed["title"] for embed in shown["embeds"] if embed["description"] == answer]
    return str(title.removeprefix("Answer "))


async def choose(visitor: Any, shown: Message, answer: str) -> None:
    """Choose the side that shows an answer, and wait until it is kept."""
    side = side_of(shown, answer)
    await visitor.press(shown, side)
    await visitor.until(
        lambda seen: seen["id"] == shown["id"] and ("Kept" in words(seen) or f"You chose **{side}**" in words(seen))
    )


async def pressed(visitor: Any, shown: Message, button: str) -> None:
    await visitor.press(shown, button)
    await visitor.until(lambda seen: seen["id"] == shown["id"] and f"You chose **{button}**" in words(seen))


async def result_of(visitor: Any, poll_id: str) -> Message:
    result: Message = await visitor.until(lambda seen: f"Result of vote {poll_id}" in words(seen))
    return result


def poll_of(call: Message) -> str:
    return words(call).rpartition("Vote ")[2]


def file_of(house: House) -> Path:
    return Path(house.bot.env["STATE_DIR"]) / "bot-ballots.sqlite3"


async def closing(house: House, poll_id: str, seconds: float) -> None:
    """Let a vote end that soon, by the file that a restarted bot reads."""
    await house.bot.kill()
    with sqlite3.connect(file_of(house)) as db:
        db.execute("UPDATE polls SET closes_at = ? WHERE id = ?", (time.time() + seconds, poll_id))
    await house.bot.start()


async def visitors(stack: AsyncExitStack, house: House, names: Sequence[str]) -> list[Any]:
    """These members, who join if they are not there yet, with accounts that are old enough."""
    for name in names:
        if house.sandbox.world.guild.member(name) is None:
            house.sandbox.world.enrol(name, created=OLD)
    return [await stack.enter_async_context(house.visitor(name)) for name in names]


async def duelled(visitor: Any, question: str, **options: Any) -> Message:
    """The call of a vote on two versions of Glordon."""
    before = {seen["id"] for seen in visitor.messages("workshop")}
    await visitor.slash("workshop", "persona", "duel", question=question, persona="glordon", vote=True, **options)
    call: Message = await visitor.until(
        lambda seen: seen["id"] not in before and "Blind vote" in words(seen) and question in words(seen)
    )
    return call


async def chosen_by_all(voters: Sequence[Any], call: Message, answer: str) -> None:
    for voter in voters:
        await choose(voter, await ballot(voter, call), answer)
