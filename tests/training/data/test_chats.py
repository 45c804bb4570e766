"""Chats as other programs write them: messages, ShareGPT, UltraChat, our own rows, character cards."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from training.data import chats
from training.data.canonical import NO_ANSWER, NO_QUESTION, NO_TURNS, Tally
from training.data.files import Row
from training.data.formats import Reading
from training.schema import Conversation

Convert = Callable[[Iterator[Row], Reading, Tally], Iterator[Conversation]]
USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def read(convert: Convert, *values: dict[str, Any]) -> tuple[list[Conversation], Tally]:
    tally = Tally()
    made = list(convert((Row(n, value) for n, value in enumerate(values, start=1)), Reading(source="s"), tally))
    assert tally.rows == len(values) == tally.used + tally.dropped.total()
    return made, tally


def of(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def turns(made: list[Conversation]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for row in made for message in row.messages]


def test_messages_keep_their_order_and_the_prompt_id() -> None:
    made, _ = read(chats.convert_messages, {"prompt": "Hi", "prompt_id": "p1", **of(USER, ASSISTANT), "lang": "pt-BR"})
    assert turns(made) == [("user", "Hi"), ("assistant", "Hello")]
    assert (made[0].id, made[0].lang, made[0].source) == ("p1", "pt-BR", "s")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Hi"}], "Hi"),
        ([{"type": "text", "value": "Hi", "text": None}], "Hi"),
        ([{"type": "input_text", "text": "Hi"}, "there"], "Hi\nthere"),
        ("你好 🎲", "你好 🎲"),
    ],
)
def test_content_may_be_parts(content: Any, text: str) -> None:
    assert turns(read(chats.convert_messages, of({"role": "user", "content": content}, ASSISTANT))[0])[0][1] == text


def test_a_developer_is_the_system_and_names_are_left_out() -> None:
    developer = {"role": "developer", "content": "Be kind.", "name": "ops"}
    assert turns(read(chats.convert_messages, of(USER, developer, ASSISTANT))[0])[0] == ("system", "Be kind.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (of(USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}), chats.TOOL_CALLS),
        (of(USER, {"role": "tool", "content": "4"}, ASSISTANT), chats.TOOL_CALLS),
        (of(USER, {"role": "assistant", "content": [{"type": "tool_use"}]}), chats.TOOL_CALLS),
        (of({"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT), chats.NEEDS_MEDIA),
        ({**of(USER, ASSISTANT), "images": ["a.png"]}, chats.NEEDS_MEDIA),
        (of({"role": "narrator", "content": "Rain."}, ASSISTANT), chats.UNKNOWN_ROLE),
        (of({"role": "user", "content": 7}, ASSISTANT), chats.NOT_TEXT),
        (of({"role": "user", "content": [{"type": "reasoning", "text": "Hm"}]}, ASSISTANT), chats.NOT_TEXT),
        (of("Hi", "Hello"), chats.NOT_TEXT),
        ({"messages": None}, NO_TURNS),
        (of(), NO_TURNS),
        (of(USER), NO_ANSWER),
        (of(ASSISTANT), NO_QUESTION),
        (of(USER, {"role": "assistant", "content": None}), NO_ANSWER),
    ],
)
def test_what_cannot_be_a_conversation_is_dropped_with_its_reason(row: dict[str, Any], reason: str) -> None:
    made, tally = read(chats.convert_messages, row)
    assert (made, tally.dropped) == ([], {reason: 1})


def test_weights_of_nought_are_kept_in_meta() -> None:
    unlearnt = {**ASSISTANT, "weight": 0}
    made, _ = read(chats.convert_messages, of(USER, unlearnt, USER, {**ASSISTANT, "weight": 1}))
    assert made[0].meta == {"weights": "0,1"}
    assert (
        read(chats.convert_messages, of({**USER, "loss_weight": 0.0}, {**ASSISTANT, "loss_weight": 1.0}))[0][0].meta
        == {}
    )
    assert read(chats.convert_messages, of(USER, unlearnt))[1].dropped == {chats.NO_WEIGHT: 1}
    assert read(chats.convert_messages, of(USER, unlearnt, ASSISTANT))[1].dropped == {chats.WEIGHTS_AWRY: 1}


def test_an_id_is_never_given_twice() -> None:
    made, _ = read(chats.convert_messages, *({"id": own, **of(USER, ASSISTANT)} for own in ("a", "a", 7, None, "s-4")))
    assert [row.id for row in made] == ["a", "a-2", "7", "s-4", "s-4-5"]


def test_sharegpt_speakers_by_all_their_names() -> None:
    said = [("gpt", "Welcome!"), ("system", "Be brief."), ("human", "Hi"), ("chatgpt", "Hello"), ("user", "Bye")]
    row = {"id": "x", "conversations": [{"from": who, "value": text} for who, text in said]}
    made, _ = read(chats.convert_sharegpt, row)
    assert turns(made) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize("speaker", ["function_call", "observation", "tool"])
def test_sharegpt_rows_with_tools_are_dropped(speaker: str) -> None:
    said = [{"from": who, "value": "x"} for who in ("human", speaker, "gpt")]
    assert read(chats.convert_sharegpt, {"conversations": said})[1].dropped == {chats.TOOL_CALLS: 1}


def test_a_system_text_beside_the_turns_comes_first() -> None:
    row = {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
    }
    assert turns(read(chats.convert_sharegpt, row)[0])[0] == ("system", "Be brief.")


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (["a", "b", "c", "d"], ["a", "b", "c", "d"]),
        (["a", "b", "c"], ["a", "b"]),
        (["Hi", "", "Are you there?", "Yes."], ["Hi\nAre you there?", "Yes."]),
        (["a", "b", None, "c"], ["a", "b\nc"]),
    ],
)
def test_ultrachat_lists(data: list[str | None], texts: list[str]) -> None:
    assert [text for _, text in turns(read(chats.convert_ultrachat, {"id": "0", "data": data})[0])] == texts


@pytest.mark.parametrize(
    ("data", "reason"), [([], NO_TURNS), (None, NO_TURNS), (["a"], NO_ANSWER), (["a", 1], chats.NOT_TEXT)]
)
def test_ultrachat_lists_that_hold_no_conversation(data: Any, reason: str) -> None:
    assert read(chats.convert_ultrachat, {"data": data})[1].dropped == {reason: 1}


def test_our_own_rows_come_back_as_they_were() -> None:
    row = {
        "id": "r",
        "source": "oasst2",
        "license": "Apache-2.0",
        "lang": "zh",
        **of(USER, ASSISTANT),
        "meta": {"group": "t"},
    }
    made, _ = read(chats.convert_canonical, row)
    assert made[0] == Conversation.model_validate(row)


def test_our_own_rows_with_gaps_take_what_the_reading_says() -> None:
    tally, row = Tally(), {"id": "r", "source": "", **of(USER, ASSISTANT), "meta": {"turns": 2, "note": None}}
    reading = Reading(source="mine", license="MIT", lang="de")
    made = list(chats.convert_canonical(iter([Row(1, row)]), reading, tally))
    assert (made[0].source, made[0].license, made[0].lang, made[0].meta) == ("mine", "MIT", "de", {"turns": "2"})
