"""Which datasets there are, and which files a guild may read."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import Field

from training.data.read import read_conversations
from training.errors import EmptyDataset, PathNotAllowed, UnknownDataset
from training.places import SHIPPED, guild_folder
from training.schema import Conversation, Noun, Slug, Workspace

CATALOG = SHIPPED / "catalog" / "datasets.toml"


class Dataset(Noun):
    """A row of `catalog/datasets.toml`; `path` is relative to the folder that Understudy is installed in."""

    name: Slug
    path: Path
    license: str
    lang: str
    description: str = Field(max_length=100)


def datasets() -> dict[str, Dataset]:
    """The catalog's rows by name."""
    table = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
    return {name: Dataset(name=name, **row) for name, row in table.items()}


def dataset_names() -> tuple[str, ...]:
    """The names that anybody may choose from."""
    return tuple(sorted(datasets()))


def load_dataset(name_or_path: str, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """The conversations of a catalog row, or of a canonical JSONL file under the artifact root or the warehouse.

    Raises UnknownDataset, PathNotAllowed, UnreadableData or EmptyDataset.
    """
    rows = datasets()
    if name_or_path in rows:
        path = SHIPPED / rows[name_or_path].path
    else:
        path = readable_path(name_or_path, workspace, guild_id)
    conversations = read_conversations(path, name_or_path)
    if not conversations:
        raise EmptyDataset(name=name_or_path, count=0, needed=1)
    return conversations


def readable_path(given: str, workspace: Workspace, guild_id: str) -> Path:
    """The real path of a file that this guild may read; a relative one is looked for in the warehouse, then the root.

    Raises PathNotAllowed before it looks whether the file exists, so that no one can feel out the machine's folders,
    and UnknownDataset where it does not.
    """
    roots = (workspace.dataset_warehouse, workspace.artifact_root)
    if "\0" in given or not _looks_like_path(given):
        raise _unknown(given)
    found: Path | None = None
    for root in roots:
        # An absolute `given` replaces the root here.
        real = Path(os.path.realpath(root / given))
        if not _allowed(real, roots, workspace, guild_id):
            raise PathNotAllowed(path=given)
        if found is None and os.path.isfile(real):
            found = real
    if found is None:
        raise _unknown(given)
    return found


def _looks_like_path(given: str) -> bool:
    return "/" in given or "\\" in given or given.endswith(".jsonl")


def _unknown(given: str) -> UnknownDataset:
    return UnknownDataset(name=given.replace("\0", ""), choices=", ".join(dataset_names()))


def _allowed(real: Path, roots: tuple[Path, ...], workspace: Workspace, guild_id: str) -> bool:
    """Under one of the roots, and neither another guild's file nor a run's, whichever root it is reached through."""
    if _under(real, guild_folder(workspace, guild_id)):
        return True
    private = (workspace.artifact_root / "guilds", workspace.artifact_root / "runs")
    return any(_under(real, root) for root in roots) and not any(_under(real, folder) for folder in private)


def _under(real: Path, folder: Path) -> bool:
    """Whether the path lies in the folder: by name, or by identity where names mislead (case-blind disks, mounts)."""
    if real.is_relative_to(os.path.realpath(folder)):
        return True
    return any(_same(parent, folder) for parent in real.parents)


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
