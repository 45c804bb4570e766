"""What a person names on the command line: a file, a folder or a dataset; and how it is to be read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from training.data.canonical import Tally
from training.data.cleaning import Cleaning
from training.places import TERMINAL
from training.schema import Conversation, Workspace
from training.terminal import hush

if TYPE_CHECKING:
    from training.data.formats import Reading
    from training.data.tokens import TokenCounter

Given = Annotated[str, typer.Argument(help="A file, a folder, or a dataset's name.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to make.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
BaseModel = Annotated[str | None, typer.Option(help="Whose tokens count. Default: the configured BASE_MODEL.")]
Oasst = Annotated[str, typer.Option(help="Of an OASST tree: its best path, or all threads.", metavar="best|all")]
KeepPruned = Annotated[bool, typer.Option("--keep-pruned", help="Also what OASST marks as deleted or rejected.")]
Permission = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="For chat logs: a file with Discord's permission. Default: the server's own."
    ),
]
Consent = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="For chat logs: the ledger of who agreed. Default: the server's own."
    ),
]
PersonaAuthor = Annotated[
    list[str] | None, typer.Option(help="For chat logs: a name or id that the persona also speaks under.")
]
KeepNames = Annotated[bool, typer.Option("--keep-names", help="For chat logs: leave names and the like as they are.")]
Proxies = Annotated[
    list[str] | None, typer.Option(help="For chat logs: a Tupperbox export, or USER_ID=FILE of PluralKit.")
]


def on_disk(given: str) -> Path | None:
    """The file or folder of that name, unless it is the name of a dataset of the catalog."""
    from training.data.catalog import datasets

    path = Path(given)
    return path if given not in datasets() and path.exists() else None


def opened(
    given: str, workspace: Workspace, tally: Tally | None = None, reading: Reading | None = None
) -> Iterator[Conversation]:
    """The conversations of what was named, one by one; a person at the terminal may read whatever the machine lets."""
    if path := on_disk(given):
        from training.data.formats import Reading, read_any

        return read_any(path, reading or Reading(), Tally() if tally is None else tally, given)
    from training.data.catalog import open_dataset

    return open_dataset(given, workspace, TERMINAL, tally=tally, reading=reading)


def reading_of(oasst: str, keep_pruned: bool, **fields: Any) -> Reading:
    """How to read, as the options say."""
    from training.data.formats import Reading

    if oasst not in ("best", "all"):
        raise typer.BadParameter(f"--oasst is best or all, not {oasst}")
    return Reading(oasst="all" if oasst == "all" else "best", keep_pruned=keep_pruned, **fields)


def with_chat(reading: Reading, source: str, workspace: Workspace, **asked: Any) -> Reading:
    """The reading with what allows a chat log to be used: what its server recorded, or what the options name."""
    from training.commands.logs import chatlog_policy

    path = on_disk(source)
    policy = chatlog_policy(path, workspace, **asked) if path else None
    return replace(reading, chatlog=policy) if policy else reading


def counter_of(base_model: str | None, workspace: Workspace) -> TokenCounter:
    """Counts tokens as the base model does."""
    from training import models
    from training.data.tokens import counter_for

    hush()
    base = models.choose(base_model, workspace)
    return counter_for(models.load_format(base, workspace), base.id)


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
