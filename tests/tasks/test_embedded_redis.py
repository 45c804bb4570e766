"""The embedded Redis: a real server that keeps its data, guards its folder and ends with its starter."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from tasks.embedded_redis import EmbeddedRedis, redis_url
from tasks.errors import RedisFolderBusy
from tests.house import ROOT, settings_in

STARTER = """
import sys, time
from pathlib import Path
from tasks.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def connect(url: SecretStr) -> redis.Redis:
    return redis.Redis.from_url(url.get_secret_value(), decode_responses=True)


def test_data_and_address_stay_between_runs(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with server:
        first = server.url
        with connect(first) as connection:
            connection.set("kept", "yes")
            assert connection.config_get("appendfsync") == {"appendfsync": "always"}
            assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with server:
        assert server.url == first
        with connect(server.url) as connection:
            assert connection.get("kept") == "yes"


def test_the_password_is_needed_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        port = server.url.get_secret_value().rsplit(":", 1)[1]
        with redis.Redis.from_url(f"redis://127.0.0.1:{port}") as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        for name in ("access.json", "redis.conf"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_second_start_on_the_same_folder_is_one_sentence(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(RedisFolderBusy, match="Stop that one, or set STATE_DIR"):
            EmbeddedRedis(tmp_path).start()
        with connect(server.url) as connection:
            assert connection.ping()


def test_without_a_setting_the_embedded_one_is_found(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, SecretStr("redis://x")).model_copy(update={"redis_url": None})
    with EmbeddedRedis(settings.redis_dir) as server:
        assert redis_url(settings) == server.url


def test_it_ends_with_a_killed_starter_and_the_next_start_has_its_data(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout
    assert starter.stdout.readline().strip().isdigit()
    server = EmbeddedRedis(tmp_path)
    with pytest.raises(RedisFolderBusy):
        server.start()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    with server, connect(server.url) as connection:
        assert connection.ping()


def test_a_killed_server_keeps_every_answered_write(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    with connect(server.url) as connection:
        for number in range(100):
            connection.rpush("numbers", number)
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with server, connect(server.url) as connection:
        assert connection.llen("numbers") == 100


def test_a_stop_is_quick_and_may_be_said_twice(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    begun = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - begun < 5
