"""What a person names on the command line: a file, a folder or a dataset; and how it is to be read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from training.data.canonical import Tally
from training.data.cleaning import Cleaning
from training.errors import FolderTaken, PermissionMissing, UnderstudyError
from training.places import TERMINAL
from training.schema import Conversation, Workspace
from training.terminal import hush

if TYPE_CHECKING:
    from training.data.derive import Origin
    from training.data.formats import Reading
    from training.data.tokens import TokenCounter

Given = Annotated[str, typer.Argument(help="A file, a folder, or a dataset's name.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to make.", file_okay=False)]
Force = Annotated[bool, typer.Option("--force", help="Replace the dataset that is in the folder already.")]
Split = Annotated[
    list[str] | None, typer.Option(help="Which split of a folder to read; may be given again. Default: train.")
]
DetectLanguage = Annotated[bool, typer.Option("--detect-language", help="Find out languages not stated.")]
NoCount = Annotated[bool, typer.Option("--no-count", help="Leave tokens uncounted, which is quicker.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BaseModel = Annotated[str | None, typer.Option(help="Whose tokens count. Default: the configured BASE_MODEL.")]
Oasst = Annotated[str, typer.Option(help="Of an OASST tree: its best path, or all threads.", metavar="best|all")]
KeepPruned = Annotated[bool, typer.Option("--keep-pruned", help="Also what OASST marks as deleted or rejected.")]
Permission = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help='For chat logs: Discord\'s permission, {"reference", "scope", "date"}. Default: the server\'s own.',
    ),
]
Consent = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="For chat logs: the ledger of who agreed. Default: the server's own."
    ),
]
PersonaAuthor = Annotated[
    list[str] | None,
    typer.Option(
        help="For chat logs: a name or id that the persona also speaks under; of two bots of one name, the id."
    ),
]
KeepNames = Annotated[bool, typer.Option("--keep-names", help="For chat logs: leave names and the like as they are.")]
Proxies = Annotated[
    list[str] | None, typer.Option(help="For chat logs: a Tupperbox export, or USER_ID=FILE of PluralKit.")
]


class OutIsSource(UnderstudyError):
    """The folder {folder} is, or holds, what is to be read. Choose another one with --out."""


class DatasetInTheWay(FolderTaken):
    """The folder {folder} holds a dataset already. Choose another one with --out, or replace that with --force."""


def require_out(out: Path, sources: Iterable[Path], force: bool) -> None:
    """Refuse a folder that may not be made or replaced. Raises FolderTaken or OutIsSource."""
    from training.data.folder import CARD, require_free

    require_free(out)
    if any(source.resolve().is_relative_to(out.resolve()) for source in sources):
        raise OutIsSource(folder=out)
    if not force and (out / CARD).is_file():
        raise DatasetInTheWay(folder=out)


def on_disk(given: str) -> Path | None:
    """The file or folder of that name, unless it is the name of a dataset of the catalog."""
    from training.data.catalog import datasets

    path = Path(given)
    return path if given not in datasets() and path.exists() else None


def opened(
    given: str, workspace: Workspace, tally: Tally | None = None, reading: Reading | None = None
) -> Iterator[Conversation]:
    """The conversations of what was named, one by one."""
    from training.data.formats import read_any

    path, reading = located(given, workspace, reading)
    return read_any(path, reading, Tally() if tally is None else tally, given)


def located(given: str, workspace: Workspace, reading: Reading | None = None) -> tuple[Path, Reading]:
    """Where that lies and how to read it; a person at the terminal may read whatever the machine lets."""
    from training.data.catalog import locate
    from training.data.formats import Reading

    if path := on_disk(given):
        return path, reading or Reading()
    return locate(given, workspace, TERMINAL, reading)


def origin_of(
    given: str, workspace: Workspace, splits: Iterable[str] | None = None
) -> tuple[Origin, Iterator[Conversation]]:
    """What was named as a source of something new, and its conversations, of which it takes note."""
    from training.data.derive import Origin
    from training.data.formats import Reading, read_any

    path, reading = located(given, workspace, Reading(splits=tuple(splits or ())))
    # Cards travel: where a file lies on this machine is nobody's business.
    origin = Origin(Path(given).name or given, path)
    return origin, origin.watch(read_any(path, reading, origin.tally, given))


def reading_of(oasst: str, keep_pruned: bool, **fields: Any) -> Reading:
    """How to read, as the options say."""
    from training.data.formats import Reading

    if oasst not in ("best", "all"):
        raise typer.BadParameter(f"--oasst is best or all, not {oasst}")
    return Reading(oasst="all" if oasst == "all" else "best", keep_pruned=keep_pruned, **fields)


def with_chat(reading: Reading, source: str, workspace: Workspace, **asked: Any) -> Reading:
    """The reading with what allows a chat log to be used: what its server recorded, or what the options name.

    What is no chat log is read as if nothing had been said of one. Raises PermissionMissing.
    """
    from training.commands.logs import chatlog_policy
    from training.data.consent import HOW_TO_RECORD

    path = on_disk(source)
    if not path or not _is_chat(path):
        return reading
    policy = chatlog_policy(path, workspace, **asked)
    if policy is None:
        raise PermissionMissing(name=source, how=HOW_TO_RECORD)
    return replace(reading, chatlog=policy)


def _is_chat(path: Path) -> bool:
    """Whether this is a chat export; what is wrong with a file, whoever reads it will tell."""
    from training.commands.logs import guild_of
    from training.data.files import read_rows
    from training.data.formats import family_of

    try:
        first = next(read_rows(path), None)
        return first is not None and family_of([first.value], path.name).id == "discord_chat_exporter"
    except UnderstudyError:
        return guild_of(path) is not None


def counter_of(base_model: str | None, workspace: Workspace) -> TokenCounter:
    """Counts tokens as the named base model does, or else as the configured one where that can be."""
    from training.data.counting import counter_of_model

    hush()
    return counter_of_model(base_model, workspace)


# --- options that several commands share -----------------------------------------------------------------------------


def takes_cleaning(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its parameter `cleaning`, the options that choose the steps."""
    asked = [_option(name, field) for name, field in Cleaning.model_fields.items()]
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "cleaning"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        chosen = {parameter.name: given.pop(parameter.name) for parameter in asked}
        command(cleaning=Cleaning(**{**chosen, "language": tuple(chosen["language"] or ())}), **given)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own + asked]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return run


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """One option: type, default, bounds and sentence are those of the field."""
    lowest: Any = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    highest: Any = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    flag = f"--{name.replace('_', '-')}"
    option: Any = typer.Option(flag, help=field.description, min=lowest, max=highest)
    several = name == "language"
    kind = list[str] | None if several else field.annotation
    default = None if several else field.default
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, option])
