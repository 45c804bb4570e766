"""Which datasets there are, where each is read from, and which files a guild may read."""

from __future__ import annotations

import heapq
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.data.canonical import Tally
from training.data.mix import rank
from training.data.rows import Dataset, datasets
from training.data.schema import DATASET_PATTERN, DatasetCard, DatasetOffer
from training.data.shards import is_data_file
from training.data.warehouse import find_in
from training.errors import DatasetUnavailable, EmptyDataset, PathNotAllowed, UnknownDataset, UnreadableData
from training.places import TERMINAL, guild_folder
from training.schema import Conversation, Workspace

if TYPE_CHECKING:
    from training.data.reading import Reading

__all__ = [
    "Dataset",
    "dataset_names",
    "dataset_row",
    "datasets",
    "load_dataset",
    "offers",
    "open_dataset",
    "readable_path",
]

MOST_LEARNT = 50_000
"""Conversations that one run takes from a dataset: all are held in memory, and more would take weeks to learn."""
MOST_LABEL = 200
"""Characters of the licences that an offer shows: offers of all servers travel again and again."""
SAMPLE_SEED = 3
HUB_SECONDS = 10
_log = logging.getLogger(__name__)


def dataset_names() -> tuple[str, ...]:
    """The names that anybody may choose from."""
    return tuple(sorted(datasets()))


def dataset_row(name: str, warehouse: Path | None = None) -> Dataset | None:
    """A catalog row, the operator's own included where a warehouse is given."""
    return datasets(warehouse).get(name)


# --- reading -------------------------------------------------------------------------------------------------------


def open_dataset(
    name_or_path: str,
    workspace: Workspace,
    guild_id: str,
    *,
    tally: Tally | None = None,
    reading: Reading | None = None,
) -> Iterator[Conversation]:
    """The conversations of a catalog row, of a guild's own dataset or of a path, one by one; `tally` counts along.

    A catalog row is looked for where it ships, in the warehouse, then on the hub. What it is and where it lies is
    found out at once: raises UnknownDataset, PathNotAllowed, DatasetUnavailable or BadCatalog; UnreadableData and
    UnknownFormat while it is read.
    """
    from training.data.folder import is_folder, read_card
    from training.data.formats import read_any

    path, reading = locate(name_or_path, workspace, guild_id, reading)
    if is_folder(path) and not read_card(path).conversations:
        return iter(())  # votes may have given judgements of single answers alone
    return read_any(path, reading, Tally() if tally is None else tally, name_or_path)


def locate(
    name_or_path: str, workspace: Workspace, guild_id: str, reading: Reading | None = None
) -> tuple[Path, Reading]:
    """Where that lies, fetched from the hub if it must be, and how to read it. Raises as `open_dataset` does."""
    from training.data.reading import Reading

    reading = reading or Reading()
    row = dataset_row(name_or_path, workspace.dataset_warehouse)
    if row is None:
        path = _own(name_or_path, workspace, guild_id) or readable_path(name_or_path, workspace, guild_id)
        return path, reading
    known = replace(
        reading,
        source=reading.source or row.name,
        license=reading.license or row.license,
        lang=reading.lang or ("" if row.lang == "mul" else row.lang),
        usual_splits=row.splits,
    )
    return _path_of(row, workspace) or _from_hub(row, workspace), known


def load_dataset(name_or_path: str, workspace: Workspace, guild_id: str) -> list[Conversation]:
    """The conversations that a run learns from: all of a dataset, or the same 50,000 each time of a larger one.

    Raises what `open_dataset` does, and EmptyDataset.
    """
    tally = Tally()
    conversations = _sample(open_dataset(name_or_path, workspace, guild_id, tally=tally), MOST_LEARNT)
    if not conversations:
        raise EmptyDataset(name=name_or_path, count=0, needed=1)
    if tally.conversations > len(conversations):
        _log.warning("%s: %d of its %d conversations are used", name_or_path, len(conversations), tally.conversations)
    return conversations


def _sample(conversations: Iterable[Conversation], most: int) -> list[Conversation]:
    """As many at most, in their order; which, depends on their ids alone, and no more are ever held."""
    kept: list[tuple[int, int, Conversation]] = []
    for number, row in enumerate(conversations):
        entry = (-int(rank(row, SAMPLE_SEED), 16), number, row)
        if len(kept) < most:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
    return [row for _, _, row in sorted(kept, key=lambda entry: entry[1])]


# --- what is offered -----------------------------------------------------------------------------------------------


def offers(workspace: Workspace, guild_id: str) -> dict[str, DatasetOffer]:
    """All that a guild may name: its own datasets and the catalog's, by name. Raises BadCatalog."""
    found = {card.name: _own_offer(card) for card in _own_cards(workspace, guild_id)}
    for name, row in datasets(workspace.dataset_warehouse).items():
        if offer := _offer(row, workspace):
            found[name] = offer
    return dict(sorted(found.items()))


def _offer(row: Dataset, workspace: Workspace) -> DatasetOffer | None:
    path = _path_of(row, workspace)
    if path is None and not row.repo:
        return None
    return DatasetOffer(
        name=row.name,
        where="hub" if path is None else "shipped" if path == row.path else "warehouse",
        license=row.license,
        lang=row.lang,
        description=row.description,
        restricted=row.restricted,
        rows=row.rows,
        good_for=row.good_for,
    )


def _own_offer(card: DatasetCard) -> DatasetOffer:
    from training.data.folder import LINEAGE
    from training.data.licences import is_restricted

    return DatasetOffer(
        name=card.name,
        where="guild",
        license=_shortened(", ".join(card.licenses)),
        lang=max(card.languages, key=lambda lang: card.languages[lang], default="und"),
        restricted=any(is_restricted(license) for license in card.licenses),
        conversations=card.conversations,
        persona=card.persona,
        from_chat=LINEAGE in card.files or card.permission is not None,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_LABEL else text[: MOST_LABEL - 1] + "…"


def _own_cards(workspace: Workspace, guild_id: str) -> Iterator[DatasetCard]:
    """The cards of the guild's datasets; one that cannot be read is left out, and logged."""
    from training.data.folder import read_card

    for path in sorted((guild_folder(workspace, guild_id) / "datasets").glob("*/dataset.json")):
        if not re.match(DATASET_PATTERN, path.parent.name):
            continue
        try:
            card = read_card(path.parent)
        except UnreadableData:
            _log.warning("the card of dataset %s of guild %s cannot be read", path.parent.name, guild_id)
            continue
        yield card.model_copy(update={"name": path.parent.name})


# --- where it lies -------------------------------------------------------------------------------------------------


def _path_of(row: Dataset, workspace: Workspace) -> Path | None:
    """Where the row's data lies on this machine, if it does: shipped, in the warehouse, or once fetched."""
    if row.path and row.path.exists():
        return row.path
    folders = (workspace.dataset_warehouse, _fetched(workspace))
    found = (find_in(folder, row.name, row.repos, row.also) for folder in folders)
    return next((path for path in found if path), None)


def _fetched(workspace: Workspace) -> Path:
    return workspace.cache_dir / "datasets"


def _from_hub(row: Dataset, workspace: Workspace) -> Path:
    """Fetch a row's data into the cache, which is then read like a warehouse; no code of a repository is run."""
    token = workspace.hf_token.get_secret_value() if workspace.hf_token else None
    failure: Exception | None = None
    for repo in row.repos:
        try:
            _fetch(repo, _fetched(workspace), token)
        except Exception as error:  # noqa: BLE001 - hub, network and each repository fail in ways of their own
            failure = error
        if path := _path_of(row, workspace):
            return path
    reason = str(failure).strip().split("\n")[0][:200] if failure else "it is not on the hub, and its file is missing"
    raise DatasetUnavailable(name=row.name, reason=reason) from failure


def _fetch(repo: str, folder: Path, token: str | None) -> None:
    import datasets as library
    from huggingface_hub import HfApi

    # Asked first and once: the library itself takes half a minute to find out that there is no network.
    HfApi(token=token).dataset_info(repo, timeout=HUB_SECONDS)
    library.load_dataset(repo, cache_dir=str(folder), token=token, streaming=False)


def _own(name: str, workspace: Workspace, guild_id: str) -> Path | None:
    """The folder of a dataset that the guild made."""
    if not re.match(DATASET_PATTERN, name):
        return None
    folder = guild_folder(workspace, guild_id) / "datasets" / name
    return folder if (folder / "dataset.json").is_file() else None


def readable_path(given: str, workspace: Workspace, guild_id: str) -> Path:
    """The real path of a file or folder that this guild may read; a relative one is looked for in the warehouse first.

    Whoever sits at the terminal may read what the machine lets them, under any name, from the working folder on.
    Raises PathNotAllowed before it looks whether the file exists, so that no one can feel out the machine's folders,
    and UnknownDataset where it does not; at the terminal UnreadableData.
    """
    roots = (workspace.dataset_warehouse, workspace.artifact_root)
    if guild_id == TERMINAL and "\0" not in given and os.path.exists(given):
        return Path(os.path.realpath(given))
    if "\0" in given or not _looks_like_path(given):
        raise _unknown(given, workspace, guild_id)
    found: Path | None = None
    for root in roots:
        # An absolute `given` replaces the root here.
        real = Path(os.path.realpath(root / given))
        if guild_id != TERMINAL and not _allowed(real, roots, workspace, guild_id):
            raise PathNotAllowed(path=given)
        if found is None and _is_data(real, roots, workspace):
            found = real
    if found is None and guild_id == TERMINAL:
        raise UnreadableData(name=given, reason="there is no such file or folder")
    if found is None:
        raise _unknown(given, workspace, guild_id)
    return found


def _looks_like_path(given: str) -> bool:
    return "/" in given or "\\" in given or is_data_file(given)


def _is_data(real: Path, roots: tuple[Path, ...], workspace: Workspace) -> bool:
    """Whether it is a file, or a folder in which no other guild's files lie; the roots themselves are no datasets."""
    if os.path.isfile(real):
        return True
    guarded = (*roots, *_private(workspace))
    return os.path.isdir(real) and not any(
        _same(real, folder) or _under(Path(os.path.realpath(folder)), real) for folder in guarded
    )


def _unknown(given: str, workspace: Workspace, guild_id: str) -> UnknownDataset:
    return UnknownDataset(name=given.replace("\0", ""), choices=", ".join(offers(workspace, guild_id)))


def _private(workspace: Workspace) -> tuple[Path, ...]:
    return (workspace.artifact_root / "guilds", workspace.artifact_root / "runs")


def _allowed(real: Path, roots: tuple[Path, ...], workspace: Workspace, guild_id: str) -> bool:
    """Under one of the roots, and neither another guild's file nor a run's, whichever root it is reached through."""
    if _under(real, guild_folder(workspace, guild_id)):
        return True
    private = any(_under(real, folder) for folder in _private(workspace))
    return any(_under(real, root) for root in roots) and not private


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
