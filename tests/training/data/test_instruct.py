"""Alpaca, BELLE, Firefly, prompt and completion: each known quirk of their rows."""

from typing import Any

import pytest

from training.data import instruct
from training.data.canonical import NO_ANSWER, NO_QUESTION, Tally
from training.data.chats import NEEDS_MEDIA, NOT_TEXT
from training.data.files import Row
from training.data.formats import Reading
from training.schema import Conversation


def alpaca(**row: Any) -> tuple[list[Conversation], Tally]:
    tally = Tally()
    return list(instruct.convert_alpaca(iter([Row(1, row)]), Reading(source="s"), tally)), tally


def said(made: list[Conversation]) -> list[str]:
    return [message.content for row in made for message in row.messages]


def test_the_input_stands_under_the_instruction() -> None:
    made, tally = alpaca(instruction="Translate.", input="Good morning", output="Guten Morgen", text="Below is …")
    assert said(made) == ["Translate.\n\nGood morning", "Guten Morgen"]
    assert (made[0].id, made[0].lang, tally.used) == ("s-1", "und", 1)


@pytest.mark.parametrize(
    "nothing", ["", None, "<noinput>", "No input", "noinput", "<No Input>", "N/A", "n/a.", "no input needed", "无"]
)
def test_an_input_that_says_there_is_none_is_none(nothing: str | None) -> None:
    assert said(alpaca(instruction="Say bye.", input=nothing, output="Bye!")[0]) == ["Say bye.", "Bye!"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "Draw.", "input": "", "output": "<nooutput>"}, NO_ANSWER),
        ({"instruction": "Draw.", "input": "", "output": "No output."}, NO_ANSWER),
        ({"instruction": "Draw.", "input": "", "output": ""}, NO_ANSWER),
        ({"instruction": "Draw.", "output": None}, NO_ANSWER),
        ({"instruction": " ", "input": "x", "output": "y"}, NO_QUESTION),
        ({"instruction": "Draw.", "input": "https://example.com/a", "output": "It says"}, NEEDS_MEDIA),
        ({"instruction": "Draw.", "input": "<Picture Attached>", "output": "A cat"}, NEEDS_MEDIA),
        ({"instruction": "Draw.", "input": "[an image of a cat]", "output": "A cat"}, NEEDS_MEDIA),
        ({"instruction": "Draw.", "output": "A cat", "images": ["cat.png"]}, NEEDS_MEDIA),
        ({"instruction": "Why?", "output": "So.\n##\n18. Instruction: Find\n18. Output:\nApple"}, instruct.MERGED),
        ({"instruction": ["a"], "output": "b"}, NOT_TEXT),
        ({"instruction": "a", "output": "b", "history": [["only a question"]]}, NOT_TEXT),
        ({"instruction": "a", "instances": []}, NO_ANSWER),
    ],
)
def test_a_row_that_teaches_nothing_is_dropped_with_its_reason(row: dict[str, Any], reason: str) -> None:
    made, tally = alpaca(**row)
    assert (made, tally.rows, tally.dropped) == ([], 1, {reason: 1})


def test_a_link_among_words_is_no_reason_to_drop() -> None:
    made, _ = alpaca(instruction="Shorten.", input="See https://example.com for more.", output="See there.")
    assert len(made) == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("用一句话介绍茶。\\n\\n", "用一句话介绍茶。"),
        ("\\n苹果\\n香蕉", "苹果\n香蕉"),
        ("水果：\\n1. apple\\n2. pear", "水果：\n1. apple\n2. pear"),
        ('打印：print("你好\\n")', '打印：print("你好\\n")'),
        ('打印：print("a\\nb")\\n完成', '打印：print("a\\nb")\n完成'),
        ("路径 C:\\new 是什么", "路径 C:\\new 是什么"),
        ("把\u200b零宽\u200b字符\ufeff去掉", "把零宽字符去掉"),
        ("苹果\r\n香蕉", "苹果\n香蕉"),
        ("\n前面有换行", "前面有换行"),
        ("家庭 👨‍👩‍👧", "家庭 👨‍👩‍👧"),
    ],
)
def test_belle_text_is_written_as_it_was_meant(written: str, meant: str) -> None:
    made, _ = alpaca(instruction="问题", input=None, output=written)
    assert said(made) == ["问题", meant]


def test_a_backslash_n_outside_chinese_rows_is_left_alone() -> None:
    assert said(alpaca(instruction="What is a newline?", output="It is \\n in C.")[0])[1] == "It is \\n in C."


def test_a_chat_packed_into_the_instruction_is_unpacked() -> None:
    packed = "Human:推荐一本书\nAssistant:《活着》\nHuman:为什么？\nAssistant:"
    made, _ = alpaca(instruction=packed, input="", output="因为它讲述了坚韧的生命力。")
    assert said(made) == ["推荐一本书", "《活着》", "为什么？", "因为它讲述了坚韧的生命力。"]


def test_history_and_system_become_turns() -> None:
    made, _ = alpaca(system="Be brief.", history=[["Hi", "Hello"]], instruction="And?", input="", output="Bye")
    assert [m.role for m in made[0].messages] == ["system", "user", "assistant", "user", "assistant"]


def test_a_seed_task_makes_one_conversation_of_each_instance() -> None:
    instances = [{"input": "Night", "output": "Day"}, {"input": "Left", "output": ""}, {"input": "", "output": "Up"}]
    made, tally = alpaca(id="seed_0", instruction="Opposite?", instances=instances)
    assert [row.id for row in made] == ["seed_0", "seed_0-1"]
    assert (tally.rows, tally.used, tally.conversations) == (1, 1, 2)


def test_firefly_keeps_and_counts_kinds_known_or_not() -> None:
    values = [
        {"kind": "BELLE", "input": "12*12", "target": "144"},
        {"kind": "NewKind2026", "input": "问", "target": "  答  "},
        {"kind": "Dictionary", "input": "问", "target": None},
        {"input": "没有种类", "target": "好"},
    ]
    tally = Tally()
    rows = (Row(n, value) for n, value in enumerate(values, start=1))
    made = list(instruct.convert_firefly(rows, Reading(source="s", lang="zh"), tally))
    assert [row.meta for row in made] == [{"kind": "BELLE", "overlaps": "belle"}, {"kind": "NewKind2026"}, {}]
    assert made[1].messages[1].content == "答"
    assert {row.lang for row in made} == {"zh"}
    assert tally.inspection().kinds == {"BELLE": 1, "NewKind2026": 1}
    assert tally.dropped == {NO_ANSWER: 1}


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"prompt": "Hi", "completion": "Hello"}, ["Hi", "Hello"]),
        ({"prompt": "Hi", "response": "Hello", "system": "Be kind."}, ["Be kind.", "Hi", "Hello"]),
        ({"question": "When?", "answer": "Now", "context": "It is late."}, ["When?\n\nIt is late.", "Now"]),
        ({"instruction": "Go", "response": "Gone", "prompt": None}, ["Go", "Gone"]),
        (
            {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]},
            ["Hi", "Hello"],
        ),
    ],
)
def test_a_question_and_its_answer_under_the_usual_names(row: dict[str, Any], texts: list[str]) -> None:
    tally = Tally()
    assert said(list(instruct.convert_pairs(iter([Row(1, row)]), Reading(source="s"), tally))) == texts


def test_a_long_run_of_line_ends_does_not_hold_up_the_search_for_merged_instructions() -> None:
    made, _ = alpaca(instruction="a" + "\n" * 200_000 + "b", output="c" + "\n " * 100_000 + "d")
    assert len(made) == 1
