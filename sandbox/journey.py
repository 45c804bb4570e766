"""The first journey, played through the sandbox as a user would: start, watch, read the result, talk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.visitor import Visitor

JOB = "glordon_v1"
PERSONA = "glordon"
QUESTION = "What do you think about the Communiverse?"

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
    """Play the journey as the moderator Mara; raises JourneyFailed naming the step that failed within `seconds`."""
    began = time.monotonic()
    async with Visitor.connect(page_url, as_user="Mara") as mara:

        async def until(step: str, wanted: Callable[[Message], bool]) -> Message:
            left = seconds - (time.monotonic() - began)
            try:
                return await mara.until(wanted, timeout=max(left, 1))
            except TimeoutError:
                raise JourneyFailed(f"{step}: not seen within {seconds:.0f} s") from None

        say(f"Mara types /finetune start job_name:{JOB} persona:{PERSONA} epochs:{epochs}")
        choices = await mara.autocomplete(
            "workshop", "finetune", "start", options={"persona": PERSONA[:3]}, focused="persona"
        )
        if PERSONA not in [choice["value"] for choice in choices]:
            raise JourneyFailed(f"autocomplete: {PERSONA} is not among the {len(choices)} personas offered")
        await mara.slash("workshop", "finetune", "start", job_name=JOB, persona=PERSONA, epochs=epochs)
        plan = await until("plan card", lambda m: JOB in words(m) and "Start" in labels(m))
        job_id = custom_id(plan, "Start").rsplit(":", 1)[-1]
        say("Mara presses Start")
        await mara.press(plan, "Start")
        card = await until("progress card", lambda m: JOB in words(m) and "Cancel" in labels(m))
        await until("moving progress", lambda m: m["id"] == card["id"] and words(m) != words(card))
        result = await until("result", lambda m: bool(pictures(m)) and job_id in words(m))
        if not any(user["id"] == mara.me["id"] for user in result["mentions"]):
            raise JourneyFailed("result: it does not mention the one who started the job")
        say("Mara asks Glordon")
        await mara.slash("workshop", "persona-chat", persona=PERSONA, message=QUESTION)
        await until("persona's answer", lambda m: m["author"]["username"] == "Glordon")
        messages = mara.messages("workshop")
    return Journey(job_id, time.monotonic() - began, messages)


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
