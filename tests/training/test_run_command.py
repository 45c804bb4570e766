"""`understudy train` in a folder of its own: killed, gone on with, asked for otherwise, and read by programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from training.cli import build
from training.commands.run import RunThere
from training.errors import UnderstudyError
from training.schema import Preset, Report, TaskType, TrainSpec, Workspace

JOB = ("--persona", "glordon", "--epochs", "4", "--batch-size", "8", "--learning-rate", "0.01", "--lora-rank", "4")
PROGRAM = """
import sys
from training.cli import build
from training.schema import Workspace
build(lambda: Workspace.model_validate_json(sys.argv[1]))(sys.argv[2:])
"""


def understudy(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(build(lambda: workspace), list(arguments))


def killed_in_training(workspace: Workspace, out: Path) -> None:
    """Start the command as a process of its own, and end it by kill -9 once it has kept a checkpoint."""
    argv = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PROGRAM,
        workspace.model_dump_json(),
        "train",
        *JOB,
        "--out",
        str(out),
    ]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("checkpoints/step-*")):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_run_goes_on_to_the_very_same_adapter(tiny_workspace: Workspace, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert understudy(tiny_workspace, "train", *JOB, "--out", str(undisturbed)).exit_code == 0
    killed_in_training(tiny_workspace, killed)
    assert not (killed / "report.json").exists()
    taken = int(max(killed.glob("checkpoints/step-*")).name.removeprefix("step-"))

    again = understudy(tiny_workspace, "train", "--out", str(killed), "--resume", "--json")
    assert again.exit_code == 0, again.output
    report = Report.model_validate_json(again.stdout)
    assert 0 < taken < report.steps
    ours, theirs = (load_file(folder / "adapter/adapter_model.safetensors") for folder in (killed, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    for name in ("adapter/adapter_config.json", "loss.png", "spec.json"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in undisturbed.iterdir())


def test_a_finished_folder_tells_its_report_again(tiny_workspace: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = understudy(
        tiny_workspace, "train", "--persona", "glordon", "--preset", "draft", "--out", str(out), "--json"
    )
    assert first.exit_code == 0, first.output
    report = Report.model_validate_json(first.stdout)
    assert report.spec.hyperparameters.lora_rank == 8
    assert report.spec.hyperparameters.epochs == 1
    again = understudy(tiny_workspace, "train", "--out", str(out), "--resume", "--json")
    assert Report.model_validate_json(again.stdout) == report
    other = understudy(tiny_workspace, "train", "--persona", "olga", "--out", str(out), "--resume")
    assert "persona was glordon" in str(other.exception)
    taken = understudy(tiny_workspace, "train", "--persona", "glordon", "--out", str(out))
    assert isinstance(taken.exception, RunThere)

    told = understudy(tiny_workspace, "train", "--persona", "olga", "--out", str(out), "--resume", "--json")
    assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "OtherRun")
    told = understudy(tiny_workspace, "train", "--persona", "glordon", "--out", str(out), "--json")
    assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "RunThere")
    told = understudy(tiny_workspace, "train", "--out", str(out), "--resume", "--epochs", "2", "--json")
    assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "OtherRun")
    assert "epochs was 1" in json.loads(told.stdout)["sentence"]
    assert understudy(tiny_workspace, "train", "--out", str(out), "--resume", "--epochs", "1").exit_code == 0
    told = understudy(tiny_workspace, "plan", "--persona", "nobody", "--json")
    assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "UnknownPersona")
    for name in ("report.json", "spec.json"):
        (out / name).write_text("{")
        told = understudy(tiny_workspace, "train", "--out", str(out), "--resume", "--json")
        assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "RunUnreadable")
    config = json.loads((out / "adapter/adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"]), "in no order of the process's own"
    told = understudy(tiny_workspace, "resume", "nosuchrun000", "--json")
    assert (told.exit_code, json.loads(told.stdout)["code"]) == (2, "UnknownRun")


def test_what_goes_wrong_is_json_too(tiny_workspace: Workspace, tmp_path: Path) -> None:
    asked = ("train", "--persona", "nobody", "--out", str(tmp_path / "out"), "--json")
    result = understudy(tiny_workspace, *asked)
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["code"] == "UnknownPersona"
    assert "Choose one of" in told["sentence"]


def test_a_folder_with_something_else_is_left_alone(tiny_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = understudy(tiny_workspace, "train", "--persona", "glordon", "--out", str(tmp_path), "--resume")
    assert isinstance(result.exception, UnderstudyError)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["notes.txt"]


def test_what_is_left_out_is_guessed_and_a_preset_gives_way_to_options(
    tiny_workspace: Workspace, tmp_path: Path
) -> None:
    asked = ("--data", "general", "--preset", "quality", "--epochs", "3", "--base", "nobody/nothing")
    out = tmp_path / "out"
    result = understudy(tiny_workspace, "train", *asked, "--out", str(out))
    assert "nobody/nothing is not allowed here" in str(result.exception)
    spec = TrainSpec.model_validate_json((out / "spec.json").read_bytes())
    assert spec.task_type is TaskType.DIALOGUE
    assert spec.job_name == "general"
    assert (spec.hyperparameters.epochs, spec.hyperparameters.lora_rank) == (3, 32)
    assert Preset.QUALITY.value in understudy(tiny_workspace, "train", "--help").output
