"""The bot's settings, read from the environment and `.env`."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LONGEST_QUESTION = 500
MOST_QUESTION_BYTES = 256 * 1024


class BotSettings(BaseSettings):
    """What the Discord door needs to know; where it keeps its files is STATE_DIR, which is the tasks' setting."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    discord_token: SecretStr = Field(description="The bot's token, from the Developer Portal under Bot, Reset Token.")
    discord_guild_ids: Annotated[tuple[int, ...], NoDecode] = Field(
        (), description="Servers that get the commands at once, separated by commas; empty: every server, globally."
    )
    discord_trainer_role: str = Field(
        "Trainer", min_length=1, description="Name or id of the role whose members may start fine-tuning."
    )
    discord_card_seconds: float = Field(4, ge=1, le=60, description="Least seconds between two edits of a job's card.")
    discord_vote_role: str | None = Field(
        None, min_length=1, description="Name or id of the role that blind votes take; empty: every member may vote."
    )
    discord_vote_account_days: int = Field(
        7, ge=0, le=3650, description="Least age in days of an account that may vote; 0: any."
    )
    discord_vote_hours: int = Field(24, ge=1, le=168, description="Hours until a blind vote closes at the latest.")
    discord_vote_trainers: bool = Field(False, description="Whether whoever trained a version may vote on it.")
    discord_vote_questions: Path | None = Field(
        None, description="Text file with questions for duels and votes, one a line; beside those of the sheets."
    )
    discord_sandbox: str | None = Field(
        None, description="Address of a sandbox Discord on this machine, such as https://127.0.0.1:8443."
    )
    discord_sandbox_ca: Path | None = Field(
        None, validate_default=True, description="Certificate file of the sandbox Discord."
    )

    @field_validator("discord_token")
    @classmethod
    def _one_word(cls, token: SecretStr) -> SecretStr:
        if not token.get_secret_value().strip() or len(token.get_secret_value().split()) != 1:
            raise ValueError("must be the token alone, without spaces or line breaks")
        return token

    @field_validator("discord_guild_ids", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError("must be server ids (digits) separated by commas")
        return tuple(int(part) for part in parts)

    @field_validator("discord_vote_questions")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                _questions(path)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"must be a UTF-8 text file that the bot may read, of at most {MOST_QUESTION_BYTES >> 10} KiB, "
                    f"no line longer than {LONGEST_QUESTION} characters"
                ) from error
        return path

    @property
    def vote_questions(self) -> tuple[str, ...]:
        """The operator's own questions, as their file had them when the settings were read."""
        return _questions(self.discord_vote_questions) if self.discord_vote_questions else ()

    @field_validator("discord_sandbox")
    @classmethod
    def _loopback(cls, value: str | None) -> str | None:
        if value is not None and not _is_loopback(value):
            raise ValueError("must be an address on this machine with a port, such as https://127.0.0.1:8443")
        return value

    @field_validator("discord_sandbox_ca")
    @classmethod
    def _goes_with_sandbox(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("discord_sandbox") is not None and (value is None or not value.is_file()):
            raise ValueError("must be the certificate file that the sandbox of DISCORD_SANDBOX wrote when it started")
        return value


def _questions(path: Path) -> tuple[str, ...]:
    """The lines of a file that are not empty, each once; raises OSError or ValueError."""
    with path.open("rb") as file:
        content = file.read(MOST_QUESTION_BYTES + 1)
    lines = tuple(dict.fromkeys(" ".join(line.split()) for line in content.decode().splitlines() if line.strip()))
    if len(content) > MOST_QUESTION_BYTES or any(len(line) > LONGEST_QUESTION for line in lines):
        raise ValueError("too large")
    return lines


def _is_loopback(address: str) -> bool:
    try:
        url = urlsplit(address)
        return url.scheme == "https" and bool(url.port) and ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False
