"""What an operator may set for the queue and its workers, read from the environment and from `.env`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.connection import parse_url

from tasks.complaints import in_words
from tasks.errors import FolderUnusable, SettingsWrong
from training.schema import GuildId, LanguageModel, WeightsAndBiases, Workspace

SettingsT = TypeVar("SettingsT", bound=BaseSettings)
DISCORD_FILES = ("https://cdn.discordapp.com/attachments/", "https://cdn.discordapp.com/ephemeral-attachments/")


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Folder = Annotated[Path, AfterValidator(_absolute)]
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class TaskSettings(BaseSettings):
    """Everything the queue's house is told from outside; training gets its share as arguments."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_url: SecretStr | None = Field(
        None, description="Address of the Redis that holds jobs; empty: the embedded one in STATE_DIR."
    )
    state_dir: Folder = Field(
        Path(".understudy/state"),
        validate_default=True,
        description="Folder for ledgers, locks and the embedded Redis.",
    )
    artifact_root: Folder = Field(
        Path(".understudy/artifacts"), validate_default=True, description="Folder for runs, adapters and uploads."
    )
    dataset_warehouse: Folder = Field(
        Path("/mnt/ai_warehouse/datasets"), validate_default=True, description="Folder of datasets that jobs may read."
    )
    cache_dir: Folder = Field(
        Path("~/.cache/understudy"), validate_default=True, description="Folder for what can be made again."
    )
    base_model: str = Field(
        "auto",
        min_length=1,
        max_length=400,
        description="Model that personas are trained on: a hub name, a local path, `standin`, or `auto`.",
    )
    allowed_base_models: CommaList = Field((), description="More base models that a job may name, separated by commas.")
    train_processes: int = Field(
        1, ge=1, le=64, description="Processes that train one job together, one a card, from card GPU on."
    )
    wandb_project: str | None = Field(None, description="Project on Weights & Biases; none: nothing is told there.")
    wandb_mode: Literal["online", "offline"] = Field("online", description="Whether runs are told at once, or kept.")
    wandb_api_key: SecretStr | None = Field(None, description="Key for Weights & Biases.")
    hf_token: SecretStr | None = Field(None, description="Token for gated models on the Hugging Face hub.")
    llm_base_url: str | None = Field(
        None, description="OpenAI-compatible server that writes dialogues; empty: they are composed without one."
    )
    llm_model: str | None = Field(None, description="Model of LLM_BASE_URL; empty: the first that it lists.")
    llm_api_key: SecretStr | None = Field(None, description="Key for LLM_BASE_URL; empty: it asks for none.")
    llm_price_in: float = Field(0.0, ge=0, description="US dollars for a million tokens that LLM_BASE_URL reads.")
    llm_price_out: float = Field(0.0, ge=0, description="US dollars for a million tokens that LLM_BASE_URL writes.")
    upload_max_mib: int = Field(25, ge=1, le=500, description="Largest file that a member may upload, in MiB.")
    upload_max_rows: int = Field(100_000, ge=1, description="Most rows that an uploaded file may have.")
    upload_sources: CommaList = Field(
        DISCORD_FILES, description="Addresses that uploads are fetched from, separated by commas; https only."
    )
    upload_ca: Path | None = Field(
        None, description="Certificate file that UPLOAD_SOURCES are trusted by; empty: those of this machine."
    )
    api_key: SecretStr | None = Field(None, description="Bearer key that REST callers must send; empty: no REST door.")
    api_host: str = Field("127.0.0.1", min_length=1, description="Address the REST door listens on.")
    api_port: int = Field(8000, ge=0, le=65535, description="Port the REST door listens on; 0 takes a free one.")
    api_guild_id: GuildId = Field("local", description="Server whose personas and jobs the API key opens.")
    gpu: int = Field(
        0,
        ge=0,
        le=63,
        description="Number of the GPU that the workers use; it takes the place of CUDA_VISIBLE_DEVICES.",
    )

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("must start with redis:// or rediss://")
        if value and not _is_redis_address(value.get_secret_value()):
            raise ValueError(
                "must look like redis://:password@host:6379/0, with special characters of the password in % notation"
            )
        return value

    @field_validator("llm_base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if value and not _has_host(value):
            raise ValueError("must look like http://host:8000/v1")
        return value

    @field_validator("upload_sources")
    @classmethod
    def _are_folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # An address that ends within a host's name would also let in every host whose name begins so.
        if not all(source.startswith("https://") and source.endswith("/") and _has_host(source) for source in value):
            raise ValueError("must be addresses that begin with https:// and end with /")
        return value

    @field_validator("upload_ca")
    @classmethod
    def _is_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("must be a file of certificates")
        return value

    @field_validator("api_guild_id")
    @classmethod
    def _is_no_terminal(cls, value: str) -> str:
        if value == "terminal":
            raise ValueError("must not be terminal, which may read every file of this machine")
        return value

    @field_validator("api_key")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters")
        return value

    @property
    def redis_dir(self) -> Path:
        """The embedded Redis' folder."""
        return self.state_dir / "redis"

    def made(self, setting: Literal["STATE_DIR", "ARTIFACT_ROOT"]) -> Path:
        """One of the folders, made where it was missing and tried by writing to it; raises FolderUnusable."""
        folder: Path = getattr(self, setting.lower())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            raise FolderUnusable(folder=folder, setting=setting, reason=error.strerror or error) from None

    def run_dir(self, job_id: str) -> Path:
        """The run folder of one training job."""
        return self.artifact_root / "runs" / job_id

    def check_dir(self, job_id: str) -> Path:
        """The folder of one check."""
        return self.artifact_root / "checks" / job_id

    def gpu_locks(self, count: int) -> tuple[Path, ...]:
        """The files whose locks stand for so many cards from GPU on, in the order in which they are to be taken."""
        return tuple(self.state_dir / f"gpu-{card}.lock" for card in range(self.gpu, self.gpu + count))

    @property
    def cards(self) -> str:
        """The cards that this worker trains on, as CUDA takes them."""
        return ",".join(map(str, range(self.gpu, self.gpu + self.train_processes)))

    def _wandb(self) -> WeightsAndBiases | None:
        if not self.wandb_project:
            return None
        return WeightsAndBiases(project=self.wandb_project, mode=self.wandb_mode, api_key=self.wandb_api_key)

    def workspace(self) -> Workspace:
        """The part of the settings that training is handed."""
        return Workspace(
            artifact_root=self.artifact_root,
            dataset_warehouse=self.dataset_warehouse,
            cache_dir=self.cache_dir,
            base_model=self.base_model,
            allowed_base_models=self.allowed_base_models,
            hf_token=self.hf_token,
            processes=self.train_processes,
            wandb=self._wandb(),
            language_model=self.language_model(),
        )

    def language_model(self) -> LanguageModel | None:
        """The server that writes dialogues, if one is set up."""
        if self.llm_base_url is None:
            return None
        return LanguageModel(
            base_url=self.llm_base_url,
            model=self.llm_model,
            api_key=self.llm_api_key,
            price_in=self.llm_price_in,
            price_out=self.llm_price_out,
        )


def _has_host(url: str) -> bool:
    """Whether an address has a host, and a port that can be one if it has any."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_redis_address(url: str) -> bool:
    """Whether redis-py and Celery can both read the address; redis-py alone would take any database for number 0."""
    try:
        parse_url(url)
    except ValueError:
        return False
    parts = urlsplit(url)
    database = parts.path.removeprefix("/")
    numbered = not database or (database.isascii() and database.isdigit())
    options = {name.partition("_")[0] for name in parse_qs(parts.query)}  # Celery knows those of TLS only
    return _has_host(url) and numbered and not parts.fragment and options <= {"ssl"}


def load_settings(cls: type[SettingsT]) -> SettingsT:
    """Read and check a settings class; raises SettingsWrong with every problem at once, in plain words."""
    try:
        return cls()
    except ValidationError as error:
        details = error.errors(include_input=False)
        problems = [f"\n  {_variable(cls, detail)}: {in_words(detail)}." for detail in details]
        # The original error quotes its input, which may be a secret: it must not travel along.
        raise SettingsWrong(problems="".join(problems)) from None


def _variable(cls: type[BaseSettings], detail: ErrorDetails) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    prefix = cls.model_config.get("env_prefix") or ""
    return (name if name.lower().startswith(prefix.lower()) else prefix + name).upper()
