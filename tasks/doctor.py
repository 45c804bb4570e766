"""Checks of the queue's house; each one that fails says what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from tasks import store
from tasks.embedded_redis import redis_url
from tasks.errors import RedisNotStarted
from tasks.jobs import Queue
from tasks.settings import TaskSettings, load_settings
from tasks.store import AsyncStore
from training.errors import UnderstudyError
from training.schema import LanguageModel, Noun

LEAST_DISK_GIB = 5
LANGUAGE_MODEL_SECONDS = 5.0
CARD_QUESTION = (
    "import torch; c = torch.cuda; print(c.get_device_name(0), round(c.mem_get_info()[1] / 2**30)) "
    "if c.is_available() else print('none')"
)


class Check(Noun):
    """One finding; `fix` is what to do when it is not ok."""

    name: str
    ok: bool
    found: str
    fix: str = ""


async def examine() -> list[Check]:
    """All checks, in the order in which to mend them; without readable settings only the first."""
    try:
        settings = load_settings(TaskSettings)
    except UnderstudyError as error:
        return [Check(name="settings", ok=False, found="they cannot be used", fix=str(error))]
    checks = [Check(name="settings", ok=True, found="read")]
    checks += _folders(settings)
    checks += await _redis(settings)
    if model := settings.language_model():
        checks.append(await _language_model(model))
    checks.append(await asyncio.to_thread(_card))
    return checks


def _folders(settings: TaskSettings) -> Iterator[Check]:
    for name, folder in (("ARTIFACT_ROOT", settings.artifact_root), ("STATE_DIR", settings.state_dir)):
        parent = _existing(folder)
        ok = os.access(parent, os.W_OK)
        yield Check(
            name=name, ok=ok, found=str(folder), fix=f"Make {parent} writable, or set {name} to another folder."
        )
    free = shutil.disk_usage(_existing(settings.artifact_root)).free / 2**30
    yield Check(
        name="disk",
        ok=free >= LEAST_DISK_GIB,
        found=f"{free:.1f} GiB free",
        fix=f"Free at least {LEAST_DISK_GIB} GiB, or set ARTIFACT_ROOT to a larger disk.",
    )
    warehouse = settings.dataset_warehouse
    found = str(warehouse) if warehouse.is_dir() else f"{warehouse} is not there, so only shipped datasets are offered"
    yield Check(name="DATASET_WAREHOUSE", ok=True, found=found)


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())


async def _redis(settings: TaskSettings) -> list[Check]:
    """Redis and the workers that it has heard of a moment ago."""
    try:
        address = redis_url(settings)
    except RedisNotStarted:
        found = "REDIS_URL is not set and the embedded one does not run"
        return [Check(name="Redis", ok=False, found=found, fix="Start it and the workers: understudy up.")]
    connection = AsyncStore(address)
    try:
        workers = await connection.do(store.workers())
        appends = await connection.appends()
    except UnderstudyError as error:
        return [Check(name="Redis", ok=False, found="it cannot be used", fix=str(error))]
    finally:
        await connection.close()
    return [Check(name="Redis", ok=True, found="it answers"), _durability(appends), *_workers(workers)]


def _durability(appends: bool | None) -> Check:
    found = {True: "append-only file on", False: "append-only file off", None: "it does not tell"}[appends]
    fix = "Start Redis with --appendonly yes, or a crash of it loses what is queued."
    return Check(name="Redis durability", ok=appends is not False, found=found, fix=fix)


def _workers(present: list[str]) -> Iterator[Check]:
    for queue in Queue:
        nodes = [worker.partition("/")[2] for worker in present if worker.startswith(f"{queue}/")]
        found = ", ".join(nodes) or "none"
        fix = f"Start one: understudy worker {queue} (or all of them: understudy up)."
        yield Check(name=f"{queue} worker", ok=bool(nodes), found=found, fix=fix)


async def _language_model(server: LanguageModel) -> Check:
    """Whether the server that writes dialogues answers, and lists the model that it is asked for."""
    name = "LLM_BASE_URL"
    try:
        models = await _models(server)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        found = f"it does not list its models ({error or type(error).__name__})"
        fix = f"Start the server at {server.base_url}, or correct LLM_BASE_URL and LLM_API_KEY."
        return Check(name=name, ok=False, found=found, fix=fix)
    if not models or (server.model and server.model not in models):
        found = f"it lists {', '.join(models) or 'no model'}"
        return Check(name=name, ok=False, found=found, fix="Set LLM_MODEL to a model that this server has.")
    return Check(name=name, ok=True, found=f"it answers; {server.model or models[0]} writes dialogues")


async def _models(server: LanguageModel) -> list[str]:
    headers = {"Authorization": f"Bearer {server.api_key.get_secret_value()}"} if server.api_key else {}
    address = f"{server.base_url.rstrip('/')}/models"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LANGUAGE_MODEL_SECONDS)) as session,
        session.get(address, headers=headers) as answer,
    ):
        answer.raise_for_status()
        try:
            return [str(model["id"]) for model in (await answer.json(content_type=None))["data"]]
        except (KeyError, TypeError) as error:
            raise ValueError("it answers something else") from error


def _card() -> Check:
    """The GPU, asked in a child so that this process never loads torch."""
    if importlib.util.find_spec("torch") is None:
        return Check(name="card", ok=True, found="torch is not installed here, so this machine does not train")
    command = [sys.executable, "-c", CARD_QUESTION]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Check(name="card", ok=False, found=last, fix="Install the locked dependencies again: make install.")
    found = asked.stdout.strip()
    if found == "none":
        return Check(name="card", ok=True, found="none; BASE_MODEL=auto takes the rehearsal model")
    return Check(name="card", ok=True, found=f"{found} GiB")
