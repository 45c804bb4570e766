"""What a newcomer installs: the lock, the containers' file, the generated texts."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bot.settings import BotSettings
from tasks.settings import TaskSettings

ROOT = Path(__file__).resolve().parents[1]


def locked() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_lock_pins_every_requirement_exactly() -> None:
    for rows in locked().values():
        for row in rows:
            assert re.fullmatch(r"==[^*+,]+", str(row.specifier)), f"{row} is not one exact, public version"


def test_lock_holds_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}
    assert declared - {"understudy"} <= set(locked())


def test_installed_versions_are_the_locked_ones() -> None:
    """Everything that our own dependencies pulled in here, followed through the installed metadata."""
    lock = locked()
    waiting, seen, astray = [("understudy", "dev")], set(), []
    while waiting:
        package, extra = waiting.pop()
        for line in metadata.requires(package) or []:
            requirement = Requirement(line)
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": one}) for one in {"", extra}
            )
            key = canonicalize_name(requirement.name)
            if not wanted or key in seen or key.startswith(("nvidia-", "cuda-", "triton")):
                continue
            seen.add(key)
            waiting += [(key, one) for one in requirement.extras or {""}]
            version = metadata.version(key).split("+")[0]
            rows = [row for row in lock.get(key, []) if row.marker is None or row.marker.evaluate()]
            if key != "understudy" and not any(row.specifier.contains(version, prereleases=True) for row in rows):
                astray.append(f"{key} {version}, locked: {[str(row) for row in rows]}")
    assert len(seen) > 60
    assert not astray


def test_compose_file_follows_the_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stdout


def test_every_copied_path_of_the_images_exists() -> None:
    for dockerfile in (ROOT / "Dockerfile", ROOT / "Dockerfile.worker"):
        copied = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
        paths = [path for row in copied for path in row]
        assert len(paths) > 8
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_profiles_hold_whole_installations() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for profile in ("cpu", "gpu"):
        chosen = {name.removesuffix("-cpu") for name, service in services.items() if profile in service["profiles"]}
        assert chosen == {"redis", "bot", "worker-train", "worker-chat", "worker-prepare"}
    for name in ("worker-train", "worker-chat"):
        devices = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert devices[0]["capabilities"] == ["gpu"]
    assert all("healthcheck" in service for service in services.values())


def test_each_service_is_given_only_its_own_secrets() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    holders = {"DISCORD_TOKEN": {"bot"}, "API_KEY": {"api"}}
    for secret, holder in holders.items():
        assert {name for name, service in services.items() if secret in service.get("environment", {})} == holder
    assert not any("env_file" in service for service in services.values())


def test_services_are_told_settings_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    known = {*BotSettings.model_fields, *TaskSettings.model_fields, "hf_home"}
    for name, service in services.items():
        told = {variable.lower() for variable in service.get("environment", {})}
        assert name == "redis" or told <= known, name


def test_generated_texts_are_up_to_date() -> None:
    asked = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
