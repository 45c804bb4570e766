"""Whatever comes in, what comes out is canonical, made of the input's own text, and every row is accounted for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.data.canonical import Tally, to_line
from training.data.files import Row, read_rows
from training.data.formats import FAMILIES, Reading
from training.errors import UnreadableData
from training.schema import Conversation

QUICK = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ALONE = {"discord_chat_exporter", "character_card"}
CONVERTERS = {family.id: family.convert for family in FAMILIES if family.id not in ALONE}

text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "Hi",
        "你好",
        "🎲👨‍👩‍👧",
        "a\\n",
        "\r\n",
        "<noinput>",
        "Human:a\nAssistant:b",
        "##\n1. Instruction: x",
        "\u200b",
    ]
)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=4,
)
spoken = st.sampled_from(["Hi", "Hello", "你好", "🎲👨‍👩‍👧", "a\\n苹果", "one\r\ntwo"]) | text
ids = st.sampled_from(["a", "b", "c", "d", "e"])


@st.composite
def mostly(draw: st.DrawFn, good: st.SearchStrategy[Any], odds: int = 14) -> Any:
    """Something good, or in one case of `odds` anything at all."""
    return draw(junk if draw(st.integers(1, odds)) == odds else good)


@st.composite
def row(draw: st.DrawFn, **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    """A row with most of its fields as they should be; some are missing or hold anything at all."""
    return {name: draw(mostly(good)) for name, good in fields.items() if draw(st.integers(1, 10)) < 10}


def chat(**names: str) -> st.SearchStrategy[list[Any]]:
    """A few rounds, now and then with a turn of another role, or something else, among them."""
    who, says = names["who"], names["says"]
    turn = {role: st.fixed_dictionaries({who: st.just(role), says: content}) for role in ROLES}
    rounds = st.lists(st.tuples(mostly(turn["user"]), mostly(turn["assistant"])), min_size=1, max_size=3)
    others = st.sampled_from(ROLES).flatmap(lambda role: turn[role])
    return st.builds(
        lambda before, pairs, after: [*before, *(turn for pair in pairs for turn in pair), *after],
        st.lists(mostly(others), max_size=1),
        rounds,
        st.lists(mostly(weighted), max_size=1),
    )


ROLES = ("user", "assistant", "system", "developer", "human", "gpt", "tool")
part = row(type=st.sampled_from(["text", "text", "text", "image_url", "tool_use"]), text=spoken, value=spoken)
content = mostly(spoken, 6) | st.lists(mostly(part), min_size=1, max_size=2)
weighted = row(role=st.sampled_from(ROLES), content=content, weight=st.sampled_from([0, 1]))
marks = {
    "text": spoken,
    "rank": st.none() | st.integers(0, 2),
    "deleted": st.integers(1, 8).map(lambda n: n == 8),
    "review_result": st.sampled_from([None, True, True, True, False]),
    "synthetic": st.integers(1, 8).map(lambda n: n == 8),
}


@st.composite
def flat_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two trees of messages in any order, with orphans, circles, repeated ids and worse among them."""
    rows = []
    for number in range(draw(st.integers(1, 12))):
        parent = draw(mostly(st.none() if not number else st.integers(0, number - 1).map(str), 12))
        tree, role = (
            draw(mostly(st.sampled_from(["t", "t", "u"]), 20)),
            "prompter" if number in (0, 3, 4) else "assistant",
        )
        named = {"message_id": draw(mostly(st.just(str(number)), 12)), "parent_id": parent, "message_tree_id": tree}
        rows.append({**named, "role": role, **draw(st.fixed_dictionaries(marks))})
    return draw(st.permutations(rows))


@st.composite
def nested(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """A message with its replies."""
    name = {"message_id": draw(ids), "role": "assistant" if depth % 2 else "prompter"}
    replies = draw(st.lists(mostly(nested(depth + 1)), max_size=2)) if depth < 3 else []
    return {**name, **draw(st.fixed_dictionaries(marks)), "replies": replies}


messages, said = chat(who="role", says="content"), chat(who="from", says="value")
rounds = st.lists(mostly(st.lists(spoken, min_size=2, max_size=2)), max_size=2)
task = {"instruction": spoken, "input": text, "output": spoken}
states = st.sampled_from(["ready_for_export", "ready_for_export", "growing"])
ROWS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "oasst_tree": row(message_tree_id=ids, prompt=nested(), tree_state=states),
    "canonical": row(id=text, source=text, license=text, lang=text, messages=messages, meta=junk),
    "messages": row(id=text, messages=messages, system=text, lang=text),
    "sharegpt": row(id=text, conversations=said),
    "ultrachat": row(id=text, data=st.lists(mostly(spoken, 12), max_size=5)),
    "alpaca": st.one_of(
        row(**task), row(**task, history=rounds), row(instruction=spoken, instances=st.lists(row(**task)))
    ),
    "firefly": row(kind=text, input=spoken, target=spoken),
    "prompt_completion": row(prompt=mostly(spoken) | messages, completion=spoken, context=text, system=text),
}


def files(family: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """The rows of a file."""
    return flat_rows() if family == "oasst_messages" else st.lists(ROWS[family], max_size=6)


def texts_in(value: Any) -> Iterator[str]:
    """Every text of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def letters(value: str) -> str:
    """A text without what converting may change: white space, and the ways to write it."""
    return "".join(value.replace("\\n", "").replace("\u200b", "").replace("\ufeff", "").replace("\u2060", "").split())


@pytest.mark.parametrize("family", CONVERTERS)
@given(data=st.data())
@QUICK
def test_rows_convert_to_canonical_ones_or_are_dropped_with_a_reason(family: str, data: st.DataObject) -> None:
    values = data.draw(files(family))
    reading = Reading(
        source="s", oasst=data.draw(st.sampled_from(["best", "all"])), keep_pruned=data.draw(st.booleans())
    )
    tally = Tally()
    rows = (Row(number, value) for number, value in enumerate(values, start=1))
    made = list(CONVERTERS[family](rows, reading, tally))
    assert tally.rows == len(values) == tally.used + tally.dropped.total()
    assert all(tally.dropped)
    assert tally.conversations == len(made) == len({conversation.id for conversation in made})
    given_text = "".join(letters(text) for value in values for text in texts_in(value))
    for conversation in made:
        assert Conversation.model_validate_json(to_line(conversation)) == conversation
        for turn in conversation.messages:
            assert turn.content.strip()
            assert all(letters(line) in given_text for line in turn.content.split("\n"))


@pytest.mark.parametrize("before", [b"", b"[", b"\n"])
@given(data=st.data())
@QUICK
def test_any_json_is_read_or_refused_with_its_place(before: bytes, data: st.DataObject, tmp_path: Path) -> None:
    value = data.draw(st.dictionaries(text, text | st.integers(), max_size=3))
    digits = data.draw(st.sampled_from([1, 19, 25, 308, 310, 4300, 4301, 9000]))
    written = json.dumps(value, ensure_ascii=False)[:-1] + (", " if value else "") + f'"a number": {"9" * digits}}}'
    path = tmp_path / "rows.json"
    path.write_bytes(before + written.encode() + (b"]" if before == b"[" else b"\n"))
    if digits < 309:
        assert [row.value.keys() for row in read_rows(path)] == [value.keys() | {"a number"}]
    else:
        with pytest.raises(UnreadableData, match=r"(row|line) \d, field a number"):
            list(read_rows(path))


LONG = "长🎲x " * 25_000


@pytest.mark.parametrize("text", ["今天下雨了。", "🎲👨‍👩‍👧🇩🇪", LONG.strip()], ids=["chinese", "emoji", "long"])
@pytest.mark.parametrize("family", CONVERTERS)
def test_chinese_emoji_and_long_texts_survive(family: str, text: str) -> None:
    top = {"message_id": "q", "parent_id": None, "message_tree_id": "t", "text": text, "role": "prompter"}
    below = {**top, "message_id": "a", "parent_id": "q", "role": "assistant"}
    chat = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    values: dict[str, list[dict[str, Any]]] = {
        "oasst_tree": [{"message_tree_id": "t", "prompt": {**top, "replies": [below]}}],
        "oasst_messages": [below, top],
        "canonical": [{"id": "1", "source": "us", "messages": chat}],
        "messages": [{"messages": chat}],
        "sharegpt": [{"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": text}]}],
        "ultrachat": [{"id": "1", "data": [text, text]}],
        "alpaca": [{"instruction": text, "input": "", "output": text}],
        "firefly": [{"kind": "NLI", "input": text, "target": text}],
        "prompt_completion": [{"prompt": text, "completion": text}],
    }
    rows = (Row(number, value) for number, value in enumerate(values[family], start=1))
    made = list(CONVERTERS[family](rows, Reading(source="s"), Tally()))
    assert [message.content for message in made[0].messages] == [text, text]
