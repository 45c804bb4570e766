"""The command line of training, driven as a person would."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from training.cli import build
from training.data.catalog import load_dataset
from training.errors import UnderstudyError
from training.places import TERMINAL
from training.runs import RUN_LOCK
from training.schema import Hyperparameters, Plan, Report, TrainSpec, Workspace

Run = Callable[..., Result]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(
        artifact_root=tmp_path / "artifacts",
        dataset_warehouse=tmp_path / "warehouse",
        cache_dir=tmp_path / "cache",
        base_model="standin",
    )


def runner(workspace: Workspace) -> Run:
    app = build(lambda: workspace)

    def run(*arguments: str, typed: str = "") -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments), input=typed)

    return run


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return runner(workspace)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli\n"
        "try:\n"
        "    training.cli.build(lambda: 1 / 0)(['--help'])\n"
        "finally:\n"
        "    assert not {'torch', 'transformers', 'sklearn', 'matplotlib', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=30, capture_output=True, text=True)
    assert "train" in done.stdout


@pytest.mark.parametrize("command", ["train", "plan"])
def test_every_knob_is_an_option_with_its_own_sentence(run: Run, command: str) -> None:
    shown = " ".join(run(command, "--help").output.replace("│", " ").split())
    for name, field in Hyperparameters.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert str(field.description) in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train"], "A persona job needs a persona"),
        (["train", "--persona", "glordon", "--epochs", "11"], "--epochs"),
        (["train", "--persona", "glordon", "--learning-rate", "0"], "learning_rate: Input should be greater than 0"),
        (["plan", "--persona", "glordon", "--task-type", "mixed"], "A mixed job needs a dataset"),
        (["plan", "--persona", "glordon", "--job-name", "Not a name"], "job_name: String should match pattern"),
        (["chat", "glordon", "--adapter", "no-such-folder"], "no-such-folder"),
        (["data", "validate", "no-such-file"], "no-such-file"),
    ],
)
def test_bad_options_are_one_usage_error(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["persona", "show", "mika"], "There is no persona called mika here. Choose one of: ambassador-questa"),
        (["plan", "--persona", "mika"], "There is no persona called mika here."),
        (["plan", "--task-type", "dialogue", "--dataset", "oasst9"], "There is no dataset called oasst9 here."),
        (["plan", "--task-type", "dialogue", "--dataset", "/etc/passwd"], "/etc/passwd could not be read"),
        (["chat", "mika"], "There is no persona called mika here."),
        (["data", "show", "../x.jsonl"], "../x.jsonl could not be read: there is no such file or folder"),
        (["resume", "../../x"], "There is no run ../../x of this terminal's"),
    ],
)
def test_expected_errors_reach_the_root_as_sentences(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, UnderstudyError)
    assert said in str(result.exception)


def test_the_cast_and_the_data_can_be_looked_at(run: Run) -> None:
    listed = run("persona", "list").output
    assert "lord-grigon" in listed
    assert "Ambassador Questa" in listed
    assert "You are Glordon." in run("persona", "show", "glordon").output
    assert "general" in run("data", "list").output
    assert "MIT" in run("data", "show", "general").output


def test_what_is_learnt_of_a_dataset_can_be_looked_at(run: Run, workspace: Workspace) -> None:
    first = load_dataset("general", workspace, "1")[0].messages
    masked = run("data", "show", "general", "--masked").output
    assert f"<|user|>{first[0].content}<|end|><|assistant|>⟦{first[1].content}<|end|>⟧" in masked
    assert "⟦" not in run("data", "show", "general").output


def test_a_file_is_validated(run: Run, tmp_path: Path) -> None:
    row = (
        '{"id":"1","source":"[us]","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"[b]Yo"}]}'
    )
    file = tmp_path / "a.jsonl"
    file.write_text(row)
    assert "[b]Yo" in run("data", "validate", str(file)).output
    file.write_text(row + "\n{}")
    assert "line 2, field id: Field required" in str(run("data", "validate", str(file)).exception)
    file.write_text("")
    assert "holds 0 usable conversations" in str(run("data", "validate", str(file)).exception)


def press_ctrl_c_in_training(artifacts: Path) -> None:
    """As soon as a first training step is written down."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(path.stat().st_size for path in artifacts.glob("runs/*/metrics.jsonl")):
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.01)


def test_a_run_is_planned_stopped_resumed_and_talked_to(tiny_workspace: Workspace) -> None:
    run = runner(tiny_workspace)
    job = ["--persona", "glordon", "--epochs", "4"]
    planned = Plan.model_validate_json(run("plan", *job, "--json").stdout)
    assert planned.rehearsal
    assert f"{planned.tokens:,}" in run("plan", *job).stdout

    before = signal.getsignal(signal.SIGINT)
    presser = threading.Thread(target=press_ctrl_c_in_training, args=(tiny_workspace.artifact_root,))
    presser.start()
    stopped = run("train", *job)
    presser.join()
    assert stopped.exit_code == 130, stopped.output
    (folder,) = (tiny_workspace.artifact_root / "runs").iterdir()
    assert f"Go on with: understudy resume {folder.name}" in stopped.stderr
    assert not (folder / "report.json").exists()
    assert signal.getsignal(signal.SIGINT) is before

    resumed = run("resume", folder.name)
    assert resumed.exit_code == 0, resumed.output
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    assert report.steps == planned.steps
    assert f"{report.eval_loss_before:.2f} → {report.eval_loss_after:.2f}" in resumed.stdout
    assert report.samples[0].question in resumed.stdout

    talk = ["chat", "glordon", "--adapter", str(folder / "adapter"), "--seed", "1"]
    said = run(*talk, typed="Hello!\n\nHow are you?\n").stdout
    assert said.count("Glordon:") == 2
    assert run(*talk, typed="Hello!\n\nHow are you?\n").stdout == said


def begun(workspace: Workspace, guild: str) -> Path:
    """The folder of a run of this guild that has not got far."""
    folder = workspace.artifact_root / "runs/abcdefghijkl"
    folder.mkdir(parents=True, exist_ok=True)
    spec = TrainSpec(job_name="theirs", guild_id=guild, persona="glordon")
    (folder / "spec.json").write_text(spec.model_dump_json())
    return folder


def test_a_guilds_run_is_its_workers_business(run: Run, workspace: Workspace) -> None:
    for guild in ("123", "local"):
        begun(workspace, guild)
        assert "There is no run abcdefghijkl of this terminal's" in str(run("resume", "abcdefghijkl").exception)


def test_a_run_that_another_process_works_on_is_left_alone(run: Run, workspace: Workspace) -> None:
    folder = begun(workspace, TERMINAL)
    before = sorted(folder.iterdir())
    with (folder / RUN_LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = run("resume", "abcdefghijkl")
    assert str(refused.exception) == (
        "Another process is at work on run abcdefghijkl. Wait until it has ended, or stop it first."
    )
    assert sorted(folder.iterdir()) == sorted([*before, folder / RUN_LOCK])
