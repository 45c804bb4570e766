"""What every suite may use: one real Redis for the session, emptied for each test, and settings that point to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from tasks.embedded_redis import EmbeddedRedis
from tasks.settings import TaskSettings
from tests.house import settings_in


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of our own on a free loopback port, with a password."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> SecretStr:
    """The session's Redis, emptied."""
    with redis.Redis.from_url(redis_server.url.get_secret_value()) as connection:
        connection.flushall()
    return redis_server.url


@pytest.fixture
def task_settings(redis_url: SecretStr, tmp_path: Path) -> TaskSettings:
    """Settings of a house of this test's own: its folders are under tmp_path."""
    return settings_in(tmp_path, redis_url)
