"""`understudy data …`, driven as a person would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from training.cli import build
from training.commands.given import DatasetInTheWay, OutIsSource
from training.data.folder import LINEAGE, check_folder, open_folder, write_folder
from training.data.read import read_conversations
from training.errors import FolderTaken, LicenceNotAccepted, NothingLeft, UnderstudyError
from training.schema import Conversation, Workspace

Run = Callable[..., Result]
OVER_FILES = ("inspect", "validate", "show", "stats", "convert", "filter", "mix", "export")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(
        artifact_root=tmp_path / "artifacts",
        dataset_warehouse=tmp_path / "warehouse",
        cache_dir=tmp_path / "cache",
        base_model="standin",
    )
    app = build(lambda: workspace)

    def run(*arguments: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["data", *arguments])

    return run


def arguments(command: str, file: str) -> list[str]:
    """The command over one file, with the least that it needs."""
    if command == "mix":
        return ["mix", "--part", f"{file}=1", "--out", "out"]
    if command == "export":
        return ["export", file, "--format", "sharegpt", "--out", "out"]
    return [command, file, *(["--out", "out"] if command in ("convert", "filter") else [])]


def alpaca(number: int, output: str = "") -> dict[str, str]:
    return {"instruction": f"Question {number}?", "input": "", "output": output or f"Answer {number}."}


def chat(number: int, answer: str = "") -> dict[str, Any]:
    said = [("user", f"Question {number}?"), ("assistant", answer or f"Answer {number}.")]
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def write(name: str, rows: list[Any]) -> str:
    Path(name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return name


def made(folder: str) -> list[Conversation]:
    check_folder(Path(folder))
    return read_conversations(Path(folder) / "conversations.jsonl")


# --- strange rows and broken files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", OVER_FILES)
def test_strange_rows_survive_every_command(run: Run, command: str) -> None:
    answers = ["你好，很高兴认识你。", "🌊🦜 👩‍👩‍👧", " ".join(str(number) for number in range(18_000))[:100_000]]
    write("a.jsonl", [chat(number, answer) for number, answer in enumerate(answers)])
    result = run(*arguments(command, "a.jsonl"))
    assert result.exit_code == 0, result.exception
    if command in ("convert", "filter", "mix"):
        assert {row.messages[1].content for row in made("out")} == set(answers)
    if command == "export":
        exported = json.loads(Path("out/train.json").read_text())
        assert [row["conversations"][1]["value"] for row in exported] == answers


BROKEN = {
    "truncated.jsonl": b'{"instruction": "a", "input": "", "output": "b"}\n{"instruc',
    "empty.jsonl": b"",
    "nan.jsonl": b'{"instruction": "a", "input": NaN, "output": "b"}\n',
    "twice.jsonl": b'{"instruction": "a", "instruction": "b", "output": "c"}\n',
    "mixed.jsonl": b'{"instruction": "a", "input": "", "output": "b"}\n{"data": ["Hi", "Yo"]}\n',
    "unknown.jsonl": b'{"colour": "blue"}\n',
    "pickle.jsonl": b"\x80\x04\x95",
}


@pytest.mark.parametrize("command", OVER_FILES)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_get_one_plain_sentence(run: Run, tmp_path: Path, command: str, name: str) -> None:
    Path(name).write_bytes(BROKEN[name])
    result = run(*arguments(command, name))
    assert result.exit_code == 1
    assert isinstance(result.exception, UnderstudyError)
    said = str(result.exception)
    assert name in said
    assert "\n" not in said
    assert not result.stdout
    assert not Path("out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_is_no_file_and_no_dataset(run: Run) -> None:
    for command in OVER_FILES:
        result = run(*arguments(command, "no-such-set"))
        assert result.exit_code in (1, 2)
        assert "no-such-set" in f"{result.exception}{result.stderr}"


# --- looking -------------------------------------------------------------------------------------------------------


def test_an_inspection_is_one_json_object_and_every_row_is_accounted_for(run: Run) -> None:
    write("a.json", [alpaca(1), alpaca(2, "<nooutput>"), alpaca(3)])
    found = json.loads(run("inspect", "a.json", "--json").stdout)
    assert (found["format"], found["rows"], found["used"], found["conversations"], found["turns"]) == (
        "alpaca",
        3,
        2,
        2,
        4,
    )
    assert sum(found["dropped"].values()) == 1
    assert found["problems"][0]["row"] == 2
    assert "row 2" in run("inspect", "a.json").stdout


def test_rows_are_shown_by_number_and_id(run: Run) -> None:
    write("a.jsonl", [chat(number) for number in range(5)])
    shown = json.loads(run("show", "a.jsonl", "--row", "4", "--json").stdout)
    assert shown["messages"][1]["content"] == "Answer 3."
    assert "Answer 3." in run("show", "a.jsonl", "--id", shown["id"]).stdout
    assert "Answer 0." in run("show", "a.jsonl").stdout
    assert "has no conversation 6; it has 5" in str(run("show", "a.jsonl", "--row", "6").exception)
    assert "⟦" in run("show", "a.jsonl", "--row", "2", "--mask").stdout


def test_stats_and_the_catalog(run: Run) -> None:
    found = json.loads(run("stats", "general", "--json").stdout)
    assert found["licenses"] == {"MIT": found["conversations"]}
    counted = json.loads(run("stats", "general", "--tokens", "--json").stdout)["tokens"]
    assert sum(counted["buckets"].values()) == found["conversations"]
    assert found["version"] in run("stats", "general").stdout
    assert json.loads(run("list", "--json").stdout)["alpaca"]["restricted"]
    assert "MIT" in run("info", "general").stdout
    assert "There is no dataset called mika" in str(run("info", "mika").exception)


# --- making --------------------------------------------------------------------------------------------------------


def test_a_conversion_cleans_counts_and_tells(run: Run) -> None:
    rows = [alpaca(1), alpaca(1), alpaca(2, "As an AI language model, I cannot.")]
    rows += [{**alpaca(3), "output": ""}, alpaca(4, "Wir haben heute leider keine frischen Brötchen mehr im Laden.")]
    write("a.jsonl", rows)
    options = ["--license", "MIT", "--source", "bakery", "--detect-language", "--dedup", "--refusals", "--json"]
    told = json.loads(run("convert", "a.jsonl", "--out", "out", *options).stdout)
    assert {"format", "rows", "conversations", "turns", "languages", "dropped", "problems"} <= told.keys()
    assert told["rows"] == 5 == told["used"] + sum(told["dropped"].values())
    kept = made("out")
    assert [row.messages[0].content for row in kept] == ["Question 1?", "Question 4?"]
    assert {(row.source, row.license) for row in kept} == {("bakery", "MIT")}
    assert kept[1].lang == "de"
    assert "exact duplicates" in Path("out/README.md").read_text()


def test_a_conversion_cuts_windows_of_the_base_models_tokens(run: Run) -> None:
    turns = [text for number in range(20) for text in (f"Question {number}?", "An answer of some words. " * 8)]
    write("a.jsonl", [{"id": "1", "data": turns}])
    assert run("convert", "a.jsonl", "--out", "out", "--max-tokens", "256").exit_code == 0
    kept = made("out")
    assert len(kept) > 2
    assert [message.content for row in kept for message in row.messages] == turns


def test_a_named_dataset_is_converted_too(run: Run) -> None:
    assert run("convert", "general", "--out", "out", "--min-chars", "50", "--max-tokens", "32").exit_code == 0
    assert made("out")[0].source
    card = open_folder(Path("out"))
    assert [step.name for step in card.steps] == ["read", "length", "windows"]
    assert all(len(source.sha256) == 64 for source in card.sources)
    assert any("longer than 32 tokens" in note for note in card.notes)


@pytest.mark.parametrize("command", ["convert", "filter", "mix", "export"])
def test_what_is_made_of_a_file_or_folder_tells_its_history(run: Run, command: str) -> None:
    write("a.jsonl", [{**chat(1), "license": "MIT"}, chat(2), {"messages": []}])
    # The whole path, of which the card tells the last part only.
    told = json.loads(run(*arguments(command, str(Path("a.jsonl").absolute())), "--json").stdout)["card"]
    assert str(Path.cwd()) not in json.dumps(told)
    steps = {step["name"].removeprefix("a.jsonl: "): step for step in told["steps"]}
    assert (steps["read"]["before"], steps["read"]["after"], steps["read"]["removed"]) == (3, 2, {"no turns": 1})
    digest = hashlib.sha256(Path("a.jsonl").read_bytes()).hexdigest()
    assert {source["sha256"] for source in told["sources"]} == {digest}
    assert (told["tokens"]["tokenizer"], sum(told["tokens"]["buckets"].values())) == ("standin", 2)
    assert "Conversations that state no licence: 1." in told["notes"]
    run("convert", "a.jsonl", "--out", "first", "--dedup", "--no-count")
    told = json.loads(run(*arguments(command, "first"), "--force", "--json").stdout)["card"]
    assert [step["name"].removeprefix("first: ") for step in told["steps"]][:2] == ["read", "exact duplicates"]
    assert {source["sha256"] for source in told["sources"]} == {digest}
    assert open_folder(Path("first")).tokens is None


@pytest.mark.parametrize("command", ["convert", "filter", "mix", "export"])
def test_neither_a_source_nor_another_dataset_is_replaced_unasked(run: Run, command: str) -> None:
    Path("out").mkdir()
    write("a.jsonl", [chat(1)])
    run("convert", "a.jsonl", "--out", "out", "--no-count")
    before = Path("out/dataset.json").read_bytes()
    assert isinstance(run(*arguments(command, "a.jsonl")).exception, DatasetInTheWay)
    assert isinstance(run(*arguments(command, "out"), "--force").exception, OutIsSource)
    assert Path("out/dataset.json").read_bytes() == before
    assert not list(Path().glob(".out*"))


def test_stats_and_inspect_account_for_rows_languages_and_splits(run: Run) -> None:
    Path("both").mkdir()
    german = "Wir haben heute leider keine frischen Brötchen mehr im Laden."
    write("both/train.jsonl", [chat(1, german), {"messages": []}])
    write("both/test.jsonl", [chat(2, german), chat(3, german)])
    found = json.loads(run("stats", "both", "--json").stdout)
    assert (found["rows"], found["dropped"], found["conversations"]) == (2, {"no turns": 1}, 1)
    assert found["splits"] == {"test": False, "train": True}
    assert "test (not read), train" in run("stats", "both").stdout
    asked = ["--split", "test", "--split", "train", "--detect-language", "--json"]
    found = json.loads(run("inspect", "both", *asked).stdout)
    assert (found["rows"], found["languages"]) == (4, {"de": 3})
    told = json.loads(run("convert", "both", "--out", "out", "--no-count", "--json").stdout)
    assert "Splits held: test, train; read: train." in told["card"]["notes"]


def test_what_is_said_of_chats_does_not_matter_for_other_files(run: Run) -> None:
    write("a.jsonl", [chat(1)])
    Path("permission.json").write_text("{}")
    assert run("inspect", "a.jsonl", "--permission", "permission.json").exit_code == 0


def test_filtering_runs_the_standard_steps_or_those_chosen(run: Run) -> None:
    rows = [chat(1), chat(1), chat(2, "我是由OpenAI训练的语言模型。"), chat(3, "ha" * 60), chat(4)]
    write("a.jsonl", rows)
    told = json.loads(run("filter", "a.jsonl", "--out", "out", "--json").stdout)
    removed = {step["name"]: step["before"] - step["after"] for step in told["card"]["steps"]}
    standard = {"exact duplicates": 1, "boilerplate": 1, "repetition": 1, "near duplicates, Jaccard 0.7": 0}
    assert removed == {"read": 0, **standard}
    assert run("filter", "a.jsonl", "--out", "some", "--dedup").exit_code == 0
    assert len(made("some")) == 4
    again = json.loads(run("filter", "some", "--out", "again", "--refusals", "--json").stdout)
    assert [step["name"] for step in again["card"]["steps"]] == ["read", "exact duplicates", "boilerplate"]
    gone = run("filter", "a.jsonl", "--out", "none", "--leaks", "a.jsonl").exception
    assert isinstance(gone, NothingLeft)
    assert "in the held-out set 5" in str(gone)
    assert not Path("none").exists()


def test_a_mix_by_weight_with_what_is_held_out(run: Run) -> None:
    write("own.jsonl", [{**chat(number), "id": f"own-{number}"} for number in range(100)])
    write("all.jsonl", [{**chat(number, "Well."), "id": f"all-{number}"} for number in range(300)])
    parts = ["--part", "own.jsonl", "--part", "all.jsonl", "--ratio", "80:20", "--held-out", "0.1", "--out", "out"]
    told = json.loads(run("mix", *parts, "--json").stdout)
    assert told["card"]["conversations"] == 90 + 23
    assert len(Path("out/held_out.jsonl").read_text().splitlines()) == 40
    before = Path("out/conversations.jsonl").read_bytes()
    assert "replace that with --force" in str(run("mix", *parts).exception)
    assert run("mix", *parts, "--force").exit_code == 0
    assert Path("out/conversations.jsonl").read_bytes() == before
    assert run("export", "out", "--format", "trl", "--out", "trl").exit_code == 0
    assert len(Path("trl/held_out.jsonl").read_text().splitlines()) == 40
    by_tokens = ["--by", "tokens", "--oversample", "3", "--out", "tokens"]
    assert run("mix", "--part", "own.jsonl=4", "--part", "all.jsonl=1", *by_tokens).exit_code == 0
    assert "each of its conversations is there" in Path("tokens/README.md").read_text()


def test_restricted_licences_are_accepted_in_so_many_words(run: Run) -> None:
    write("a.jsonl", [alpaca(number) for number in range(5)])
    assert run("convert", "a.jsonl", "--out", "nc", "--license", "CC BY-NC 4.0").exit_code == 0
    mix = ["mix", "--part", "nc=1", "--part", "general=1", "--out", "out"]
    refused = run(*mix).exception
    assert isinstance(refused, LicenceNotAccepted)
    assert "a (CC BY-NC 4.0)" in str(refused)
    assert "--accept-licence" in str(refused)
    assert run(*mix, "--accept-licence").exit_code == 0
    assert "CC BY-NC 4.0" in Path("out/README.md").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["mix", "--part", "a.jsonl", "--out", "o"], "has no weight"),
        (["mix", "--part", "a.jsonl=0", "--out", "o"], "is no weight above 0"),
        (["mix", "--part", "a.jsonl", "--ratio", "80:20", "--out", "o"], "2 numbers for 1 parts"),
        (["mix", "--part", "a.jsonl=1", "--part", "./a.jsonl=1", "--out", "o"], "is there already, as a.jsonl"),
        (["mix", "--part", "a.jsonl=1", "--by", "letters", "--out", "o"], "--by is examples or tokens"),
        (["export", "a.jsonl", "--format", "word", "--out", "o"], "openai, sharegpt"),
        (["inspect", "a.jsonl", "--oasst", "worst"], "best or all"),
        (["convert", "a.jsonl"], "--out"),
        (["convert", "a.jsonl", "--out", "o", "--threshold", "2"], "--threshold"),
        (["inspect", "a.jsonl", "--permission", "p.json"], "does not exist"),
    ],
)
def test_bad_options_are_usage_errors(run: Run, given: list[str], said: str) -> None:
    write("a.jsonl", [chat(1)])
    result = run(*given)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("command", ["convert", "filter", "mix", "export"])
def test_a_folder_of_somebody_elses_is_left_alone(run: Run, command: str) -> None:
    write("a.jsonl", [chat(1)])
    Path("out").mkdir()
    Path("out/diary.txt").write_text("mine")
    assert isinstance(run(*arguments(command, "a.jsonl")).exception, FolderTaken)
    assert [path.name for path in Path("out").iterdir()] == ["diary.txt"]


def test_a_changed_folder_is_not_valid(run: Run) -> None:
    write("a.jsonl", [chat(1)])
    run("convert", "a.jsonl", "--out", "out")
    assert run("validate", "out").exit_code == 0
    with Path("out/conversations.jsonl").open("a") as file:
        file.write("\n")
    assert "it is not the file dataset.json names" in str(run("validate", "out").exception)


# --- chats ---------------------------------------------------------------------------------------------------------


def test_what_is_made_of_chats_stays_within_reach_of_forgetting(run: Run) -> None:
    rows = [{**chat(number), "id": f"chat-{number}"} for number in range(20)]
    sessions = [{"session": f"s{number}", "permission": "T-1"} for number in range(20)]
    talks = [
        Conversation.model_validate({**row, "source": "chat", "meta": meta})
        for row, meta in zip(rows, sessions, strict=True)
    ]
    links = [
        {"example": talk.id, "session": f"s{number}", "messages": [str(number)], "authors": ["7"], "guild": "1"}
        for number, talk in enumerate(talks)
    ]
    write_folder(Path("log"), "log", talks, extra_files={LINEAGE: links})
    assert run("filter", "log", "--out", "kept", "--dedup").exit_code == 0
    assert run("mix", "--part", "kept=1", "--part", "general=1", "--held-out", "0.2", "--out", "both").exit_code == 0
    assert "T-1" in Path("both/README.md").read_text()
    assert len(Path("both", LINEAGE).read_text().splitlines()) == 20
    assert run("forget", "--guild", "1", "--message", "3").exit_code == 0
    for name in ("conversations.jsonl", "held_out.jsonl", LINEAGE):
        assert '"s3"' not in Path("both", name).read_text()
    assert len(made("kept")) == 19
    run("export", "kept", "--format", "trl", "--out", "exported")
    assert "19 conversations: from chat logs" in Path("exported/README.md").read_text()
