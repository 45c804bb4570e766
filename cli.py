"""`understudy`: assembles the storeys and starts processes by name; the one file that looks across all of them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import training.cli
from training.commands.logs import Guild, Users
from training.errors import UnderstudyError, disk_refused
from training.terminal import visible

if TYPE_CHECKING:
    from processes import Group, Process
    from tasks.embedded_redis import EmbeddedRedis
    from tasks.settings import TaskSettings
    from training.schema import Workspace

DEMO_EPOCHS = 4
PREPARE_THREADS = 3
DEMO_LOGS = Path(".understudy/demo-logs").absolute()
JOURNEY_SECONDS = 300.0
INTERRUPTED = 130


class Worker(StrEnum):
    """The three queues a worker can serve."""

    TRAIN = "train"
    CHAT = "chat"
    PREPARE = "prepare"


def _settings() -> TaskSettings:
    from tasks.settings import TaskSettings, load_settings

    return load_settings(TaskSettings)


def _workspace() -> Workspace:
    return _settings().workspace()


app = training.cli.build(_workspace)


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Play the journey by itself and print it.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the sandbox page; 0 takes a free one.")] = 8765,
) -> None:
    """The whole journey in a sandbox Discord on this machine: no token, no Redis, no GPU."""
    from processes import Group, require_free_port
    from tasks.embedded_redis import EmbeddedRedis

    page_port = 0 if headless else port
    require_free_port(page_port, "--port")
    _prepare_standin()
    with (
        _stoppable(INTERRUPTED if headless else 0),
        tempfile.TemporaryDirectory(prefix="understudy-demo-") as name,
        EmbeddedRedis(Path(name) / "state" / "redis") as redis,
        # Not in the folder that goes with the demo: whoever wants to know why it failed needs them.
        Group(DEMO_LOGS) as group,
    ):
        sandbox = _start_demo(group, Path(name), redis, page_port)
        if headless:
            _play(sandbox.said["page"])
        else:
            typer.echo(f"\nOpen {sandbox.said['page']} and type /finetune start. Ctrl-C stops everything.")
            group.watch()


def _prepare_standin() -> None:
    """Make the rehearsal model before the journey, so that set-up and journey are told apart."""
    from training.standin import ensure_standin

    began = time.monotonic()
    ensure_standin(_workspace().cache_dir)
    typer.echo(f"The rehearsal model is ready ({time.monotonic() - began:.0f} s).")


def _start_demo(group: Group, folder: Path, redis: EmbeddedRedis, page_port: int) -> Process:
    """Start the sandbox, the workers and the bot, all in `folder`; returns the sandbox."""
    from sandbox.people import GUILD_ID

    argv = [sys.executable, "-m", "sandbox", "--page-port", str(page_port), "--data", str(folder)]
    sandbox = group.start("sandbox", argv, {})
    sandbox.wait_ready(30)
    env = {
        "REDIS_URL": redis.url.get_secret_value(),
        "ARTIFACT_ROOT": str(folder / "artifacts"),
        "STATE_DIR": str(folder / "state"),
        "BASE_MODEL": "standin",
        "UPLOAD_SOURCES": f"{sandbox.said['discord']}/ephemeral-attachments/",
        "UPLOAD_CA": sandbox.said["ca"],
        "DISCORD_TOKEN": sandbox.said["token"],
        "DISCORD_GUILD_IDS": GUILD_ID,
        "DISCORD_TRAINER_ROLE": "Trainer",
        "DISCORD_SANDBOX": sandbox.said["discord"],
        "DISCORD_SANDBOX_CA": sandbox.said["ca"],
    }
    for queue in Worker:
        group.start(queue, worker_argv(queue), env)
    group.start("bot", [sys.executable, "-m", "bot"], env)
    for process in group.processes:
        process.wait_ready(120)
        typer.echo(f"{process.name} is ready")
    return sandbox


def _play(page_url: str) -> None:
    """Play the journey, print the transcript and the closing JSON line; exits 1 if a step failed."""
    import asyncio
    import json

    from sandbox.journey import JourneyFailed, play, transcript

    try:
        journey = asyncio.run(play(page_url, epochs=DEMO_EPOCHS, seconds=JOURNEY_SECONDS, say=typer.echo))
    except JourneyFailed as failed:
        typer.echo(json.dumps({"ok": False, "failed": str(failed)}))
        raise typer.Exit(1) from None
    typer.echo(transcript(journey.messages))
    seconds = round(journey.seconds, 1)
    outcome = {"ok": True, "job_id": journey.job_id, "seconds": seconds, "messages": len(journey.messages)}
    typer.echo(json.dumps(outcome))


@app.command()
def up() -> None:
    """Start everything on this machine: Redis unless REDIS_URL names one, the workers, the bot, and the REST door."""
    from bot.settings import BotSettings
    from processes import Group
    from tasks.embedded_redis import EmbeddedRedis
    from tasks.settings import load_settings

    settings = _settings()
    load_settings(BotSettings)  # so that a missing token is said before anything starts
    settings.made("STATE_DIR")
    redis = EmbeddedRedis(settings.redis_dir) if settings.redis_url is None else None
    with _stoppable(), redis or nullcontext(), Group(settings.state_dir / "logs") as group:
        for queue in Worker:
            group.start(queue, worker_argv(queue), {})
        group.start("bot", [sys.executable, "-m", "bot"], {})
        if settings.api_key is not None:
            group.start("api", [sys.executable, "-m", "tasks.api"], {})
        for process in group.processes:
            process.wait_ready(300)
            typer.echo(f"{process.name} is ready")
        group.watch(restart=True, tend=redis.revive if redis else None)


@contextmanager
def _stoppable(code: int = 0) -> Iterator[None]:
    """Let SIGTERM stop what is inside as Ctrl-C does, and both without a traceback; then exit with `code`."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nStopped.")
        raise typer.Exit(code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def bot() -> None:
    """Start the Discord bot."""
    from bot.__main__ import main as run_bot

    raise typer.Exit(run_bot())


def worker_argv(queue: Worker) -> list[str]:
    """Celery's command line for one queue: one thread, since the work itself runs in a child or on one engine.

    Queue prepare has a few, so that nobody who waits for a plan waits for a build that a language model writes.
    A node's name tells its card, so that each card of a machine can have workers of its own.
    """
    gpu = _settings().gpu
    threads = PREPARE_THREADS if queue is Worker.PREPARE else 1
    name = {Worker.TRAIN: f"gpu{gpu}", Worker.CHAT: f"chat-gpu{gpu}"}.get(queue, queue)
    celery = [sys.executable, "-m", "celery", "-A", "tasks.app", "worker"]
    return [
        *celery,
        "-P",
        "threads",
        "-c",
        str(threads),
        "-Q",
        queue,
        "-n",
        f"{name}@%h",
        "--without-mingle",
        "--without-gossip",
    ]


@app.command()
def worker(queue: Annotated[Worker, typer.Argument(help="The queue to serve.")]) -> None:
    """Start the worker of one queue."""
    from tasks.embedded_redis import redis_url
    from tasks.store import Store, workers

    # What is wrong with the settings or with Redis is said here, in plain words, before Celery starts.
    connection = Store(redis_url(_settings()))
    connection.do(workers())
    connection.close()
    argv = worker_argv(queue)
    os.execv(argv[0], argv)  # noqa: S606 - so that a signal reaches Celery itself; the arguments are ours


@app.command()
def api() -> None:
    """Start the REST door."""
    from tasks.api import main as serve

    raise typer.Exit(serve())


@app.command("forget-votes")
def forget_votes(guild: Guild, user: Users) -> None:
    """Remove what members chose in blind votes, said of answers on forms, and typed to be voted on.

    What was made of their messages goes with `understudy data forget`. In datasets that were made of votes before,
    their judgements stay under a pseudonym, which without the bot's key leads to nobody.
    """
    from bot.ballot_box import Ballots

    path = _settings().state_dir / "bot-ballots.sqlite3"
    if not path.is_file():
        typer.echo("No votes are kept here.")
        return
    ballots = Ballots(path)
    removed = sum(ballots.forget(guild, one) for one in user)
    ballots.close()
    typer.echo(f"Removed {removed:,} {'entry' if removed == 1 else 'entries'}.")


@app.command()
def doctor(
    alive: Annotated[str | None, typer.Option(help="Only ask whether this process gave a sign of life.")] = None,
) -> None:
    """Check settings, folders, Redis, workers, the card and Discord; each ✗ comes with its fix."""
    import asyncio

    import bot.doctor
    import tasks.alive
    import tasks.doctor

    if alive is not None:
        raise typer.Exit(0 if tasks.alive.is_alive(_settings().state_dir, alive) else 1)
    checks = [*asyncio.run(tasks.doctor.examine()), *asyncio.run(bot.doctor.examine())]
    for check in checks:
        typer.echo(f"{'✓' if check.ok else '✗'} {check.name}: {check.found}")
        if not check.ok:
            typer.echo(f"    {check.fix}")
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


def main() -> None:
    """The console script: an expected error, the file system's among them, is one sentence and exit code 2."""
    try:
        app()
    except (UnderstudyError, OSError) as error:
        told = disk_refused(error) if isinstance(error, OSError) else error
        if told is None:
            raise
        print(f"✗ {visible(str(told))}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
