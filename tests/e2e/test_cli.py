"""`understudy` as a newcomer meets it: help, a clean stop, and one sentence for what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
UNDERSTUDY = [sys.executable, "-m", "cli"]


def run(*words: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    command = [*UNDERSTUDY, *words]
    return subprocess.run(command, cwd=cwd, env=told, capture_output=True, text=True, timeout=60, check=False)


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, cli; heavy = {'torch', 'celery', 'discord', 'fastapi', 'transformers'} & sys.modules.keys()"
    asked = subprocess.run([sys.executable, "-c", f"{script}; assert not heavy, heavy"], cwd=ROOT, check=False)
    assert asked.returncode == 0


def test_every_command_has_help() -> None:
    for command in ("demo", "up", "bot", "worker", "api", "doctor", "plan", "train", "chat", "persona", "data"):
        asked = run(command, "--help")
        assert asked.returncode == 0, asked.stderr
        assert "Usage" in asked.stdout


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("bot",), {}, "DISCORD_TOKEN"),
        (("up",), {}, "DISCORD_TOKEN"),
        (("bot",), {"DISCORD_TOKEN": "a b", "GPU": "x"}, "GPU"),
        (("worker", "train"), {"REDIS_URL": "http://x"}, "REDIS_URL"),
        (("worker", "prepare"), {"REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis cannot be reached at 127.0.0.1:1"),
        (("api",), {"REDIS_URL": "redis://127.0.0.1:1/0"}, "API_KEY"),
        (("api",), {"REDIS_URL": "redis://127.0.0.1:1/0", "API_KEY": "k" * 20}, "Redis cannot be reached"),
        (("persona", "show", "nobody"), {}, "nobody"),
        (("data", "show", "nothing"), {}, "nothing"),
        (("data", "inspect", "x" * 5000), {}, "x… could not be read or written: File name too long."),
    ],
)
def test_what_is_wrong_is_one_sentence(words: tuple[str, ...], env: dict[str, str], says: str, tmp_path: Path) -> None:
    settings = {"STATE_DIR": str(tmp_path), "DISCORD_TOKEN": "", "REDIS_URL": "", "API_KEY": ""}
    asked = run(*words, env={**settings, **env}, cwd=tmp_path)
    assert asked.returncode == 2, asked.stdout + asked.stderr
    assert says in asked.stderr
    assert "Traceback" not in asked.stderr


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        asked = run("demo", "--port", port)
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1
    assert f"Port {port}" in asked.stderr


def test_doctor_names_a_fix_for_each_failure(tmp_path: Path) -> None:
    env = {"STATE_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", "DISCORD_TOKEN": ""}
    asked = run("doctor", env=env, cwd=tmp_path)
    assert asked.returncode == 1
    lines = asked.stdout.splitlines()
    failed = [number for number, line in enumerate(lines) if line.startswith("✗")]
    assert len(failed) >= 2
    assert all(lines[number + 1].startswith("    ") for number in failed)
    assert "Traceback" not in asked.stderr


@pytest.mark.timeout(600)
def test_ctrl_c_stops_the_demo_and_leaves_nothing_running() -> None:
    # A suite that runs in the background has Ctrl-C ignored, and its children would have so too.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    argv = [*UNDERSTUDY, "demo", "--port", "0"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heeding) as demo:  # noqa: PLW1509
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Open http"):
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 6
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
    _, left = psutil.wait_procs(children, timeout=5)
    assert left == []
