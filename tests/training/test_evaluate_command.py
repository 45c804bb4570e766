"""`understudy evaluate | compare`, driven as a person would, and as a program would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.training.conftest import Finished
from tests.training.evaluation.checks_made import GLORDON, OLGA, House, brief_replies, house_at
from training.cli import build
from training.errors import FolderTaken, JudgeMissing, UncheckableRun, UnderstudyError, UnknownPersona, UnreadableData
from training.evaluation.schema import CheckReport, Comparison, Gate
from training.schema import Verdict

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def house(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> House:
    return house_at(finished, tmp_path_factory.mktemp("command"))


@pytest.fixture
def run(house: House) -> Iterator[Run]:
    app = build(lambda: house.workspace)

    def understudy(*arguments: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))

    with brief_replies():
        yield understudy


@pytest.fixture(scope="module")
def elsewhere(house: House, finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Glordon's run in a folder of a person's own, as `understudy train --out` leaves one."""
    folder = house.take(finished.folders["glordon"], "ffffffffffff")
    return folder.rename(tmp_path_factory.mktemp("own") / "glordon")


def test_a_program_is_told_the_whole_report(run: Run, elsewhere: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("evaluate", "--persona", "Glordon", "--samples", "1", "--out", str(out))
    told = run(*asked, "--adapter", str(elsewhere / "adapter"), "--json")
    assert told.exit_code == 0, told.output
    printed = json.loads(told.stdout)
    assert {"verdict", "lines", "samples"} <= printed.keys()
    assert all({"id", "value", "low", "high", "verdict"} <= line.keys() for line in printed["lines"])
    report = CheckReport.model_validate_json(told.stdout)
    assert CheckReport.model_validate_json((out / "report.json").read_bytes()) == report
    assert CheckReport.model_validate_json((elsewhere / "check.json").read_bytes()) == report
    assert (report.persona, report.spec.run_id) == ("glordon", "ffffffffffff")
    for picture in ("matrices.png", "radar.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")

    # The run's folder names the same, and a finished check is not made again.
    again = run(*asked, "--adapter", str(elsewhere), "--json")
    assert CheckReport.model_validate_json(again.stdout) == report
    other = run(*asked, "--adapter", str(elsewhere), "--seed", "7")
    assert isinstance(other.exception, FolderTaken)


def test_a_person_reads_the_verdict_first_and_what_to_do_last(run: Run, house: House) -> None:
    told = run("evaluate", "--persona", "olga", "--run", OLGA, "--samples", "1")
    assert told.exit_code == 0, told.output
    rows = [line.split("  ")[0] for line in told.stdout.splitlines() if line.strip()]
    assert rows[1] == "verdict"
    shown = ["facts", "voice", "held out fit", "general", "breaks", "degeneracy", "copying", "weakest", "next"]
    assert [row for row in rows if row in shown] == shown
    report = CheckReport.model_validate_json((house.run(OLGA) / "check.json").read_bytes())
    assert f"{report.verdict.value}" in told.stdout.splitlines()[1]
    assert f"> {report.samples[0].question}" in told.stdout
    made = list((house.workspace.artifact_root / "checks").glob("*/report.json"))
    assert CheckReport.model_validate_json(made[0].read_bytes()) == report


def test_the_base_model_alone_and_general_questions(run: Run, tmp_path: Path) -> None:
    alone = run("evaluate", "--persona", "glordon", "--samples", "1", "--json")
    report = CheckReport.model_validate_json(alone.stdout)
    assert report.spec.run_id is None
    general = run("evaluate", "--persona", "glordon", "--run", GLORDON, "--suite", "general", "--samples", "1")
    assert general.exit_code == 0, general.output
    assert "bleu" in general.stdout


def test_two_runs_are_compared(run: Run, elsewhere: Path) -> None:
    same = run("compare", GLORDON, str(elsewhere), "--persona", "glordon", "--samples", "1", "--json")
    found = Comparison.model_validate_json(same.stdout)
    assert found.gate is Gate.PASS
    assert {one.value for one in found.differences} == {0.0}
    shown = run("compare", GLORDON, str(elsewhere), "--persona", "glordon", "--samples", "1")
    assert "PASS" in shown.stdout.splitlines()[1]
    assert "voice" in shown.stdout


def test_a_run_is_compared_with_the_base_model(run: Run) -> None:
    told = run("compare", GLORDON, "base", "--persona", "glordon", "--samples", "1", "--json")
    found = Comparison.model_validate_json(told.stdout)
    assert found.against == "Glordon (base model)"
    assert {one.id for one in found.differences} == {"voice"}, "a rehearsal model knows nothing"


@pytest.mark.parametrize("arguments", [["--adapter", ""], ["--run", ""], ["--adapter", GLORDON, "--against", " "]])
def test_an_empty_name_is_no_base_model(run: Run, arguments: list[str]) -> None:
    told = run("evaluate", "--persona", "glordon", *arguments, "--json")
    assert told.exit_code == 2
    assert "neither an id nor a folder was given" in told.stdout


def test_the_base_model_stands_second(run: Run) -> None:
    told = run("compare", "base", GLORDON, "--persona", "glordon", "--json")
    assert told.exit_code == 2
    assert "stands second in a comparison" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adapter", "a", "--run", "b"], "give one of them"),
        (["--suite", "general", "--drift"], "own questions only"),
        (["--suite", "haiku"], "--suite"),
        (["--samples", "9"], "--samples"),
    ],
)
def test_bad_options_are_one_usage_error(run: Run, arguments: list[str], said: str) -> None:
    result = run("evaluate", "--persona", "glordon", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--persona", "mika", "--run", GLORDON], UnknownPersona),
        (["--persona", "glordon", "--run", "nowhere"], UncheckableRun),
        (["--persona", "glordon", "--adapter", "/nowhere/at/all"], UncheckableRun),
        (["--persona", "glordon", "--run", GLORDON, "--against", "nowhere"], UncheckableRun),
        (["--persona", "glordon", "--run", GLORDON, "--judge"], JudgeMissing),
    ],
)
def test_expected_errors_are_sentences_or_json(run: Run, arguments: list[str], error: type[UnderstudyError]) -> None:
    result = run("evaluate", *arguments)
    assert isinstance(result.exception, error)
    told = run("evaluate", *arguments, "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["code"] == error.__name__


def test_an_adapter_without_its_run_is_judged_by_what_it_says(run: Run, elsewhere: Path, tmp_path: Path) -> None:
    """Nobody knows what it learnt, so nothing is new to it."""
    alone = tmp_path / "found"
    alone.mkdir()
    for path in (elsewhere / "adapter").iterdir():
        (alone / path.name).write_bytes(path.read_bytes())
    told = run("evaluate", "--persona", "glordon", "--adapter", str(alone), "--samples", "1", "--json")
    found = CheckReport.model_validate_json(told.stdout)
    assert found.adapter.startswith("Glordon (found, ")
    lines = {line.id: line for line in found.lines}
    assert lines["held_out_fit"].verdict is Verdict.NOT_APPLICABLE
    assert "No report of a run lies beside found" in lines["held_out_fit"].explanation
    assert lines["voice"].value is not None
    assert lines["general"].value is not None
    # Nothing is left in a folder that is somebody else's.
    assert {path.name for path in alone.iterdir()} == {path.name for path in (elsewhere / "adapter").iterdir()}
    told = run("compare", str(alone), "base", "--persona", "glordon", "--samples", "1", "--json")
    assert Comparison.model_validate_json(told.stdout).of == found.adapter


def test_runs_of_two_servers_are_not_compared(run: Run, house: House) -> None:
    spec = house.report(GLORDON).spec.model_copy(update={"guild_id": "2"})
    if not house.run("gggggggggggg").exists():
        house.take(house.run(GLORDON), "gggggggggggg", spec=spec.model_dump(mode="json"))
    result = run("compare", GLORDON, "gggggggggggg", "--persona", "glordon")
    assert "of another server" in str(result.exception)


def test_other_peoples_folders_are_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = run("evaluate", "--persona", "glordon", "--run", GLORDON, "--out", str(tmp_path))
    assert isinstance(result.exception, FolderTaken)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_votes_that_are_none_are_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "votes.json").write_text("[]")
    result = run("evaluate", "--persona", "glordon", "--votes", str(tmp_path / "votes.json"))
    assert isinstance(result.exception, UnreadableData)
    assert "holds no closed votes" in str(result.exception)
