"""Weights & Biases: what a run tells it, with the real package and no network."""

from __future__ import annotations

import importlib.util
import json
import logging
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from tests.fakes import report
from training.errors import TrackerMissing
from training.schema import TrainSpec, WeightsAndBiases
from training.tracking import NAMES, Tracker, tracked

SPEC = TrainSpec(job_name="a-voice", guild_id="1", persona="glordon", base_model="/models/secret-place/tiny")
JOB = "abcdefghijkl"
OFFLINE = WeightsAndBiases(project="voices", mode="offline")
STEPS: list[dict[str, float | int]] = [
    {"step": 1, "train_loss": 3.5, "gradient_norm": 2.0, "learning_rate": 1e-4, "tokens": 300, "seconds": 0.5},
    {"step": 2, "train_loss": 3.0, "gradient_norm": 1.5, "learning_rate": 2e-4, "tokens": 100, "seconds": 0.25},
]
STEPS[1]["eval_loss"] = 3.25

BLOCK, HEADER, WHOLE, LAST = 32768, 7, 1, 4
"""Of LevelDB's logs, whose records stand in blocks, in parts where one is too long."""

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="the wandb extra is not installed")


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """That nothing the test began is there when it has ended."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [p for p in psutil.Process().children(recursive=True) if p not in before]
    assert [p.cmdline() for p in left if p.status() != psutil.STATUS_ZOMBIE] == []


def records(folder: Path) -> list[Any]:
    """What lies in the file of the one offline run in a folder, in order: a log as LevelDB's, of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, parts, found = file.read_bytes(), HEADER, b"", []
    while at < len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def items(said: Any) -> dict[str, Any]:
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in said}


@needs_wandb
@pytest.mark.usefixtures("no_process_left")
def test_an_offline_run_keeps_its_steps_and_what_it_found(tmp_path: Path) -> None:
    done = report(SPEC, JOB)
    with tracked(OFFLINE, SPEC, JOB, tmp_path) as tracker:
        for line in STEPS:
            tracker.metrics(line)
        tracker.summarise(done)
    found = records(tmp_path)
    (run,) = [record.run for record in found if record.HasField("run")]
    assert (run.run_id, run.display_name, run.project) == (JOB, "a-voice", "voices")
    config = items(run.config.update)
    assert config["hyperparameters"] == SPEC.hyperparameters.model_dump(mode="json")
    assert config["base_model"] == "tiny"
    told = [items(record.history.item) for record in found if record.HasField("history")]
    assert [{name: value for name, value in one.items() if not name.startswith("_")} for one in told] == [
        {NAMES[name]: value for name, value in line.items() if name in NAMES} | {"tokens_per_second": pace}
        for line, pace in zip(STEPS, (600.0, 400.0), strict=True)
    ]
    summary: dict[str, Any] = {}
    for record in found:
        summary |= items(record.summary.update)
    assert summary["eval_loss_after"] == done.eval_loss_after
    assert summary["verdict"] == done.verdict.value
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]


@needs_wandb
@pytest.mark.usefixtures("no_process_left")
def test_nothing_of_the_machine_is_told_and_a_run_that_fails_is_closed_as_such(tmp_path: Path) -> None:
    secret = WeightsAndBiases(project="voices", mode="offline", api_key=SecretStr("k" * 40))
    with pytest.raises(ZeroDivisionError), tracked(secret, SPEC, JOB, tmp_path) as tracker:
        tracker.metrics({"step": 1 // 0})
    assert [record.exit.exit_code for record in records(tmp_path) if record.HasField("exit")] == [1]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"k" * 40 not in kept
    for file in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        assert b"secret-place" not in file.read_bytes()
        assert sys.prefix.encode() not in file.read_bytes()
        assert socket.gethostname().encode() not in file.read_bytes()


@needs_wandb
@pytest.mark.usefixtures("no_process_left")
def test_a_service_that_refuses_ends_no_run_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unusable = OFFLINE.model_copy(update={"project": "a/b?c"})  # which no project can be called
    with caplog.at_level(logging.WARNING, "training.tracking"), tracked(unusable, SPEC, JOB, tmp_path) as tracker:
        for line in STEPS:
            tracker.metrics(line)
    assert [record.message for record in caplog.records if record.name == "training.tracking"] == [
        "Weights & Biases is told no more of this run, which goes on."
    ]


@needs_wandb
@pytest.mark.usefixtures("no_process_left")
def test_a_run_whose_service_is_gone_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import wandb

    with tracked(OFFLINE, SPEC, JOB, tmp_path) as tracker:
        tracker.metrics(STEPS[0])
        wandb.teardown()
        tracker.metrics(STEPS[1])
        tracker.metrics(STEPS[1])
    assert len([record for record in caplog.records if record.name == "training.tracking"]) == 1


def test_without_being_asked_for_nothing_is_told(tmp_path: Path) -> None:
    with tracked(None, SPEC, JOB, tmp_path) as tracker:
        tracker.metrics(STEPS[0])
    assert isinstance(tracker, Tracker)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told_before_the_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = [place for place in sys.path if not (Path(place) / "wandb").is_dir()]
    monkeypatch.setattr(sys, "path", elsewhere)
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TrackerMissing, match="Install the wandb extra"), tracked(OFFLINE, SPEC, JOB, tmp_path):
        pass
