"""Modals and menus: what Discord refuses in one, and how answers reach an unmodified discord.py."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from sandbox import limits
from sandbox.commands import Misused
from sandbox.errors import Refusal
from sandbox.modals import check_modal, fields, filled
from sandbox.server import Sandbox
from sandbox.visitor import NoAnswer, Refused, Visitor
from tests.sandbox.app import App, Desk, running
from tests.sandbox.openapi import violations
from tests.sandbox.test_forms import leaves
from tests.sandbox.test_gateway import eventually
from tests.sandbox.test_interactions import says


def label(component: Any, **more: Any) -> dict[str, Any]:
    return {"type": 18, "label": "Why", "component": component} | more


def field(**more: Any) -> dict[str, Any]:
    return {"type": 4, "style": 1, "custom_id": "why"} | more


def menu(**more: Any) -> dict[str, Any]:
    return {"type": 3, "custom_id": "score", "options": [{"label": n, "value": n} for n in "123"]} | more


def row(*children: Any) -> dict[str, Any]:
    return {"type": 1, "components": list(children)}


def modal(*components: Any, **more: Any) -> dict[str, Any]:
    return {"custom_id": "m", "title": "t", "components": list(components)} | more


PLACE = "data.components.0"
BAD: list[tuple[dict[str, Any], str, str]] = [
    (modal(label(field()), title="x" * 46), "data.title", "BASE_TYPE_BAD_LENGTH"),
    (modal(label(field()), title=None), "data.title", "BASE_TYPE_REQUIRED"),
    (modal(label(field()), custom_id="x" * 101), "data.custom_id", "BASE_TYPE_BAD_LENGTH"),
    (modal(label(field()), custom_id=""), "data.custom_id", "BASE_TYPE_BAD_LENGTH"),
    (modal(), "data.components", "BASE_TYPE_BAD_LENGTH"),
    (modal(*(label(field(custom_id=str(n))) for n in range(6))), "data.components", "BASE_TYPE_BAD_LENGTH"),
    (modal(field()), f"{PLACE}.type", "UNION_TYPE_CHOICES"),
    (modal({"type": 2, "label": "Go", "custom_id": "b"}), f"{PLACE}.type", "UNION_TYPE_CHOICES"),
    (modal("text"), PLACE, "MODEL_TYPE_CONVERT"),
    (modal({"type": 10, "content": ""}), f"{PLACE}.content", "BASE_TYPE_BAD_LENGTH"),
    (modal(row(field(label="a"), field(label="b"))), f"{PLACE}.components", "BASE_TYPE_BAD_LENGTH"),
    (modal(row(field())), f"{PLACE}.components.0.label", "BASE_TYPE_REQUIRED"),
    (modal(row(field(label="x" * 46))), f"{PLACE}.components.0.label", "BASE_TYPE_BAD_LENGTH"),
    (modal(row(menu())), f"{PLACE}.components.0.type", "UNION_TYPE_CHOICES"),
    (modal(label(field(), label="x" * 46)), f"{PLACE}.label", "BASE_TYPE_BAD_LENGTH"),
    (modal(label(field(), description="x" * 101)), f"{PLACE}.description", "BASE_TYPE_BAD_LENGTH"),
    (modal(label(None)), f"{PLACE}.component", "MODEL_TYPE_CONVERT"),
    (modal(label({"type": 2})), f"{PLACE}.component.type", "UNION_TYPE_CHOICES"),
    (modal(label(field(custom_id="x" * 101))), f"{PLACE}.component.custom_id", "BASE_TYPE_MAX_LENGTH"),
    (modal(label(field(custom_id=None))), f"{PLACE}.component.custom_id", "BASE_TYPE_REQUIRED"),
    (modal(label(field(style=3))), f"{PLACE}.component.style", "BASE_TYPE_CHOICES"),
    (modal(label(field(placeholder="x" * 101))), f"{PLACE}.component.placeholder", "BASE_TYPE_MAX_LENGTH"),
    (modal(label(field(value="x" * 4001))), f"{PLACE}.component.value", "BASE_TYPE_MAX_LENGTH"),
    (modal(label(field(max_length=4001))), f"{PLACE}.component.max_length", "NUMBER_TYPE_MAX"),
    (modal(label(field(max_length=0))), f"{PLACE}.component.max_length", "NUMBER_TYPE_MAX"),
    (modal(label(field(min_length=9, max_length=8))), f"{PLACE}.component.min_length", "NUMBER_TYPE_MAX"),
    (modal(label(menu(options=[]))), f"{PLACE}.component.options", "BASE_TYPE_BAD_LENGTH"),
    (modal(label(menu(placeholder="x" * 151))), f"{PLACE}.component.placeholder", "BASE_TYPE_MAX_LENGTH"),
    (modal(label(menu(disabled=True))), f"{PLACE}.component.disabled", "BASE_TYPE_CHOICES"),
    (
        modal(label(field()), label(menu(custom_id="why"))),
        "data.components.1.component.custom_id",
        "COMPONENT_CUSTOM_ID_DUPLICATED",
    ),
]


@pytest.mark.parametrize(("data", "path", "code"), BAD)
def test_what_discord_refuses_in_a_modal(data: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_modal(data)
    assert leaves(refused.value.body["errors"]) == {path: code}


def test_what_is_just_within_the_limits_passes() -> None:
    widest = field(placeholder="x" * 100, value="x" * 4000, min_length=4000, max_length=4000, custom_id="x" * 100)
    parts = [label(field(custom_id=str(n)), label="x" * 45, description="x" * 100) for n in range(3)]
    checked = check_modal(modal({"type": 10, "content": "x" * 4000}, label(widest), *parts, title="x" * 45))
    numbers = [part["id"] for part in checked["components"]]
    numbers += [one.component["id"] for one in fields(checked)]
    assert len(set(numbers)) == 9, "every component has an id of its own"


def test_a_component_that_is_not_built_is_told_apart_from_a_wrong_one() -> None:
    with pytest.raises(Refusal) as refused:
        check_modal(modal(label({"type": 19, "custom_id": "file"})))
    assert refused.value.status == 404


FORM = check_modal(
    modal(
        label(field(min_length=2, max_length=5)),
        label(menu(min_values=1, max_values=2), label="Score"),
        row(field(custom_id="nick", label="Nick", required=False, min_length=2)),
        label(menu(custom_id="more", required=False, min_values=2, max_values=3), label="More"),
    )
)
GOOD: dict[str, Any] = {"why": "fine", "score": ["1", "3"]}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"score": ["1"]}, "Why is required"),
        (GOOD | {"why": "  "}, "Why is required"),
        (GOOD | {"why": "x"}, "Why must be 2 to 5 characters long; this is 1"),
        (GOOD | {"why": "xxxxxx"}, "this is 6"),
        (GOOD | {"nick": "x"}, "Nick must be 2 to 4,000"),
        (GOOD | {"score": []}, "Score takes 1 to 2 of the list; 0 are chosen"),
        (GOOD | {"score": ["4"]}, "Score must be of the list"),
        (GOOD | {"score": ["1", "1"]}, "Score must be of the list"),
        (GOOD | {"more": ["1"]}, "More takes 2 to 3"),
        (GOOD | {"shout": "x"}, "no field shout"),
    ],
)
def test_what_a_members_own_client_would_not_send(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misused, match=sentence):
        filled(FORM, values)


def test_a_filled_form_is_sent_part_by_part() -> None:
    data = filled(FORM, GOOD)
    assert data["custom_id"] == "m"
    why, score, nick, more = data["components"]
    assert (why["type"], why["component"]["value"]) == (18, "fine")
    assert (score["component"]["type"], score["component"]["values"]) == (3, ["1", "3"])
    assert (nick["type"], nick["components"][0]["value"]) == (1, "")
    assert more["component"]["values"] == []


async def test_a_commands_form_is_filled_in_and_answered(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    assert await mara.slash("workshop", "lab", "form") == "modal"
    assert mara.modal
    assert (mara.modal["title"], [one.label for one in fields(mara.modal)]) == (
        "How was it?",
        ["In character", "Why", "Nickname"],
    )
    with pytest.raises(Refused, match="Why is required"):
        await mara.submit(mara.modal, {"In character": "4"})
    assert await mara.submit(mara.modal, {"In character": "4", "why": "very much so"}) == "message"
    answer = await mara.until(says("['4'] very much so Anon"))
    about = answer["interaction_metadata"]
    assert (about["type"], about["triggering_interaction_metadata"]["name"]) == (5, "lab form")
    assert app.interactions[0].message is None
    assert mara.modal is None
    assert violations(sandbox.requests) == []


async def test_a_buttons_form_may_change_its_message(app: App, sandbox: Sandbox, mara: Visitor, nell: Visitor) -> None:
    await mara.slash("workshop", "lab", "desk")
    card = await nell.until(says("what do you think?"))
    assert await nell.press(card, "Judge") == "modal"
    assert mara.modal is None, "only who pressed sees the form"
    assert await nell.submit(nell.modal, {"In character": "1", "Why": "no", "Nickname": ""}) == "update"
    changed = await mara.until(says("['1'] no"))
    assert changed["id"] == card["id"]
    message = app.interactions[0].message
    assert message is not None
    assert (str(message.id), app.interactions[0].user.name) == (card["id"], "nell")
    assert violations(sandbox.requests) == []


async def test_a_dismissed_form_sends_nothing(app: App, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "form")
    shown = mara.modal
    await mara.dismiss()
    with pytest.raises(Refused, match="No form is open"):
        await mara.submit(mara.modal, {})
    with pytest.raises(Refused, match="form is closed"):
        await mara.submit(shown, {"score": "4", "why": "late"})
    assert app.interactions == []


async def test_a_newer_form_takes_the_place_of_an_older_one(app: App, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "form")
    first = mara.modal
    await mara.slash("workshop", "lab", "form")
    assert first
    assert (mara.modal or first)["id"] != first["id"]
    with pytest.raises(Refused, match="form is closed"):
        await mara.submit(first, {"score": "4", "why": "late"})


async def test_a_form_stays_open_when_nobody_answers(app: App, sandbox: Sandbox, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "form")
    sandbox.clock.advance(limits.TOKEN_LIVES_S + 1)
    sending = asyncio.create_task(mara.submit(mara.modal, {"score": "4", "why": "x", "nick": "silent"}))
    await eventually(lambda: sandbox.interactions.waiting)
    sandbox.clock.advance(limits.ANSWER_WITHIN_S + 0.1)
    with pytest.raises(NoAnswer):
        await sending
    await eventually(lambda: app.interactions)
    interaction = app.interactions[0]
    with pytest.raises(discord.NotFound) as refused:
        await interaction.response.send_message("too late")
    assert refused.value.code == 10062
    assert await mara.submit(mara.modal, {"score": "4", "why": "x"}) == "message"


async def test_a_form_is_not_answered_with_a_form(app: App, mara: Visitor) -> None:
    await mara.slash("workshop", "lab", "form")
    sending = asyncio.create_task(mara.submit(mara.modal, {"score": "4", "why": "x", "nick": "silent"}))
    await eventually(lambda: app.interactions)
    interaction = app.interactions[0]
    with pytest.raises(discord.HTTPException) as refused:
        await interaction.response.send_modal(discord.ui.Modal(title="Again").add_item(discord.ui.TextDisplay("x")))
    assert refused.value.code == 50035
    await interaction.response.send_message("enough")
    assert await sending == "message"


async def test_a_menu_is_chosen_from(app: App, sandbox: Sandbox, mara: Visitor, nell: Visitor) -> None:
    await mara.slash("workshop", "lab", "desk")
    card = await nell.until(says("what do you think?"))
    assert await nell.choose(card, "Pick one or two", "elio", "grigon") == "message"
    await mara.until(says("nell picked ['elio', 'grigon']"))
    with pytest.raises(Refused, match="of the list"):
        await nell.choose(card, "pick", "mara")
    with pytest.raises(Refused, match="takes 1 to 2 of the list; 3"):
        await nell.choose(card, "pick", "elio", "grigon", "glordon")
    with pytest.raises(Refused, match="no such button"):
        await nell.press(card, "pick")
    with pytest.raises(Refused, match="no menu"):
        await nell.choose(card, "Judge", "x")
    assert violations(sandbox.requests) == []


async def test_a_menu_outlives_the_bot_that_made_it(sandbox: Sandbox, mara: Visitor) -> None:
    async with running(sandbox):
        await mara.until_true(lambda: mara.commands)
        await mara.slash("workshop", "lab", "desk")
    async with running(sandbox) as second:
        second.add_view(Desk(second))
        card = await mara.until(says("what do you think?"))
        assert await mara.choose(card, "pick", "elio") == "message"
