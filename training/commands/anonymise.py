"""`understudy data anonymise`: a file with nobody's particulars in it, or where they stand."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
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
    from training.data.anonymise.spans import Span
    from training.data.exportmask import ExportMask
    from training.data.files import Row

KEY_FILE = "anonymise.key"
EXPORT = "discord_chat_exporter"
NO_TEXT = "no text"
MAX_ROSTER_BYTES = 4 * 1024 * 1024
STAYS = (
    "Left as they are: the names of the cast and of people and characters everybody knows, and addresses that only a "
    "private network knows (192.168.x.x, 10.x.x.x, fe80::)."
)

app = typer.Typer()


@dataclass
class Masked:
    """What was found in a file: rows, those left out by reason, messages, those with something to mask, and spans."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    touched: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def count(self, labels: Sequence[str]) -> None:
        """Note one message."""
        self.messages += 1
        self.touched += bool(labels)
        self.labels.update(labels)

    def text(self, text: str, anonymiser: Anonymiser, conversation_id: str) -> str:
        """Mask one message, and note it."""
        self.count([span.label for span in anonymiser.spans(text)])
        return anonymiser.text(text, conversation_id)


@app.command("anonymise", epilog=STAYS)
def anonymise(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(exists=True, help="Text (a message a line), data in any format, or a chat export.")
    ],
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
    maker = Maker(workspace, names, persona or (), key)
    masked = Masked()
    lines = _spans(file, maker, masked) if spans else _masked(file, maker, masked)
    if out is not None:
        with _whole(out) as target:
            target.writelines(lines)
    else:
        for line in lines:
            if not as_json:
                typer.echo(line, nl=False)
    _report(file, out, masked, as_json=as_json)


class Maker:
    """Makes the anonymisers of one file: one for all of it, and for an export of a chat one that knows its members."""

    def __init__(self, workspace: Workspace, names: Path | None, extra: Sequence[str], key: Path | None) -> None:
        from training.data.anonymise.pseudonyms import read_key
        from training.persona.sheet import load_cast

        cast = load_cast(workspace, TERMINAL).values()
        self._stay = [*(name for persona in cast for name in (persona.name, *persona.aliases)), *extra]
        self._roster = _roster(names) if names else []
        self._key = read_key(key or workspace.artifact_root / KEY_FILE)

    @functools.cached_property
    def alone(self) -> Anonymiser:
        """For everything but exports."""
        return self._make([], [])

    def export(self, row: dict[str, Any]) -> ExportMask | None:
        """For a row that is an export of a chat; None for any other."""
        from training.data.exportmask import ExportMask
        from training.data.formats import FAMILIES

        family = next((family.id for family in FAMILIES if family.matches(row)), "") if "guild" in row else ""
        return ExportMask(row, self._make, self._key) if family == EXPORT else None

    def _make(self, roster: Sequence[str], characters: Sequence[str]) -> Anonymiser:
        from training.data.anonymise.anonymiser import Anonymiser

        return Anonymiser(self._key, [*self._roster, *roster], [*self._stay, *characters])


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


def _masked(file: Path, maker: Maker, masked: Masked) -> Iterator[str]:
    """The file as it was, masked: text as text, a JSON array as one, all other rows as lines of JSON."""
    anonymiser = maker.alone
    if _plain(file):
        for line, ending in _lines(file):
            yield masked.text(line, anonymiser, file.name) + ending
        return
    array = _is_array(file)
    before = "[\n" if array else ""
    for row in _rows(file, masked):
        yield before + _json(_masked_row(row, file, maker, masked)).rstrip("\n" * array)
        before = ",\n" if array else ""
    if array:
        yield "\n]\n" if masked.rows > masked.dropped.total() else "[]\n"


def _masked_row(row: Row, file: Path, maker: Maker, masked: Masked) -> Any:
    from training.data.inplace import conversation_of, replaced

    if export := maker.export(row.value):
        for content in export.contents():
            masked.count([span.label for span in export.spans(content)])
        return export.masked()
    anonymiser = maker.alone
    conversation = conversation_of(row.value, row.number, file.name)
    return replaced(row.value, lambda text: masked.text(text, anonymiser, conversation))


def _spans(file: Path, maker: Maker, masked: Masked) -> Iterator[str]:
    for text, found in _messages(file, maker, masked):
        masked.count([span.label for span in found])
        yield _json({"text": text, "spans": [[span.start, span.end, span.label] for span in found]})


def _messages(file: Path, maker: Maker, masked: Masked) -> Iterator[tuple[str, list[Span]]]:
    """Every message of every row, one after the other, with what is personal in it."""
    from training.data.inplace import texts

    if _plain(file):
        yield from ((line, maker.alone.spans(line)) for line, _ in _lines(file))
        return
    for row in _rows(file, masked):
        export = maker.export(row.value)
        spans = export.spans if export else maker.alone.spans
        yield from ((text, spans(text)) for text in (export.contents() if export else texts(row.value)))


def _plain(file: Path) -> bool:
    return file.suffix.lower() in {".txt", ".log", ".md"}


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Lines as they stand, each with what ends it: a line feed, or a carriage return with one."""
    try:
        with file.open(encoding="utf-8", newline="\n") as source:
            for line in source:
                text = line.removesuffix("\n").removesuffix("\r")
                yield text, line[len(text) :]
    except UnicodeDecodeError as error:
        raise UnreadableData(name=file.name, reason=f"it holds bytes that are no UTF-8 ({error.reason})") from error


def _rows(file: Path, masked: Masked) -> Iterator[Row]:
    """Every row that has texts; one that has none is counted, and raises UnknownFormat where it is the first."""
    from training.data.files import read_rows
    from training.data.formats import family_of
    from training.data.inplace import holds_text

    for row in read_rows(file, file.name):
        masked.rows += 1
        if holds_text(row.value):
            yield row
            continue
        if masked.rows == 1:
            family_of([row.value], file.name)
        masked.dropped[NO_TEXT] += 1


def _is_array(file: Path) -> bool:
    from training.data.packed import open_plain

    if file.is_dir():
        return False
    with open_plain(file, file.name) as source:
        return source.peek(1).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _json(value: Any) -> str:
    import orjson

    return orjson.dumps(value, default=str, option=orjson.OPT_APPEND_NEWLINE).decode()


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
    rows = {"rows": masked.rows, "dropped": dict(masked.dropped)} if masked.rows else {}
    counts = {
        **rows,
        "messages": masked.messages,
        "touched": masked.touched,
        "labels": dict(masked.labels.most_common()),
    }
    if as_json:
        typer.echo(json.dumps({"file": str(file), "out": str(out) if out else None, **counts}, ensure_ascii=False))
    elif out is not None:
        found = ", ".join(f"{count:,} {label}" for label, count in masked.labels.most_common()) or "nothing"
        shown = {"messages": f"{masked.messages:,}", "with something": f"{masked.touched:,}", "found": found}
        if masked.dropped:
            shown["left out"] = ", ".join(f"{count:,} {reason}" for reason, count in masked.dropped.items())
        print_rows(f"{file.name} → {out}", shown)
