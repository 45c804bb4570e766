"""The first journey, played through the sandbox as a user would: start, watch, read the result, talk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from sandbox.visitor import NoAnswer, Refused, Visitor

JOB = "glordon_v1"
PERSONA = "glordon"
QUESTION = "What do you think about the Communiverse?"
FAILED = "🔴"
# One look may take as long as the journey; its own limit ends both.
LONGEST_SECONDS = 86_400.0

Message = dict[str, Any]


class JourneyFailed(Exception):
    """A step of the journey did not happen; its text says which."""


@dataclass
class Journey:
    """What was played: the job, the messages in order, and how long it took."""

    job_id: str
    seconds: float
    messages: list[Message]


async def play(page_url: str, *, epochs: int, seconds: float, say: Callable[[str], None]) -> Journey:
    """Play the journey as the moderator Mara within `seconds`; raises JourneyFailed, naming the step that failed."""
    began = time.monotonic()
    steps = _Steps(epochs, say)
    try:
        async with asyncio.timeout(seconds), Visitor.connect(page_url, as_user="Mara") as mara:
            job_id = await steps.play(mara)
            messages = mara.messages("workshop")
    except TimeoutError:
        raise JourneyFailed(f"{steps.now}: not seen within {seconds:.0f} s") from None
    except (Refused, NoAnswer, OSError, aiohttp.ClientError) as error:
        raise JourneyFailed(f"{steps.now}: {error}") from error
    return Journey(job_id, time.monotonic() - began, messages)


class _Steps:
    """The steps in order; `now` is the one that is being played."""

    def __init__(self, epochs: int, say: Callable[[str], None]) -> None:
        self.now = "opening the page"
        self._epochs = epochs
        self._say = say

    async def play(self, mara: Visitor) -> str:
        """Play all of them; returns the job's id."""
        await self._choose(mara)
        job_id = await self._start(mara)
        await self._watch(mara, job_id)
        await self._talk(mara)
        return job_id

    async def _choose(self, mara: Visitor) -> None:
        self.now = "the personas that are offered"
        asked = {"persona": PERSONA[:3]}
        choices = await mara.autocomplete("workshop", "finetune", "start", options=asked, focused="persona")
        if PERSONA not in [choice["value"] for choice in choices]:
            raise JourneyFailed(f"{self.now}: {PERSONA} is not among them")

    async def _start(self, mara: Visitor) -> str:
        self._say(f"Mara types /finetune start job_name:{JOB} persona:{PERSONA} epochs:{self._epochs}")
        self.now = "the plan card"
        await mara.slash("workshop", "finetune", "start", job_name=JOB, persona=PERSONA, epochs=self._epochs)
        plan = await self._seen(mara, lambda m: JOB in words(m) and "Start" in labels(m))
        self._say("Mara presses Start")
        await mara.press(plan, "Start")
        return custom_id(plan, "Start").rsplit(":", 1)[-1]

    async def _watch(self, mara: Visitor, job_id: str) -> None:
        self.now = "the progress card"
        card = dict(await self._seen(mara, lambda m: JOB in words(m) and "Cancel" in labels(m)))
        self.now = "progress on the card"
        await self._seen(mara, lambda m: m["id"] == card["id"] and words(m) != words(card))
        self.now = "the result"
        result = await self._seen(mara, lambda m: bool(pictures(m)) and job_id in words(m))
        if mara.me["id"] not in [user["id"] for user in result["mentions"]]:
            raise JourneyFailed(f"{self.now}: it does not mention the one who started the job")

    async def _talk(self, mara: Visitor) -> None:
        self._say(f"Mara asks {PERSONA}: {QUESTION}")
        self.now = "the persona's answer"
        await mara.slash("workshop", "persona-chat", persona=PERSONA, message=QUESTION)
        await self._seen(mara, lambda m: m["author"]["username"].lower() == PERSONA)

    async def _seen(self, mara: Visitor, wanted: Callable[[Message], bool]) -> Message:
        """The first message that is wanted; a failed job ends the wait at once."""
        found = await mara.until(lambda m: wanted(m) or FAILED in words(m), timeout=LONGEST_SECONDS)
        if not wanted(found):
            raise JourneyFailed(f"{self.now}: {words(found)}")
        return found


def pictures(message: Message) -> list[str]:
    """The addresses of the pictures that its embeds show."""
    return [embed["image"]["url"] for embed in message["embeds"] if "image" in embed]


def words(message: Message) -> str:
    """Everything a person reads in a message: author, content, embeds and attachments."""
    parts = [message["author"]["username"], message["content"]]
    for embed in message["embeds"]:
        parts += [embed.get("author", {}).get("name", ""), embed.get("title", ""), embed.get("description", "")]
        parts += [f"{field['name']}: {field['value']}" for field in embed.get("fields", [])]
        parts += [embed.get("footer", {}).get("text", "")]
    parts += [f"[{url.rsplit('/', 1)[-1]}]" for url in pictures(message)]
    return "\n".join(part for part in parts if part)


def buttons(message: Message) -> list[Message]:
    """The buttons that can be pressed."""
    rows = [row for row in message["components"] if row["type"] == 1]
    return [item for row in rows for item in row["components"] if item["type"] == 2 and not item.get("disabled")]


def labels(message: Message) -> list[str]:
    """The words on a message's buttons."""
    return [button.get("label", "") for button in buttons(message)]


def custom_id(message: Message, label: str) -> str:
    """The custom id of the button with this label."""
    return str(next(button["custom_id"] for button in buttons(message) if button.get("label") == label))


def transcript(messages: list[Message]) -> str:
    """The channel as plain text, one block a message."""
    blocks = []
    for message in messages:
        seen = " (only Mara sees this)" if message.get("flags", 0) & 64 else ""
        head, _, rest = words(message).partition("\n")
        pressable = "".join(f"[{label}] " for label in labels(message)).strip()
        body = "\n".join(f"    {line}" for line in f"{rest}\n{pressable}".strip().splitlines())
        blocks.append(f"{head}{seen}\n{body}")
    return "\n".join(blocks)
