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

from tasks import alive
from tasks.errors import RedisAway
from tasks.settings import TaskSettings, load_settings
from tasks.store import Store
from training.schema import Noun, UnderstudyError

LEAST_DISK_GIB = 5
QUEUES = ("train", "chat", "prepare")
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
    checks += _workers(settings)
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
    if settings.redis_url is None:
        return [Check(name="Redis", ok=True, found="REDIS_URL is not set; `understudy up` starts the embedded one")]
    store = Store.connect(settings)
    try:
        appendonly = await store.durable()
    except RedisAway as error:
        return [Check(name="Redis", ok=False, found="it does not answer", fix=str(error))]
    finally:
        await store.close()
    fix = "Start Redis with --appendonly yes, or a crash of it loses what is queued."
    return [
        Check(name="Redis", ok=True, found="it answers"),
        Check(name="Redis durability", ok=appendonly is not False, found=_durability(appendonly), fix=fix),
    ]


def _durability(appendonly: bool | None) -> str:
    return {True: "append-only file on", False: "append-only file off", None: "it does not tell (CONFIG is closed)"}[
        appendonly
    ]


def _workers(settings: TaskSettings) -> Iterator[Check]:
    for queue in QUEUES:
        ok = alive.is_alive(settings.state_dir, queue)
        found = "alive on this machine" if ok else "no sign of life on this machine"
        fix = f"Start it: understudy up, or understudy worker {queue}. (On another machine? Ask its doctor.)"
        yield Check(name=f"worker {queue}", ok=ok, found=found, fix=fix)


def _card() -> Check:
    """The GPU, asked in a child so that this process never loads torch."""
    if importlib.util.find_spec("torch") is None:
        return Check(name="card", ok=True, found="torch is not installed here, so this machine does not train")
    asked = subprocess.run([sys.executable, "-c", CARD_QUESTION], capture_output=True, text=True, timeout=120)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Check(name="card", ok=False, found=last, fix="Install the locked dependencies again: make install.")
    found = asked.stdout.strip()
    if found == "none":
        return Check(name="card", ok=True, found="none; BASE_MODEL=auto takes the rehearsal model")
    return Check(name="card", ok=True, found=f"{found} GiB")
