"""Files are known by their rows, whatever they are called; a mixture and a stranger get one plain sentence."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from training.data.canonical import Tally, to_line
from training.data.formats import FAMILIES, Reading, read_any
from training.errors import PermissionMissing, UnknownFormat, UnreadableData
from training.schema import Conversation

FIXTURES = Path(__file__).parent / "fixtures"
USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
ALPACA = {"instruction": "Say hello.", "input": "", "output": "Hello!"}
FLAT = {"message_id": "q", "parent_id": None, "message_tree_id": "t", "text": "Hi", "role": "prompter"}
ANSWER = {**FLAT, "message_id": "a", "parent_id": "q", "text": "Hello", "role": "assistant"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "oasst_tree": [{"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": {**FLAT, "replies": [ANSWER]}}],
    "oasst_messages": [ANSWER, FLAT],
    "character_card": [
        {
            "spec": "chara_card_v2",
            "spec_version": "2.0",
            "data": {
                "name": "Mira",
                "description": "Keeps the lighthouse.",
                "mes_example": "<START>\n{{user}}: Hi\n{{char}}: Hello",
            },
        }
    ],
    "canonical": [{"id": "1", "source": "us", "messages": [USER, ASSISTANT]}],
    "messages": [{"messages": [USER, ASSISTANT]}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}],
    "ultrachat": [{"id": "0", "data": ["Hi", "Hello"]}],
    "alpaca": [ALPACA],
    "firefly": [{"kind": "NLI", "input": "Hi", "target": "Hello"}],
    "prompt_completion": [{"prompt": "Hi", "completion": "Hello"}],
}


def written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "whatever.bin.txt"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def read(path: Path, name: str = "") -> tuple[list[Conversation], Tally]:
    tally = Tally()
    made = list(read_any(path, Reading(), tally, name))
    assert tally.rows == tally.used + tally.dropped.total()
    return made, tally


@pytest.mark.parametrize("family", ROWS)
def test_every_family_is_known_by_its_rows_alone(family: str, tmp_path: Path) -> None:
    made, tally = read(written(tmp_path, ROWS[family]))
    assert tally.format == family
    assert [message.role for message in made[0].messages[-2:]] == ["user", "assistant"]
    assert made[0].lang == "und"


def test_every_family_is_tried_here() -> None:
    assert {family.id for family in FAMILIES} == {*ROWS, "discord_chat_exporter"}


def test_an_array_is_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "persona"
    path.write_text(json.dumps(ROWS["messages"] * 2), encoding="utf-8")
    assert [row.id for row in read(path)[0]] == ["persona-1", "persona-2"]


@pytest.mark.parametrize("family", ["alpaca", "messages", "sharegpt", "ultrachat"])
@pytest.mark.parametrize("key", ["data", "conversations", "rows"])
def test_rows_under_one_key_are_read(family: str, key: str, tmp_path: Path) -> None:
    made, tally = read(written(tmp_path, [{"version": "1.0", key: ROWS[family] * 2}]))
    assert (tally.format, len(made)) == (family, 2)
    with pytest.raises(UnreadableData, match="row 2 is not an object"):
        read(written(tmp_path, [{key: [ROWS[family][0], 7]}]))


@pytest.mark.parametrize("family", ["messages", "sharegpt", "ultrachat", "alpaca", "firefly", "prompt_completion"])
def test_a_rows_own_licence_and_source_count_where_they_are_names(family: str, tmp_path: Path) -> None:
    stated = {"license": "CC-BY-NC-4.0", "source": "poems"}
    texts = {"license": "word " * 100, "source": "a\nb"}
    made, _ = read(written(tmp_path, [{**ROWS[family][0], **more} for more in (stated, texts, {"license": 5})]))
    assert [(row.license, row.source) for row in made] == [("CC-BY-NC-4.0", "poems"), *[("", "whatever")] * 2]


def test_languages_that_are_found_are_those_that_are_counted(tmp_path: Path) -> None:
    german = {**ALPACA, "output": "Wir haben heute leider keine frischen Brötchen mehr im Laden."}
    tally = Tally()
    list(read_any(written(tmp_path, [german, {**german, "lang": "en"}]), Reading(detect_language=True), tally))
    assert tally.languages == {"de": 1, "en": 1}


def test_the_source_is_what_the_file_is_called_unless_told(tmp_path: Path) -> None:
    path = written(tmp_path, [ALPACA])
    assert read(path, "alpaca-gpt4")[0][0].source == "alpaca-gpt4"
    assert next(read_any(path, Reading(source="mine"), Tally())).id == "mine-1"


def test_a_stranger_is_shown_with_what_was_expected(tmp_path: Path) -> None:
    path = written(tmp_path, [{"question_id": 81, "turns": ["a\nb" + "c" * 1000]}])
    with pytest.raises(UnknownFormat) as caught:
        read(path)
    sentence = str(caught.value)
    assert '{"question_id": 81, "turns": ["a\\nb' in sentence
    assert "c" * 300 not in sentence
    assert "\n" not in sentence
    assert "ultrachat (id, data as a list of texts)" in sentence


def test_preferences_are_no_conversations(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat):
        read(written(tmp_path, [{"prompt": "Hi", "chosen": "Hello", "rejected": "Go"}]))


@pytest.mark.parametrize("place", [2, 9])
@pytest.mark.parametrize(
    ("stranger", "said"),
    [(ROWS["sharegpt"][0], "is sharegpt"), ({"spam": 1}, "is in no known format")],
)
def test_mixed_formats_are_refused_with_the_row(
    place: int, stranger: dict[str, Any], said: str, tmp_path: Path
) -> None:
    rows = [ALPACA] * 10
    rows[place - 1] = stranger
    with pytest.raises(UnreadableData) as caught:
        read(written(tmp_path, rows), "mine")
    assert f"row {place} {said}, but the rows before it are alpaca (instruction, input, output)" in str(caught.value)


@pytest.mark.parametrize("gap", [{}, {"instruction": "Say hello."}, {"input": "", "output": "x"}])
def test_a_row_that_lacks_parts_is_dropped_and_not_refused(gap: dict[str, Any], tmp_path: Path) -> None:
    made, tally = read(written(tmp_path, [ALPACA, gap, ALPACA]))
    assert (len(made), tally.rows, tally.used) == (2, 3, 2)
    assert tally.problems[0].row == 2


def test_rows_of_ours_without_a_source_make_the_file_one_of_messages(tmp_path: Path) -> None:
    assert read(written(tmp_path, [*ROWS["canonical"], *ROWS["messages"]]))[1].format == "messages"


def test_an_empty_array_holds_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UnreadableData):
        read(path)


def test_a_chat_log_without_a_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    export = {"guild": {"id": "1", "name": "g"}, "channel": {"id": "2", "name": "c"}, "messages": []}
    path.write_text(json.dumps(export), encoding="utf-8")
    with pytest.raises(PermissionMissing):
        read(path)


def test_a_card_gives_its_example_dialogues_under_its_system_turn(tmp_path: Path) -> None:
    made, tally = read(written(tmp_path, ROWS["character_card"]))
    assert [m.content for m in made[0].messages[1:]] == ["Hi", "Hello"]
    assert made[0].messages[0].content.startswith("You are Mira.")
    assert (made[0].meta, tally.used) == ({"persona": "mira"}, 1)


def test_a_line_is_what_pydantic_would_write() -> None:
    row = Conversation.model_validate(
        {**ROWS["canonical"][0], "lang": "zh", "meta": {"a": "b\u2028"}, "license": "MIT"}
    )
    assert Conversation.model_validate_json(to_line(row)) == row
    assert orjson.loads(to_line(row)) == orjson.loads(row.model_dump_json())


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json*")), ids=lambda path: path.stem)
def test_fixtures_in_the_real_schemas_convert_with_exact_counts(path: Path) -> None:
    """Each fixture is called FAMILY.USED.CONVERSATIONS."""
    family, used, conversations = path.name.split(".")[:3]
    _, tally = read(path)
    assert (tally.format, tally.used, tally.conversations) == (family, int(used), int(conversations))
