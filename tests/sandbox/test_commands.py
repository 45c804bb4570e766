"""Command sync and use: what Discord refuses to register, and what a member's client refuses to send."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.clock import Clock
from sandbox.commands import Misused, Registry, check_commands, fill_in, may_use
from sandbox.errors import Refusal
from sandbox.people import GUILD_ID, Permission
from tests.sandbox.test_forms import leaves

Json = dict[str, Any]


def command(name: str = "lab", **more: Any) -> Json:
    return {"name": name, "description": "Try things", "options": []} | more


def option(name: str = "text", kind: int = 3, **more: Any) -> Json:
    return {"type": kind, "name": name, "description": "An option"} | more


def choices(*values: Any) -> list[Json]:
    return [{"name": str(value), "value": value} for value in values]


REFUSED: list[tuple[list[Json], str, str]] = [
    ([command("Lab")], "0.name", "APPLICATION_COMMAND_INVALID_NAME"),
    ([command("two words")], "0.name", "APPLICATION_COMMAND_INVALID_NAME"),
    ([command("x" * 33)], "0.name", "BASE_TYPE_BAD_LENGTH"),
    ([command(description="")], "0.description", "BASE_TYPE_BAD_LENGTH"),
    ([command(description="x" * 101)], "0.description", "BASE_TYPE_BAD_LENGTH"),
    ([command(), command()], "1.name", "APPLICATION_COMMANDS_DUPLICATE_NAME"),
    ([command(f"c{n}") for n in range(101)], "", "BASE_TYPE_MAX_LENGTH"),
    ([command(type=9)], "0.type", "BASE_TYPE_CHOICES"),
    (
        [{"name": "Read it", "type": 3, "description": "no"}],
        "0.description",
        "APPLICATION_COMMANDS_DESCRIPTION_INVALID",
    ),
    ([command(default_member_permissions="all")], "0.default_member_permissions", "NUMBER_TYPE_COERCE"),
    ([command(options=[option(f"o{n}") for n in range(26)])], "0.options", "BASE_TYPE_MAX_LENGTH"),
    ([command(options=[option("Text")])], "0.options.0.name", "APPLICATION_COMMAND_INVALID_NAME"),
    ([command(options=[option(), option()])], "0.options.1.name", "APPLICATION_COMMAND_OPTIONS_NAME_INVALID"),
    (
        [command(options=[option("a"), option("b", required=True)])],
        "0.options.1",
        "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
    ),
    ([command(options=[option("sub", 1), option("b")])], "0.options", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
    (
        [command(options=[option("sub", 1, options=[option("deeper", 2)])])],
        "0.options.0.options.0.type",
        "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID",
    ),
    (
        [command(options=[option(choices=choices("a"), autocomplete=True)])],
        "0.options.0.autocomplete",
        "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_CHOICES",
    ),
    ([command(options=[option(choices=choices(*map(str, range(26))))])], "0.options.0.choices", "BASE_TYPE_MAX_LENGTH"),
    ([command(options=[option(choices=choices("x" * 101))])], "0.options.0.choices.0.name", "BASE_TYPE_BAD_LENGTH"),
    ([command(options=[option(choices=choices(1))])], "0.options.0.choices.0.value", "STRING_TYPE_CONVERT"),
    ([command(options=[option(kind=4, choices=choices("1"))])], "0.options.0.choices.0.value", "NUMBER_TYPE_COERCE"),
    (
        [command(options=[option(choices=choices("a", "a"))])],
        "0.options.0.choices.1.name",
        "APPLICATION_COMMAND_OPTIONS_CHOICE_NAME_DUPLICATE",
    ),
    ([command(options=[option(min_value=1)])], "0.options.0.min_value", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID"),
    ([command(options=[option(kind=4, min_value=5, max_value=1)])], "0.options.0.min_value", "NUMBER_TYPE_MAX"),
    ([command(options=[option(max_length=6001)])], "0.options.0.max_length", "NUMBER_TYPE_MAX"),
    (
        [
            command(
                options=[option(f"o{n}", choices=choices(*(f"{c:03}" + "x" * 97 for c in range(25)))) for n in range(2)]
            )
        ],
        "0",
        "APPLICATION_COMMAND_TOO_LARGE",
    ),
]


@pytest.mark.parametrize(
    ("commands", "field", "code"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_wrong_command_is_refused_by_field(commands: list[Json], field: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_commands(commands)
    assert leaves(refused.value.body["errors"]).get(field) == code


def test_unusual_but_good_commands_pass() -> None:
    nested = option("group", 2, options=[option("sub", 1, options=[option(required=True), option("b", 10)])])
    good = [command("größe"), command("persona-chat"), command("lab", options=[nested])]
    good += [{"name": "Read It", "type": 3}, command(options=[option(min_length=1, max_length=6000)]) | {"name": "x"}]
    assert check_commands(good) == good


def test_a_synced_command_keeps_its_id_while_it_keeps_its_name() -> None:
    registry = Registry(Clock())
    first = {c["name"]: c["id"] for c in registry.sync([command("a"), command("b")], GUILD_ID)}
    second = {c["name"]: c["id"] for c in registry.sync([command("b", description="New"), command("c")], GUILD_ID)}
    assert second.keys() == {"b", "c"}
    assert second["b"] == first["b"]
    assert registry.of(None) == []


def test_a_day_has_two_hundred_new_commands() -> None:
    clock = Clock()
    registry = Registry(clock)
    for batch in range(2):
        registry.sync([command(f"c{batch}-{n}") for n in range(100)], GUILD_ID)
    registry.sync([command("c1-0", description="Renewed")], GUILD_ID)
    with pytest.raises(Refusal) as refused:
        registry.sync([command("one-more")], GUILD_ID)
    assert refused.value.body["code"] == 30034
    clock.advance(24 * 3600)
    registry.sync([command("one-more")], GUILD_ID)


@pytest.mark.parametrize(
    ("needed", "granted", "may"),
    [
        (None, Permission.USE_APPLICATION_COMMANDS, True),
        (None, Permission(0), False),
        ("0", Permission.USE_APPLICATION_COMMANDS, False),
        ("0", Permission.ADMINISTRATOR, True),
        (str(1 << 40), Permission.USE_APPLICATION_COMMANDS, False),
        (str(1 << 40), Permission.USE_APPLICATION_COMMANDS | Permission.MODERATE_MEMBERS, True),
    ],
)
def test_default_permissions_decide_who_may_use_a_command(needed: str | None, granted: Permission, may: bool) -> None:
    assert may_use({"default_member_permissions": needed}, granted) is may


START = command(
    options=[
        option(
            "start",
            1,
            options=[
                option("job", required=True, max_length=5),
                option("epochs", 4, min_value=1, max_value=10),
                option("rate", 10),
                option("tone", choices=choices("loud", "low")),
                option("persona", autocomplete=True),
                option("quiet", 5),
            ],
        )
    ]
)


def test_a_filled_in_subcommand_nests_its_options() -> None:
    used = fill_in(START, ["start"], {"epochs": "3", "job": "x", "rate": 1, "quiet": True})
    assert used.full_name == "lab start"
    inner = used.options[0]["options"]
    assert [(o["name"], o["type"], o["value"]) for o in inner] == [
        ("job", 3, "x"),
        ("epochs", 4, 3),
        ("rate", 10, 1.0),
        ("quiet", 5, True),
    ]


@pytest.mark.parametrize(
    ("sub", "values", "sentence"),
    [
        ([], {}, "Choose a subcommand"),
        (["stop"], {}, "no subcommand stop"),
        (["start"], {}, "job is required"),
        (["start"], {"job": "toolong"}, "0 to 5 characters"),
        (["start"], {"job": "x", "epochs": 11}, "from 1 to 10"),
        (["start"], {"job": "x", "epochs": 1.5}, "a whole number"),
        (["start"], {"job": "x", "epochs": True}, "a whole number"),
        (["start"], {"job": "x", "epochs": "many"}, "a whole number"),
        (["start"], {"job": "x", "tone": "shrill"}, "one of: loud, low"),
        (["start"], {"job": "x", "quiet": "yes"}, "true or false"),
        (["start"], {"job": "x", "colour": "red"}, "no option colour"),
    ],
)
def test_a_clients_own_checks_come_as_sentences(sub: list[str], values: Json, sentence: str) -> None:
    with pytest.raises(Misused, match=sentence):
        fill_in(START, sub, values)


def test_an_autocompletion_sends_valid_neighbours_along_and_needs_nothing_else() -> None:
    used = fill_in(START, ["start"], {"epochs": "4", "tone": "sh", "persona": "ol"}, focused="persona")
    inner = {o["name"]: o for o in used.options[0]["options"]}
    assert inner == {
        "epochs": {"name": "epochs", "type": 4, "value": 4},
        "persona": {"name": "persona", "type": 3, "value": "ol", "focused": True},
    }
    with pytest.raises(Misused, match="no suggestions"):
        fill_in(START, ["start"], {}, focused="job")
