"""`understudy data anonymise`: a file with nobody's particulars in it, or where they stand."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from training.errors import UnreadableData
from training.places import TERMINAL
from training.schema import Workspace
from training.terminal import print_rows, workspace_of

if TYPE_CHECKING:
    from training.data.anonymise.anonymiser import Anonymiser
    from training.schema import Conversation

KEY_FILE = "anonymise.key"
TEXT_FIELDS = ("text", "content")
GROUP_FIELDS = ("conversation_id", "conversation", "thread_id", "channel_id")
MAX_ROSTER_BYTES = 4 * 1024 * 1024

app = typer.Typer()


@dataclass
class Masked:
    """What was found in a file: messages, those with something to mask, and spans by label."""

    messages: int = 0
    touched: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def count(self, labels: Sequence[str]) -> None:
        """Note one message."""
        self.messages += 1
        self.touched += bool(labels)
        self.labels.update(labels)


@app.command("anonymise")
def anonymise(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, help="Text (a message a line), or conversations in any format.")],
    *,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Where to write; default: standard output.")] = None,
    spans: Annotated[
        bool, typer.Option("--spans", help='Write {"text","spans":[[start,end,label]]} a message, and mask nothing.')
    ] = False,
    names: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Who takes part: a name a line, or name,alias,alias."),
    ] = None,
    persona: Annotated[list[str] | None, typer.Option(help="Also a name that stays, as those of the cast do.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Key of the pseudonyms. Default: made on first use."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Replace names, addresses, numbers and secrets by pseudonyms that stay the same within a conversation."""
    workspace = workspace_of(ctx)
    anonymiser = _anonymiser(workspace, names, persona or (), key)
    masked = Masked()
    lines = _spans(file, anonymiser, masked) if spans else _masked(file, anonymiser, masked)
    if out is not None:
        with _whole(out) as target:
            target.writelines(lines)
    else:
        for line in lines:
            if not as_json:
                typer.echo(line, nl=False)
    _report(file, out, masked, as_json=as_json)


def _anonymiser(workspace: Workspace, names: Path | None, extra: Sequence[str], key: Path | None) -> Anonymiser:
    from training.data.anonymise.anonymiser import Anonymiser
    from training.data.anonymise.pseudonyms import read_key
    from training.persona.sheet import load_cast

    cast = load_cast(workspace, TERMINAL).values()
    stay = [name for persona in cast for name in (persona.name, *persona.aliases)]
    roster = _roster(names) if names else []
    return Anonymiser(read_key(key or workspace.artifact_root / KEY_FILE), roster, [*stay, *extra])


def _roster(path: Path) -> list[str]:
    if path.stat().st_size > MAX_ROSTER_BYTES:
        raise UnreadableData(name=path.name, reason=f"a roster has at most {MAX_ROSTER_BYTES:,} bytes")
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableData(name=path.name, reason=f"byte {error.start} is no UTF-8") from error


# --- reading and writing ---------------------------------------------------------------------------------------------


def _masked(file: Path, anonymiser: Anonymiser, masked: Masked) -> Iterator[str]:
    """The file as it was, masked: text as text, rows of text as rows, conversations as canonical rows."""

    def mask(text: str, conversation_id: str) -> str:
        masked.count([span.label for span in anonymiser.spans(text)])
        return anonymiser.text(text, conversation_id)

    if _plain(file):
        yield from (mask(line.removesuffix("\n"), file.name) + "\n" * line.endswith("\n") for line in _lines(file))
    elif name := _text_field(file):
        for row in _rows(file):
            text = row.get(name)
            yield _json(row | {name: mask(text, _group(row, file))} if isinstance(text, str) else row)
    else:
        for conversation in _conversations(file):
            for message in conversation.messages:
                masked.count([span.label for span in anonymiser.spans(message.content)])
            yield _json(anonymiser.conversation(conversation).model_dump(mode="json"))


def _spans(file: Path, anonymiser: Anonymiser, masked: Masked) -> Iterator[str]:
    for text in _messages(file):
        found = anonymiser.spans(text)
        masked.count([span.label for span in found])
        yield _json({"text": text, "spans": [[span.start, span.end, span.label] for span in found]})


def _messages(file: Path) -> Iterator[str]:
    """Every message, one after the other."""
    if _plain(file):
        yield from (line.removesuffix("\n") for line in _lines(file))
    elif name := _text_field(file):
        yield from (row[name] if isinstance(row.get(name), str) else "" for row in _rows(file))
    else:
        yield from (message.content for row in _conversations(file) for message in row.messages)


def _plain(file: Path) -> bool:
    return file.suffix.lower() in {".txt", ".log", ".md"}


def _lines(file: Path) -> Iterator[str]:
    """Lines as they stand, each with its line feed; nothing else ends a line."""
    try:
        with file.open(encoding="utf-8", newline="\n") as source:
            yield from source
    except UnicodeDecodeError as error:
        raise UnreadableData(name=file.name, reason=f"it holds bytes that are no UTF-8 ({error.reason})") from error


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    from training.data.files import read_rows

    return (row.value for row in read_rows(file, file.name))


def _text_field(file: Path) -> str | None:
    """The field of a row that is one message, where the rows are no conversations."""
    from training.data.formats import FAMILIES

    first = next(_rows(file), None)
    if first is None or any(family.matches(first) for family in FAMILIES):
        return None
    return next((name for name in TEXT_FIELDS if isinstance(first.get(name), str)), None)


def _group(row: dict[str, Any], file: Path) -> str:
    """The conversation that a message belongs to; without a word on that, the file is one."""
    return next((str(row[name]) for name in GROUP_FIELDS if isinstance(row.get(name), str | int)), file.name)


def _conversations(file: Path) -> Iterable[Conversation]:
    from training.data.canonical import Tally
    from training.data.formats import Reading, read_any

    return read_any(file, Reading(), Tally(), file.name)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


@contextmanager
def _whole(path: Path) -> Iterator[IO[str]]:
    """A file that gets its name only once it is complete."""
    from training.runs import sync

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _report(file: Path, out: Path | None, masked: Masked, *, as_json: bool) -> None:
    counts = {"messages": masked.messages, "touched": masked.touched, "labels": dict(masked.labels.most_common())}
    if as_json:
        typer.echo(json.dumps({"file": str(file), "out": str(out) if out else None, **counts}, ensure_ascii=False))
    elif out is not None:
        found = ", ".join(f"{count:,} {label}" for label, count in masked.labels.most_common()) or "nothing"
        rows = {"messages": f"{masked.messages:,}", "with something": f"{masked.touched:,}", "found": found}
        print_rows(f"{file.name} → {out}", rows)
