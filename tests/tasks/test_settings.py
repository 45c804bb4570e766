"""Settings: all problems at once, in plain words, and no secret told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli import Worker, worker_argv
from tasks.bell import make_celery
from tasks.child import Assignment
from tasks.embedded_redis import EmbeddedRedis, redis_url
from tasks.errors import FolderUnusable, SettingsWrong
from tasks.settings import TaskSettings, load_settings


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to start in, and none of our variables set."""
    monkeypatch.chdir(tmp_path)
    for name in TaskSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load_settings(TaskSettings)
    assert settings.redis_url is None
    assert settings.artifact_root == tmp_path / ".understudy" / "artifacts"
    assert settings.dataset_warehouse == Path("/mnt/ai_warehouse/datasets")
    assert settings.workspace().base_model == "auto"


def test_every_problem_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"REDIS_URL": "http://here", "API_PORT": "many", "GPU": "-1", "API_KEY": "hunter2", "LLM_BASE_URL": "here"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsWrong) as caught:
        load_settings(TaskSettings)
    said = str(caught.value)
    assert "REDIS_URL: must start with redis:// or rediss://." in said
    assert "API_PORT: must be a whole number." in said
    assert "GPU: must be at least 0." in said
    assert "API_KEY: must have at least 16 characters." in said
    assert "LLM_BASE_URL: must start with http:// or https://." in said
    assert "hunter2" not in said
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "address",
    [
        "redis://localhost:abc/0",
        "redis://[bad",
        "redis://localhost:0/0",
        "redis://localhost:70000/0",
        "redis://localhost:6379/zero",
        "redis://localhost/0?socket_timeout=soon",
        "redis://localhost/0?protocol=3",
        "redis://",
        "redis://:unquoted#secret@localhost/0",
    ],
)
def test_an_address_that_redis_or_celery_stumbles_over_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", address)
    with pytest.raises(SettingsWrong, match="REDIS_URL: must look like redis://:password@host:6379/0") as caught:
        load_settings(TaskSettings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "redis://redis:6379",
        "redis://localhost",
        "rediss://u:%23p@10.0.0.1:6380/3",
        "rediss://[::1]:6379/0?ssl_cert_reqs=none",
    ],
)
def test_addresses_that_serve_are_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", address)
    settings = load_settings(TaskSettings)
    assert settings.redis_url
    make_celery(settings.redis_url).connection_for_read()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACT_ROOT", str(tmp_path / "made" / "on" / "the" / "way"))
    assert load_settings(TaskSettings).made("ARTIFACT_ROOT").is_dir()
    (tmp_path / "file").touch()
    for folder in (Path("/proc/nope"), tmp_path / "file"):
        monkeypatch.setenv("STATE_DIR", str(folder))
        settings = load_settings(TaskSettings)
        with pytest.raises(FolderUnusable, match=f"{folder} cannot be used: .*set STATE_DIR to another folder"):
            settings.made("STATE_DIR")
    with pytest.raises(FolderUnusable):
        redis_url(settings)
    with pytest.raises(FolderUnusable):
        EmbeddedRedis(settings.redis_dir).start()


def test_an_assignment_that_cannot_be_read_keeps_its_token(tmp_path: Path) -> None:
    told = {"workspace": {"artifact_root": 7, "hf_token": "hf-tell-no-one"}, "job_id": "x"}
    with pytest.raises(ValidationError) as caught:
        Assignment.model_validate(told)
    assert "tell-no-one" not in str(caught.value)


def test_the_server_that_writes_dialogues_is_handed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(TaskSettings).workspace().language_model is None
    given = {"LLM_BASE_URL": "http://localhost:8000/v1", "LLM_MODEL": "m", "LLM_API_KEY": "k", "LLM_PRICE_OUT": "0.6"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    server = load_settings(TaskSettings).workspace().language_model
    assert server
    assert server.api_key
    told = (server.base_url, server.model, server.api_key.get_secret_value(), server.price_in, server.price_out)
    assert told == ("http://localhost:8000/v1", "m", "k", 0.0, 0.6)


@pytest.mark.parametrize("source", ["http://here.example/a/", "https://here.example", "https:///a/", "here.example/"])
def test_a_source_of_uploads_ends_behind_its_host(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOAD_SOURCES", f"https://good.example/files/,{source}")
    with pytest.raises(SettingsWrong, match="UPLOAD_SOURCES: must be addresses that begin with https:// and end with"):
        load_settings(TaskSettings)


def test_the_env_file_is_read_and_empty_values_are_unset(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=\nAPI_PORT=9000\nALLOWED_BASE_MODELS=a/b, c/d\nOTHER=1\n")
    settings = load_settings(TaskSettings)
    assert settings.redis_url is None
    assert settings.api_port == 9000
    assert settings.workspace().allowed_base_models == ("a/b", "c/d")


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"REDIS_URL": "redis://:tell-no-one@host/0", "API_KEY": "tell-no-one-anything", "HF_TOKEN": "tell-no-one"}
    secrets |= {"LLM_BASE_URL": "http://localhost/v1", "LLM_API_KEY": "tell-no-one"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(TaskSettings)
    assert "tell-no-one" not in f"{settings!r} {settings} {settings.workspace()!r} {settings.model_dump_json()}"


def test_every_setting_has_its_sentence() -> None:
    for name, field in TaskSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_each_card_of_a_machine_has_workers_of_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU", "2")
    names = [worker_argv(queue)[worker_argv(queue).index("-n") + 1] for queue in Worker]
    assert names == ["gpu2@%h", "chat-gpu2@%h", "prepare@%h"]


class Prefixed(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DISCORD_")

    token: SecretStr = Field(description="A token.")


def test_problems_name_the_variable_also_behind_a_prefix() -> None:
    with pytest.raises(SettingsWrong, match="DISCORD_TOKEN: is required"):
        load_settings(Prefixed)
