"""The sandbox is strict with itself: what it sends has what discord.py needs, and what Discord's document promises."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sandbox.people import BOT_ID, GUILD_ID
from sandbox.server import Sandbox
from sandbox.visitor import Visitor
from tests.sandbox.conftest import Call
from tests.sandbox.openapi import DOCUMENT, mistakes, violations
from tests.sandbox.test_gateway import UNPRIVILEGED, Socket, connected
from tests.sandbox.test_http import MESSAGES

MINIMUM = DOCUMENT.with_name("minimum_json.json")
pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason="Discord's document does not lie beside the repository")

# A thread has none of these on Discord; files of a command are looked at in test_attachments.py.
ABSENT = re.compile(r"^(threads\.0\.)?(position|permission_overwrites|nsfw|topic)$|^data\.resolved\b")
COMMAND = {
    "name": "lab",
    "description": "Try things",
    "options": [
        {
            "type": 1,
            "name": "echo",
            "description": "Answer",
            "options": [
                {
                    "type": 3,
                    "name": "text",
                    "description": "What",
                    "required": True,
                    "choices": [{"name": "Hi", "value": "hi"}],
                }
            ],
        }
    ],
}
MESSAGE = {
    "content": "hello",
    "embeds": [
        {"title": "t", "fields": [{"name": "n", "value": "v"}], "footer": {"text": "f"}, "author": {"name": "a"}}
    ],
    "components": [{"type": 1, "components": [{"type": 2, "style": 1, "label": "Go", "custom_id": "go"}]}],
}

LABEL = {
    "type": 18,
    "label": "Why",
    "component": {"type": 4, "style": 2, "custom_id": "why", "required": True, "label": None},
}
MODAL = {"custom_id": "rubric", "title": "How was it?", "components": [LABEL]}


def missing(payload: Any, case: str) -> list[str]:
    """The keys of the case that the payload lacks; a digit in a path stands for any list's first or any id."""
    listed = json.loads(MINIMUM.read_text("utf-8"))[case]
    wanted = [*listed["required"], *listed["optional_of_those_sent"]]
    return [path for path in wanted if not ABSENT.match(path) and not _has(payload, path.split("."))]


def _has(value: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    if isinstance(value, list):
        return bool(value) and _has(value[0], steps[1:])
    return isinstance(value, dict) and steps[0] in value and _has(value[steps[0]], steps[1:])


async def events(socket: Socket, *names: str) -> dict[str, Any]:
    """The data of the next event of each name."""
    found: dict[str, Any] = {}
    while set(names) - found.keys():
        frame = await socket.receive()
        found[frame["t"]] = frame["d"]
    return found


async def test_dispatches_and_answers_have_the_keys_that_discord_py_reads(
    sandbox: Sandbox, mara: Visitor, call: Call
) -> None:
    commands = (await call("PUT", f"/applications/{BOT_ID}/guilds/{GUILD_ID}/commands", [COMMAND])).body
    application = (await call("GET", "/oauth2/applications/@me")).body
    webhook = (await call("POST", "/channels/1200000000000000020/webhooks", {"name": "Elio"})).body
    await mara.until_true(lambda: mara.commands)
    asked = (await call("POST", MESSAGES, MESSAGE)).body
    thread = (await call("POST", f"{MESSAGES}/{asked['id']}/threads", {"name": "Samples"})).body
    async with connected(sandbox) as socket:
        await socket.identify(sandbox.token, intents=UNPRIVILEGED)
        seen = await events(socket, "READY", "GUILD_CREATE")
        posted = (await call("POST", MESSAGES, MESSAGE, files={"a.txt": b"a"})).body
        await mara.react(posted, "👍")
        seen |= await events(socket, "MESSAGE_CREATE", "MESSAGE_REACTION_ADD", "MESSAGE_UPDATE")
        fetched = (await call("GET", f"{MESSAGES}/{posted['id']}")).body
        using = asyncio.create_task(mara.slash("workshop", "lab", "echo", text="hi"))
        slash = (await events(socket, "INTERACTION_CREATE"))["INTERACTION_CREATE"]
        path = f"/interactions/{slash['id']}/{slash['token']}/callback?with_response=1"
        answered = (await call("POST", path, {"type": 4, "data": MESSAGE}, files={"a.txt": b"a"})).body
        await using
        pressing = asyncio.create_task(mara.press(posted, "Go"))
        press = (await events(socket, "INTERACTION_CREATE"))["INTERACTION_CREATE"]
        path = f"/interactions/{press['id']}/{press['token']}/callback?with_response=1"
        deferred = (await call("POST", path, {"type": 6})).body
        await pressing
        pressing = asyncio.create_task(mara.press(posted, "Go"))
        opener = (await events(socket, "INTERACTION_CREATE"))["INTERACTION_CREATE"]
        path = f"/interactions/{opener['id']}/{opener['token']}/callback?with_response=1"
        opened = (await call("POST", path, {"type": 9, "data": MODAL})).body
        await pressing
        submitting = asyncio.create_task(mara.submit(mara.modal, {"Why": "because"}))
        submitted = (await events(socket, "INTERACTION_CREATE"))["INTERACTION_CREATE"]
        path = f"/interactions/{submitted['id']}/{submitted['token']}/callback?with_response=1"
        told = (await call("POST", path, {"type": 4, "data": MESSAGE})).body
        await submitting
        starter = (await call("GET", f"{MESSAGES}/{asked['id']}")).body
        active = (await call("GET", f"/guilds/{GUILD_ID}/threads/active")).body

    lacks = {
        "READY": missing(seen["READY"], "READY"),
        "GUILD_CREATE": missing(seen["GUILD_CREATE"], "GUILD_CREATE"),
        "update": missing(seen["MESSAGE_UPDATE"], "MESSAGE_CREATE/UPDATE and REST message"),
        "reaction": missing(seen["MESSAGE_REACTION_ADD"], "MESSAGE_REACTION_ADD"),
        "slash": missing(slash, "INTERACTION_CREATE slash"),
        "press": missing(press, "INTERACTION_CREATE component"),
        "command": missing(commands[0], "command (PUT …/commands answer)"),
        "application": missing(application, "GET /oauth2/applications/@me"),
        "webhook": missing(webhook, "webhook"),
        "thread": missing(thread, "THREAD_CREATE / REST thread"),
        "modal": missing(submitted, "INTERACTION_CREATE modal"),
        "callback": [p for p in missing(answered, "callback answer (with_response=1)") if "reactions" not in p],
    }
    assert lacks == {what: [] for what in lacks}
    assert starter["thread"] == active["threads"][0] == seen["GUILD_CREATE"]["threads"][0]
    assert submitted["message"]["id"] == posted["id"]
    assert deferred["interaction"]["response_message_id"] == posted["id"]
    wrong = {
        "message": mistakes("MessageResponse", fetched),
        "callback": mistakes("InteractionCallbackResponse", answered),
        "deferred": mistakes("InteractionCallbackResponse", deferred),
        "opened": mistakes("InteractionCallbackResponse", opened),
        "submitted": mistakes("InteractionCallbackResponse", told),
        "thread": mistakes("ThreadResponse", thread),
        "starter": mistakes("MessageResponse", starter),
        "active": mistakes("ThreadsResponse", active),
        "command": mistakes("ApplicationCommandResponse", commands[0]),
        "webhook": mistakes("ApplicationIncomingWebhookResponse", webhook)
        and mistakes("GuildIncomingWebhookResponse", webhook),
    }
    assert wrong == {what: [] for what in wrong}


@dataclass(frozen=True)
class Sent:
    method: str
    template: str
    body: Any
    path: str = "/somewhere"


GOOD = Sent("POST", "/channels/{channel_id}/messages", {"content": "x", "nsfw": False, "embeds": [{"title": "t"}]})


def bad_requests() -> Iterator[tuple[Sent, str]]:
    yield replace(GOOD, body={"content": ["x"]}), "content"
    yield replace(GOOD, body={"embeds": [{"title": "x" * 257}]}), "embeds.0.title"
    yield replace(GOOD, body=None), "body is missing"
    yield replace(GOOD, template="/channels/{channel_id}/messages/{m}/shout"), "no such route"
    yield replace(GOOD, template=""), "/somewhere"
    yield Sent("DELETE", "/channels/{channel_id}/messages/{message_id}", {"x": 1}), "no body"


@pytest.mark.parametrize(("request_", "words"), list(bad_requests()))
def test_violations_of_discords_document_are_named(request_: Sent, words: str) -> None:
    (line,) = violations([GOOD, request_])
    assert words in line
