"""What the terminal shows of training: a bar while it runs, and tables."""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from training.data.schema import DatasetCard, Inspection
from training.schema import Conversation, Plan, Progress, Report, TrainSpec, Workspace
from training.warned import WARNINGS

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

SHOWN_EVERY = 100
# All but the tab and the end of a line; and what turns the direction of writing, which could show a text as another.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr, and what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    figures = TextColumn("{task.fields[figures]}")
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), figures)
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("starting", total=None, figures="")
        yield functools.partial(_move, bars, task)


def _move(bars: Bars, task: Any, progress: Progress) -> None:
    losses = {"loss": progress.train_loss, "held out": progress.eval_loss}
    figures = " · ".join(f"{name} {loss:.2f}" for name, loss in losses.items() if loss is not None)
    bars.update(task, description=progress.phase.value)
    # Phases that count nothing leave the bar where the last one brought it.
    if progress.total_steps:
        bars.update(task, completed=progress.step, total=progress.total_steps, figures=figures)


def hush() -> None:
    """Keep the libraries' own bars and deprecation notices out of a person's terminal."""
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()
    # It misses a kernel for processors that is code from a hub, and works without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


def print_plan(spec: TrainSpec, found: Plan) -> None:
    """What a run would take."""
    (least, most), epochs = found.seconds, spec.hyperparameters.epochs
    rows = {
        "base model": found.base_model + (" (rehearsal)" if found.rehearsal else ""),
        "device": found.device,
        "examples": f"{found.examples}, and {found.held_out} held out",
        "tokens": f"{found.tokens:,}",
        "steps": f"{found.steps:,} in {epochs} epoch{'s' if epochs > 1 else ''}",
        "time": f"{duration(least)} to {duration(most)}",
        "memory": f"{found.peak_gib:.1f} of {found.free_gib:.1f} GiB free: {'fits' if found.fits else 'does not fit'}",
        "disk": f"{found.disk_gib:.2f} GiB",
        "means": _means(found),
        "instead": "; ".join(f"{a.change} {a.value} ({a.peak_gib:.1f} GiB)" for a in found.alternatives) or "–",
        "mind": "\n".join(WARNINGS[warning] for warning in found.warnings) or "–",
    }
    print_rows(f"Plan of {spec.job_name}", rows)


def _means(found: Plan) -> str:
    parts = [f"{found.micro_batch_tokens:,} tokens in a pass"]
    parts += ["weights in 4 bits"] if found.quantised else []
    parts += [f"weights spread over {found.spread_over} cards"] if found.spread_over > 1 else []
    parts += ["layers computed again in the backward pass"] if found.gradient_checkpointing else []
    return ", ".join([*parts, *(["tokens estimated"] if found.estimated else [])])


def print_report(report: Report, run_dir: Path) -> None:
    """What a run found, and a few of its answers."""
    rows = {
        "base model": report.base_model + (" (rehearsal)" if report.rehearsal else ""),
        "held-out loss": f"{report.eval_loss_before:.2f} → {report.eval_loss_after:.2f}",
        "perplexity": f"{report.perplexity_before:.4g} → {report.perplexity_after:.4g}",
        "best step": f"{report.best_step} of {report.steps}",
        "time": duration(report.seconds),
        "verdict": report.verdict.value.replace("_", " "),
    }
    for line in report.lines:
        rows[line.id.replace("_", " ")] = f"{line.verdict.value.replace('_', ' ')}. {line.explanation}"
    rows["adapter"] = str(run_dir / "adapter")
    print_rows(f"{report.spec.job_name} is done", rows)
    for sample in report.samples[:3]:
        typer.echo(visible(f"\n> {sample.question}\n  base:    {sample.base}\n  adapter: {sample.adapter}"))


def print_conversations(title: str, conversations: Sequence[Conversation]) -> None:
    """Size, digest and first conversation."""
    from training.data.mix import digest

    turns = [message for row in conversations for message in row.messages if message.role == "assistant"]
    rows = {
        "conversations": f"{len(conversations):,}",
        "answers": f"{len(turns):,}, of {sum(len(t.content.split()) for t in turns) / len(turns):.0f} words on average",
        "licences": ", ".join(sorted({row.license or "none given" for row in conversations})),
        "languages": ", ".join(sorted({row.lang for row in conversations})),
        "digest": digest(conversations),
    }
    first = conversations[0].messages
    rows |= {f"first, {message.role}": message.content for message in first}
    print_rows(title, rows)


def print_inspection(title: str, found: Inspection, as_json: bool) -> None:
    """What became of the rows of a file, as a table or as one JSON object."""
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    rows = {
        "format": found.format,
        "rows": f"{found.rows:,}, of which {found.used:,} are used",
        "conversations": f"{found.conversations:,} with {found.turns:,} turns",
        "languages": ", ".join(f"{lang} {count:,}" for lang, count in found.languages.items()) or "–",
    }
    if found.splits:
        rows["splits"] = _splits(found.splits)
    rows |= {f"dropped: {reason}": f"{count:,}" for reason, count in found.dropped.items()}
    rows |= {f"left out of rows: {reason}": f"{count:,}" for reason, count in found.lost.items()}
    rows |= {f"row {problem.row}": problem.why for problem in found.problems}
    print_rows(title, rows)


def print_card(card: DatasetCard, folder: Path) -> None:
    """What a new dataset folder holds, and what each step removed."""
    rows = {
        "conversations": f"{card.conversations:,} with {card.turns:,} turns",
        "languages": ", ".join(f"{lang} {count:,}" for lang, count in card.languages.items()) or "none",
        "licences": ", ".join(card.licenses) or "none",
    }
    for step in card.steps:
        removed = ", ".join(f"{reason} {count:,}" for reason, count in step.removed.items())
        rows[step.name] = f"{step.before:,} → {step.after:,}" + (f" ({removed})" if removed else "")
    if card.tokens:
        rows["tokens"] = f"{card.tokens.total:,} of {card.tokens.tokenizer}, at most {card.tokens.longest:,} in one"
    rows |= {f"note {number}": note for number, note in enumerate(card.notes, start=1)}
    rows |= {"version": card.version, "folder": str(folder)}
    print_rows(card.name, rows)


def print_counts(title: str, found: Mapping[str, Any]) -> None:
    """Named counts, those of one kind in one line."""
    rows = {}
    for name, value in found.items():
        if isinstance(value, int):
            rows[name] = f"{value:,}"
        elif name == "tokens" and value:
            rows[name] = f"{value['total']:,} of {value['tokenizer']}, at most {value['longest']:,} in one"
            rows |= {f"{bucket} tokens": f"{count:,}" for bucket, count in value["buckets"].items()}
        elif name == "splits" and value:
            rows[name] = _splits(value)
        elif isinstance(value, dict):
            rows[name] = ", ".join(f"{key} {count:,}" for key, count in value.items())
        elif value:
            rows[name] = str(value)
    print_rows(title, rows)


def _splits(splits: Mapping[str, bool]) -> str:
    return ", ".join(split if read else f"{split} (not read)" for split, read in splits.items())


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A count on stderr that moves as it is told, where a person looks on."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)

        def show(number: int) -> None:
            # The bar draws ten times a second; telling it of each row would cost more than the row.
            if number % SHOWN_EVERY == 0:
                bars.update(task, completed=number)

        yield show


def print_rows(title: str, rows: dict[str, str]) -> None:
    """A table of names and values."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = escape(visible(title))
    table = Table(title=shown, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(escape(visible(name)), escape(visible(value)), style=None)
    Console(highlight=False, soft_wrap=False).print(table)


def visible(text: str) -> str:
    """The text with its control characters written out, so that none of them reaches the terminal as such."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def duration(seconds: float) -> str:
    """A stretch of time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def workspace_of(ctx: typer.Context) -> Workspace:
    """Where the command may read and write, as the root's `cli.py` made it out."""
    made: Workspace = ctx.obj()
    return made
