"""Writes the generated parts of README.md and .env.example from the code; `--check` only says whether they are true."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from discord import app_commands
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

import cli
from bot.commands.dataset import dataset
from bot.commands.finetune import finetune
from bot.commands.persona import persona
from bot.commands.persona_chat import persona_chat
from bot.settings import BotSettings
from tasks.settings import TaskSettings

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Copy this file to .env. Every line is optional unless it says otherwise; what stands behind # is the default.
# Read once at start; all problems are listed at once."""

CONTAINERS = """
# --- docker-compose.yml only ---

# Password of the compose file's Redis, letters and digits; REDIS_URL is made from it. Required there.
#REDIS_PASSWORD=
"""


def env_example() -> str:
    """One commented line a setting, from the two settings classes."""
    sections = [*_section("Discord", BotSettings), *_section("Queue, workers and doors", TaskSettings)]
    return "\n".join([HEAD, *sections, CONTAINERS])


def _section(title: str, settings: type[BaseSettings]) -> Iterator[str]:
    yield f"\n# --- {title} ---"
    for name, field in settings.model_fields.items():
        required = field.default is PydanticUndefined
        default = "" if required or field.default is None else field.default
        line = f"{name.upper()}={','.join(default) if isinstance(default, tuple) else default}"
        yield f"\n# {field.description}{' Required.' if required else ''}"
        yield line if required else f"#{line}"


def discord_commands() -> str:
    """A table of the slash commands and their options."""
    rows = ["| Command | Options | What it does |", "|---|---|---|"]
    for command in (*finetune.walk_commands(), persona_chat, *persona.walk_commands(), *dataset.walk_commands()):
        assert isinstance(command, app_commands.Command)
        options = ", ".join(f"`{p.display_name}`{'*' if p.required else ''}" for p in command.parameters)
        rows.append(f"| `/{command.qualified_name}` | {options or '–'} | {command.description} |")
    return "\n".join([*rows, "", "\\* required"])


def cli_commands() -> str:
    """A table of `understudy`'s commands."""
    rows = ["| Command | What it does |", "|---|---|"]
    rows += [f"| `understudy {name}` | {text} |" for name, text in _commands(typer.main.get_command(cli.app))]
    return "\n".join(rows)


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each command's full name and help; Typer brings a click of its own, so groups are told by what they hold."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", " ".join((command.help or "").split())


def readme() -> str:
    """README.md with its generated parts made again."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, made in (("discord commands", discord_commands()), ("cli commands", cli_commands())):
        part = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert part.search(text), f"README.md has no part called {name}"
        text = part.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    return text


def main() -> int:
    """Write both files, or with --check return 1 if one of them is out of date."""
    stale = [name for name, made in MADE.items() if not _holds(ROOT / name, made())]
    if "--check" in sys.argv:
        if stale:
            print(f"{', '.join(stale)}: out of date. Run: make docs")
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).write_text(MADE[name](), encoding="utf-8")
        print(f"{name} written")
    return 0


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


MADE = {"README.md": readme, ".env.example": env_example}

if __name__ == "__main__":
    sys.exit(main())
