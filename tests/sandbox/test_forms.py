"""Every limit of a message, one row each: what is sent, and the field and code with which it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import limits
from sandbox.errors import Refusal
from sandbox.forms import (
    ALLOWED_IN_ANSWER,
    ALLOWED_IN_CHANNEL,
    NO_FLAGS,
    SETTABLE_IN_ANSWER,
    Allowed,
    Before,
    Draft,
    Flag,
    Upload,
    check_message,
    mentioned,
)

V2 = int(Flag.COMPONENTS_V2)


def check(body: dict[str, Any], *uploads: Upload, before: Before | None = None) -> Draft:
    return check_message(body, uploads, settable=SETTABLE_IN_ANSWER, allowed=ALLOWED_IN_CHANNEL, before=before)


def file(name: str = "a.png", size: int = 3) -> Upload:
    return Upload("0", name, "image/png", b"x" * size)


def leaves(errors: dict[str, Any], path: str = "") -> dict[str, str]:
    """Dotted path to first code, of Discord's nested errors."""
    found = {}
    for key, value in errors.items():
        if key == "_errors":
            found[path] = value[0]["code"]
        else:
            found |= leaves(value, f"{path}.{key}".strip("."))
    return found


def row(*children: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(children)}


def button(custom_id: str | None = "a", **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": "Go", "custom_id": custom_id} | more


def select(**more: Any) -> dict[str, Any]:
    return {"type": 3, "custom_id": "s", "options": [{"label": "a", "value": "a"}]} | more


def embed(**parts: Any) -> dict[str, Any]:
    return {"embeds": [{"title": "t"} | parts]}


def rows(*children: dict[str, Any]) -> dict[str, Any]:
    return {"content": "x", "components": [row(*children)]}


def text(content: str) -> dict[str, Any]:
    return {"type": 10, "content": content}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"content": "x" * 2001}, "content", "BASE_TYPE_MAX_LENGTH"),
    ({"content": ["x"]}, "content", "STRING_TYPE_CONVERT"),
    ({"content": "x", "flags": "many"}, "flags", "NUMBER_TYPE_COERCE"),
    ({"embeds": [{"title": "t"}] * 11}, "embeds", "BASE_TYPE_MAX_LENGTH"),
    ({"embeds": "t"}, "embeds", "LIST_TYPE_CONVERT"),
    ({"embeds": [{}]}, "embeds.0.description", "BASE_TYPE_REQUIRED"),
    (embed(title="x" * 257), "embeds.0.title", "BASE_TYPE_MAX_LENGTH"),
    (embed(description="x" * 4097), "embeds.0.description", "BASE_TYPE_MAX_LENGTH"),
    (embed(footer={"text": "x" * 2049}), "embeds.0.footer.text", "BASE_TYPE_MAX_LENGTH"),
    (embed(footer={"icon_url": "https://a.b/c.png"}), "embeds.0.footer.text", "BASE_TYPE_REQUIRED"),
    (embed(author={"name": "x" * 257}), "embeds.0.author.name", "BASE_TYPE_MAX_LENGTH"),
    (embed(fields=[{"name": "n", "value": "v"}] * 26), "embeds.0.fields", "BASE_TYPE_MAX_LENGTH"),
    (embed(fields=[{"name": "n", "value": ""}]), "embeds.0.fields.0.value", "BASE_TYPE_REQUIRED"),
    (embed(fields=[{"name": " ", "value": "v"}]), "embeds.0.fields.0.name", "BASE_TYPE_REQUIRED"),
    (embed(fields=[{"name": "n" * 257, "value": "v"}]), "embeds.0.fields.0.name", "BASE_TYPE_MAX_LENGTH"),
    (embed(fields=[{"name": "n", "value": "v" * 1025}]), "embeds.0.fields.0.value", "BASE_TYPE_MAX_LENGTH"),
    (embed(color=0x1000000), "embeds.0.color", "NUMBER_TYPE_MAX"),
    (embed(timestamp="soon"), "embeds.0.timestamp", "DATE_TIME_TYPE_PARSE"),
    (embed(url="ftp://a.b"), "embeds.0.url", "URL_TYPE_INVALID_SCHEME"),
    (embed(image={"url": "https:// "}), "embeds.0.image.url", "URL_TYPE_INVALID_URL"),
    (embed(image={"url": "https://" + "a" * 2048}), "embeds.0.image.url", "BASE_TYPE_MAX_LENGTH"),
    (
        embed(image={"url": "attachment://gone.png"}),
        "embeds.0.image.url",
        "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND",
    ),
    ({"embeds": [{"description": "x" * 3001}, {"description": "x" * 3000}]}, "embeds", "MAX_EMBED_SIZE_EXCEEDED"),
    ({"content": "x", "components": [row(button())] * 6}, "components", "BASE_TYPE_MAX_LENGTH"),
    (rows(*(button(str(n)) for n in range(6))), "components.0.components", "BASE_TYPE_BAD_LENGTH"),
    (rows(), "components.0.components", "BASE_TYPE_BAD_LENGTH"),
    (rows(button(), button()), "components.0.components.1.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED"),
    (rows(button("x" * 101)), "components.0.components.0.custom_id", "BASE_TYPE_MAX_LENGTH"),
    (rows(button(None)), "components.0.components.0.custom_id", "BASE_TYPE_REQUIRED"),
    (rows(button(label="x" * 81)), "components.0.components.0.label", "BASE_TYPE_MAX_LENGTH"),
    (rows(button(label=None)), "components.0.components.0", "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED"),
    (rows(button(style=9)), "components.0.components.0.style", "BASE_TYPE_CHOICES"),
    (rows(button(None, style=5)), "components.0.components.0.url", "BASE_TYPE_REQUIRED"),
    (
        rows(button(style=5, url="https://a.b")),
        "components.0.components.0.custom_id",
        "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE",
    ),
    (rows(button(None, style=5, url="javascript:x")), "components.0.components.0.url", "URL_TYPE_INVALID_SCHEME"),
    (rows(select(), button()), "components.0.components", "COMPONENT_LAYOUT_WIDTH_EXCEEDED"),
    (rows(select(options=[])), "components.0.components.0.options", "BASE_TYPE_BAD_LENGTH"),
    (rows(select(max_values=26)), "components.0.components.0.max_values", "NUMBER_TYPE_MAX"),
    (rows(select(placeholder="x" * 151)), "components.0.components.0.placeholder", "BASE_TYPE_MAX_LENGTH"),
    (
        rows(select(options=[{"label": "a", "value": "a"}, {"label": "b", "value": "a"}])),
        "components.0.components.0.options.1",
        "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED",
    ),
    ({"content": "x", "components": [button()]}, "components.0.type", "UNION_TYPE_CHOICES"),
    ({"content": "x", "components": [text("v2")]}, "components.0.type", "UNION_TYPE_CHOICES"),
    ({"content": "x", "components": ["row"]}, "components.0", "MODEL_TYPE_CONVERT"),
    (
        {"content": "x", "flags": V2, "components": [text("a")]},
        "content",
        "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
    ),
    (
        {**embed(), "flags": V2, "components": [text("a")]},
        "embeds",
        "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
    ),
    ({"flags": V2}, "components", "BASE_TYPE_REQUIRED"),
    (
        {"flags": V2, "components": [{"type": 17, "components": [text("a")] * 20}] * 2},
        "components",
        "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED",
    ),
    (
        {"flags": V2, "components": [text("x" * 2001), text("x" * 2000)]},
        "components",
        "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED",
    ),
    (
        {"flags": V2, "components": [{"type": 9, "components": [text("a")]}]},
        "components.0.accessory",
        "BASE_TYPE_REQUIRED",
    ),
    (
        {"flags": V2, "components": [{"type": 13, "file": {"url": "attachment://gone"}}]},
        "components.0.file.url",
        "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND",
    ),
    (
        {"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}},
        "allowed_mentions",
        "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
    ),
    (
        {"content": "x", "allowed_mentions": {"users": [str(n) for n in range(101)]}},
        "allowed_mentions.users",
        "BASE_TYPE_MAX_LENGTH",
    ),
    ({"content": "x", "allowed_mentions": {"parse": ["all"]}}, "allowed_mentions.parse.0", "BASE_TYPE_CHOICES"),
    ({"content": "x", "attachments": [{"id": 5}]}, "attachments.0.id", "ATTACHMENT_NOT_FOUND"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_field_is_refused_by_name(body: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(body)
    assert refused.value.status == 400
    assert refused.value.body["code"] == 50035
    assert leaves(refused.value.body["errors"]).get(field) == code


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(Refusal) as refused:
        check({"content": "x" * 2001, "embeds": [{"title": "x" * 257}], "components": [row()]})
    assert len(leaves(refused.value.body["errors"])) == 3


ACCEPTED: list[dict[str, Any]] = [
    {"content": "x" * limits.CONTENT},
    {"embeds": [{"description": "x" * 4096, "footer": {"text": "x" * 1904}}]},
    embed(fields=[{"name": "n" * 20, "value": "v" * 200}] * 25),
    {"content": "x", "components": [row(*(button(f"{r}{n}", label="x" * 80) for n in range(5))) for r in range(5)]},
    rows(button(None, style=5, url="https://a.b/c"), button("x" * 100, label=None, emoji={"name": "🎭"})),
    rows(select(options=[{"label": str(n), "value": str(n)} for n in range(25)])),
    {"flags": V2, "components": [{"type": 17, "components": [text("x" * 4000)]}]},
    {"flags": V2, "components": [{"type": 9, "components": [text("a")], "accessory": button()}]},
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_is_just_within_the_limits_passes(body: dict[str, Any]) -> None:
    check(body)


@pytest.mark.parametrize("body", [{}, {"content": "  \n"}, {"content": None}, {"components": [row(button())]}])
def test_an_empty_message_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        check(body)
    assert refused.value.body["code"] == 50006


def test_files_alone_are_a_message_and_too_many_or_too_big_ones_are_not() -> None:
    assert check({}, file()).uploads[0].filename == "a.png"
    for uploads in ([file()] * 11, [file(size=limits.FILE_BYTES + 1)]):
        with pytest.raises(Refusal) as refused:
            check({}, *uploads)
        assert (refused.value.status, refused.value.body["code"]) == (413, 40005)
    assert check({}, file(size=limits.FILE_BYTES))


def test_file_names_are_made_safe_and_descriptions_kept() -> None:
    body = {"attachments": [{"id": 0, "filename": "my <b>.png", "description": "A chart"}]}
    upload = check(body, file()).uploads[0]
    assert (upload.filename, upload.description) == ("my__b_.png", "A chart")


OLD = Before("old", [{"title": "t"}], [], NO_FLAGS, {"77": "kept.png"})


def test_an_edit_keeps_what_it_does_not_name() -> None:
    draft = check({"content": "new"}, before=OLD)
    assert (draft.content, draft.embeds, draft.kept) == ("new", [{"title": "t"}], None)


def test_an_edit_keeps_only_the_files_it_lists() -> None:
    assert check({"attachments": [{"id": "77"}]}, before=OLD).kept == {"77"}
    assert check({"attachments": []}, before=OLD).kept == set()
    with pytest.raises(Refusal):
        check({"attachments": [{"id": "78"}]}, before=OLD)


def test_an_edit_may_show_a_file_that_is_already_there_in_an_embed() -> None:
    assert check(embed(image={"url": "attachment://kept.png"}), before=OLD)
    with pytest.raises(Refusal):
        check({**embed(image={"url": "attachment://kept.png"}), "attachments": []}, before=OLD)


def test_an_edit_cannot_empty_a_message_nor_take_version_2_back() -> None:
    with pytest.raises(Refusal) as refused:
        check({"content": "", "embeds": [], "attachments": []}, before=OLD)
    assert refused.value.body["code"] == 50006
    version_2 = Before("", [], [text("a")], Flag.COMPONENTS_V2, {})
    assert check({"flags": 0}, before=version_2).flags & Flag.COMPONENTS_V2


SAID = "<@1> <@!2> <@1> <@&7> @everyone"


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (ALLOWED_IN_CHANNEL, (["1", "2"], ["7"], True)),
        (ALLOWED_IN_ANSWER, (["1", "2"], [], False)),
        (Allowed(frozenset(), frozenset(), everyone=False), ([], [], False)),
        (Allowed(frozenset({"2", "9"}), frozenset(), everyone=False), (["2"], [], False)),
    ],
)
def test_only_what_is_allowed_is_a_mention(allowed: Allowed, expected: tuple[list[str], list[str], bool]) -> None:
    assert mentioned(SAID, allowed) == expected


def test_allowed_mentions_are_read_from_the_form() -> None:
    assert mentioned(SAID, check({"content": "x", "allowed_mentions": {"parse": []}}).allowed) == ([], [], False)
    allowed = check({"content": "x", "allowed_mentions": {"parse": ["everyone"], "users": [2]}}).allowed
    assert mentioned(SAID, allowed) == (["2"], [], True)
