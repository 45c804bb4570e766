"""Catalogs, published in rounds of the prepare worker, without the worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from redis import Redis

from tasks import store
from tasks.jobs import Catalog, Queue
from tasks.preparer import BaseModels, Publisher, look_up_models
from tasks.settings import TaskSettings
from tasks.store import Store
from training.schema import Machine, Workspace


@pytest.fixture
def redis(redis_url: SecretStr) -> Iterator[Store]:
    connection = Store(redis_url)
    yield connection
    connection.close()


def choose(workspace: Workspace, machine: Machine | None) -> BaseModels:
    own = machine.name if machine else workspace.base_model
    return BaseModels(own, machine is None, (own, "other"))


def offered(redis: Store, guild_id: str) -> Catalog:
    catalog = redis.do(store.catalog(guild_id))
    assert catalog
    return catalog


def scripts_run(url: SecretStr) -> int:
    with Redis.from_url(url.get_secret_value()) as raw:
        return sum(told["calls"] for name, told in raw.info("commandstats").items() if name.startswith("cmdstat_eval"))


def test_one_guilds_bad_sheet_keeps_no_other_from_its_catalog(
    redis: Store, task_settings: TaskSettings, caplog: pytest.LogCaptureFixture
) -> None:
    sheets = task_settings.artifact_root / "guilds" / "1" / "personas"
    sheets.mkdir(parents=True)
    (sheets / "bad.md").write_text("no sheet at all")
    for guild_id in ("1", "2"):
        redis.do(store.catalog(guild_id))  # asking makes a guild known
    publisher = Publisher(task_settings, choose)
    with caplog.at_level(logging.WARNING):
        publisher(redis)
        publisher._due.clear()
        publisher(redis)
    assert "olga" in offered(redis, "2").personas
    assert "bad" not in offered(redis, "1").personas
    assert len(caplog.records) <= 1


def test_a_catalog_follows_the_machine_that_trains(redis: Store, task_settings: TaskSettings) -> None:
    publisher = Publisher(task_settings, choose)
    publisher(redis)
    assert (offered(redis, "1").base_model, offered(redis, "1").rehearsal) == ("standin", True)
    card = Machine(device="cuda", name="card", free_gib=8, total_gib=8, bf16=True)
    redis.do(store.attend(Queue.TRAIN, "gpu0@a", card))
    publisher(redis)
    assert (offered(redis, "1").base_model, offered(redis, "1").rehearsal) == ("card", False)
    assert offered(redis, "1").base_models == ("card", "other")


def test_a_catalog_offers_what_the_operator_allows_beside_the_shipped_models(task_settings: TaskSettings) -> None:
    allowed = task_settings.workspace().model_copy(update={"allowed_base_models": ("some/model", "standin")})
    found = look_up_models(allowed, None)
    assert (found.own, found.rehearsal) == ("standin", True)
    assert {"standin", "some/model", "Qwen/Qwen3-0.6B"} <= set(found.choices)
    assert len(set(found.choices)) == len(found.choices)


def test_a_round_in_which_nothing_is_due_asks_little(
    redis: Store, task_settings: TaskSettings, redis_url: SecretStr
) -> None:
    for number in range(50):
        redis.do(store.catalog(f"guild{number}"))
    publisher = Publisher(task_settings, choose)
    publisher(redis)
    before = scripts_run(redis_url)
    publisher(redis)
    assert scripts_run(redis_url) - before == 2
