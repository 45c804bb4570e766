"""The catalog's rows: those that ship with Understudy, and an operator's own."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from training.data.schema import DatasetName
from training.errors import BadCatalog
from training.places import SHIPPED
from training.schema import Noun

CATALOG = SHIPPED / "catalog" / "datasets.toml"
OPERATORS = "datasets.toml"
MAX_CATALOG_BYTES = 2**20

Repo = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00]{1,255}$")]
Line = Annotated[str, StringConstraints(max_length=100)]


class Dataset(Noun):
    """A row of `catalog/datasets.toml`, or of the operator's own list."""

    name: DatasetName
    path: Path | None = Field(None, description="Relative to the checkout; in the operator's list, to the warehouse.")
    repo: Repo | None = Field(None, description="Where the hub has it.")
    moved: Repo | None = Field(None, description="The name that it went by before or after on the hub.")
    also: tuple[FileName, ...] = Field((), description="Names in a warehouse that do not follow from the others.")
    splits: tuple[str, ...] = Field((), description="What is learnt from; none: the split called train.")
    family: Literal[
        "",
        "canonical",
        "oasst_tree",
        "oasst_messages",
        "ultrachat",
        "messages",
        "sharegpt",
        "alpaca",
        "firefly",
        "prompt_completion",
    ] = Field("", description="What its rows look like, for people; the contents decide.")
    license: str = Field(max_length=100)
    restricted: bool = Field(False, description="Non-commercial, research only, or without a stated licence.")
    lang: str = Field(description='As in its conversations; "mul" for many.', max_length=20)
    rows: int | None = Field(None, ge=0, description="As published.")
    rating: int | None = Field(None, ge=1, le=5)
    good_for: Line = ""
    not_for: Line = ""
    description: Line

    @model_validator(mode="after")
    def _lies_somewhere(self) -> Self:
        if self.moved and not self.repo:
            raise ValueError("moved is given, but no repo")
        return self

    @property
    def repos(self) -> tuple[str, ...]:
        """Its names on the hub, the one to ask for first."""
        return tuple(repo for repo in (self.repo, self.moved) if repo)


def datasets(warehouse: Path | None = None) -> dict[str, Dataset]:
    """The catalog's rows by name, with the operator's where a warehouse is given; those win. Raises BadCatalog."""
    rows = dict(_rows_of(CATALOG, SHIPPED))
    if warehouse is not None:
        rows.update(_rows_of(warehouse / OPERATORS, warehouse))
    return rows


def _rows_of(path: Path, home: Path) -> dict[str, Dataset]:
    try:
        state = path.stat()
    except OSError:
        return {}
    if state.st_size > MAX_CATALOG_BYTES:
        raise BadCatalog(name=path.name, reason=f"it is larger than {MAX_CATALOG_BYTES >> 20} MiB")
    return _parsed(path, home, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _parsed(path: Path, home: Path, _changed: int) -> dict[str, Dataset]:
    """Read once for each time that the file was changed: every server's offers are made anew every few seconds."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadCatalog(name=path.name, reason=str(error)) from error
    return {name: _row(name, value, path, home) for name, value in table.items()}


def _row(name: str, value: Any, path: Path, home: Path) -> Dataset:
    if not isinstance(value, dict):
        raise BadCatalog(name=path.name, reason=f"{name} is no table; a dataset begins with [{name}]")
    try:
        row = Dataset.model_validate({**value, "name": name})
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        field = f", field {where}" if where else ""
        raise BadCatalog(name=path.name, reason=f"row {name}{field}: {fault['msg']}") from error
    return row.model_copy(update={"path": home / row.path}) if row.path else row
