"""`understudy evaluate | compare`: a check of a persona's voice in this process, and one version against another."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from training.commands.run import alone_in, stop_on_ctrl_c
from training.errors import FolderTaken, RunStopped, UncheckableRun, UnderstudyError, UnreadableData
from training.evaluation.schema import (
    Advice,
    BallotBox,
    CheckReport,
    CheckSpec,
    Comparison,
    Difference,
    DriftPoint,
    Suite,
)
from training.persona.sheet import find_persona, load_cast
from training.places import TERMINAL
from training.runs import RUN_LOCK, is_adapter, write_bytes
from training.schema import RUN_PATTERN, Report, ScoreLine, Workspace
from training.terminal import duration, hush, print_rows, progress_bar, visible, workspace_of

BASE = "base"
"""What the base model alone is called where an adapter could be named."""
ADVICE = {
    Advice.MORE_LINES: "Gather more lines of this persona and train again.",
    Advice.MORE_FACTS: "Let more dialogues tell of its facts, and look at the accept words in its sheet.",
    Advice.CLEAN_DATA: "Clean its training lines, then train again.",
    Advice.LOWER_LEARNING_RATE: "Train again at half the learning rate.",
    Advice.HIGHER_LEARNING_RATE: "Train again at twice the learning rate.",
    Advice.FEWER_EPOCHS: "Train again with fewer epochs.",
    Advice.MORE_EPOCHS: "Train again with more epochs.",
    Advice.MORE_SAMPLES: "Let people decide, or compare by more samples, 8 at most.",
    Advice.NOTHING: "Nothing needs doing; let people decide.",
}
SHOWN_SAMPLES = 3

Who = Annotated[str, typer.Option("--persona", help="Slug or name of the persona that is to speak.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report, or what went wrong, as one JSON object.")]


def evaluate(
    ctx: typer.Context,
    persona: Who,
    *,
    adapter: Annotated[
        str | None,
        typer.Option(help="The folder of a finished run or of a LoRA adapter.", metavar="DIR"),
    ] = None,
    run: Annotated[str | None, typer.Option(help="The id of a finished run, in place of its folder.")] = None,
    against: Annotated[
        str | None, typer.Option(help=f"The run, by id or folder, to compare with, or `{BASE}`.", metavar="ID|DIR")
    ] = None,
    suite: Annotated[Suite, typer.Option(help=str(Suite.__doc__))] = Suite.PERSONA,
    drift: Annotated[bool, typer.Option("--drift", help=CheckSpec.model_fields["drift"].description)] = False,
    judge: Annotated[bool, typer.Option("--judge", help=CheckSpec.model_fields["judge"].description)] = False,
    votes: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Closed votes as JSON, to measure the judge's agreement on."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=8, help=CheckSpec.model_fields["samples"].description)] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same replies.")] = 42,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, show_default=False, help="The folder to make. Default: one under ARTIFACT_ROOT."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check how well an adapter speaks as a persona, line by line; without an adapter, the base model alone.

    The folder then holds report.json, with every prompt, reply, seed and score, and two pictures.
    """
    if adapter is not None and run is not None:
        raise typer.BadParameter("--adapter and --run name the same thing; give one of them.")
    if suite is Suite.GENERAL and (drift or judge or against):
        raise typer.BadParameter("--drift, --judge and --against go with the persona's own questions only.")
    workspace = workspace_of(ctx)
    with _told_as(as_json):
        named = _Named(workspace)
        given = run if adapter is None else adapter
        asked = {"drift": drift, "judge": judge, "suite": suite, "samples": samples, "seed": seed}
        spec = named.spec(persona, given, against, **asked)
        box = _votes(votes) if votes else None
        folder = out or _new_folder(workspace)
        report = _checked(spec, named, folder, box)
        _draw(report, folder, named)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report, folder)


def compare(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A finished run, by id or folder.")],
    second: Annotated[str, typer.Argument(metavar="B", help=f"What it is compared with: another, or `{BASE}`.")],
    *,
    persona: Who,
    samples: Annotated[int, typer.Option(min=1, max=8, help=CheckSpec.model_fields["samples"].description)] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same replies.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Whether A is worse than B in facts and voice: PASS, INCONCLUSIVE or WORSE, over the same questions."""
    workspace = workspace_of(ctx)
    with _told_as(as_json):
        named = _Named(workspace)
        spec = named.spec(persona, first, second, samples=samples, seed=seed)
        found = _checked(spec, named, _new_folder(workspace)).comparison
        assert found is not None
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_rows("Compared", _compared(found))


# --- what was named --------------------------------------------------------------------------------------------------


@dataclass
class _Named:
    """The runs that a person named, and where they lie."""

    workspace: Workspace
    places: dict[str, Path] = field(default_factory=dict)

    def spec(self, persona: str, run: str | None, against: str | None, **asked: object) -> CheckSpec:
        """The check that is asked for. Raises UncheckableRun or UnknownPersona."""
        run_id, guild = (None, TERMINAL) if run is None else self._run(run)
        alone = against == BASE
        other_id, other_guild = (None, guild) if against is None or alone else self._run(against)
        if other_guild != guild:
            raise UncheckableRun(run=against, reason="it is of another server than the one that it is compared with")
        # Only the sheet is read: a mistyped name is answered before torch has loaded.
        slug = find_persona(self.workspace, guild, persona).slug
        return CheckSpec.model_validate(
            {"guild_id": guild, "persona": slug, "run_id": run_id, "against": other_id, **asked}
            | ({"against_version": 0} if alone else {})
        )

    def _run(self, given: str) -> tuple[str, str]:
        """(id, guild) of a run by its id or by its folder, or its adapter's folder. Raises UncheckableRun."""
        if not given.strip():
            raise UncheckableRun(run="without a name", reason="neither an id nor a folder was given")
        if given == BASE:
            raise UncheckableRun(run=given, reason="it is the base model, which stands second in a comparison")
        kept = self.workspace.artifact_root / "runs" / given
        folder = kept if Path(given).name == given and kept.is_dir() else Path(given)
        folder = folder.resolve()
        own = _report(folder.parent) if folder.name == "adapter" else None
        folder = folder.parent if own else folder
        report = own or _report(folder)
        if report is None and not is_adapter(folder):
            raise UncheckableRun(run=given, reason="neither a finished run nor an adapter lies there")
        known = report and re.fullmatch(RUN_PATTERN, report.job_id)
        run_id = report.job_id if report and known else hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        self.places[run_id] = folder
        return run_id, report.spec.guild_id if report else TERMINAL


def _report(folder: Path) -> Report | None:
    """That of the finished run in a folder; None where there is none."""
    try:
        return Report.model_validate_json((folder / "report.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def _votes(path: Path) -> BallotBox:
    try:
        return BallotBox.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UnreadableData(name=path.name, reason="it holds no closed votes") from error


def _new_folder(workspace: Workspace) -> Path:
    return workspace.artifact_root / "checks" / secrets.token_hex(6)


# --- doing it --------------------------------------------------------------------------------------------------------


@contextmanager
def _told_as(as_json: bool) -> Iterator[None]:
    """What goes wrong inside, as JSON if that was asked for."""
    try:
        yield
    except RunStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(130) from None
    except UnderstudyError as error:
        if not as_json:
            raise
        typer.echo(error.problem.model_dump_json())
        raise typer.Exit(2) from None


def _checked(spec: CheckSpec, named: _Named, folder: Path, votes: BallotBox | None = None) -> CheckReport:
    """The check in a folder, made now unless it is there. Raises FolderTaken where something else is."""
    # torch and transformers come along.
    from training.evaluation.check import check

    _require(folder, spec)
    hush()
    with alone_in(folder), stop_on_ctrl_c() as stop:
        typer.echo(f"Check in {folder}", err=True)
        with progress_bar() as show:
            return check(
                spec,
                job_id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12],
                workspace=named.workspace,
                run_dir=folder,
                on_progress=show,
                should_stop=stop.is_set,
                places=named.places,
                votes=votes,
            )


def _require(folder: Path, spec: CheckSpec) -> None:
    done = folder / "report.json"
    if not done.is_file():
        # What an attempt left that was stopped is no reason to leave the folder alone.
        known = (".", RUN_LOCK, "judge.jsonl")
        if folder.exists() and any(not found.name.startswith(known) for found in folder.iterdir()):
            raise FolderTaken(folder=folder)
        return
    try:
        same = CheckReport.model_validate_json(done.read_bytes()).spec == spec
    except ValidationError:
        same = False
    if not same:
        raise FolderTaken(folder=folder)


def _draw(report: CheckReport, folder: Path, named: _Named) -> None:
    """The heat maps, and the radar over that of what it was compared with."""
    from training.pictures import matrices, radar

    names = {who.slug: who.name for who in load_cast(named.workspace, report.spec.guild_id).values()}
    if report.gains.rows or report.sounds_like.rows:
        write_bytes(folder / "matrices.png", matrices(report.sounds_like, report.gains, names))
    before = report.before.lines if report.before else ()
    write_bytes(folder / "radar.png", radar(report.lines, before))


# --- telling of it ---------------------------------------------------------------------------------------------------


def _print(report: CheckReport, folder: Path) -> None:
    """The verdict first, then a row a line, then what to do."""
    rows = {"verdict": report.verdict.value.replace("_", " ")}
    rows |= {line.id.replace("_", " "): _line(line) for line in report.lines}
    rows |= {f"after {point.rounds} round{'s' * (point.rounds > 1)}": _drifted(point) for point in report.drift}
    if report.judge:
        scores = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in report.judge.scores.items())
        agreed = "" if report.judge.agreement is None else f"; agrees with {report.judge.agreement:.0%} of votes"
        rows["judge, advisory"] = f"{report.judge.model} of {report.judge.replies} replies: {scores or 'none'}{agreed}"
    rows |= {name.replace("_", " "): f"{value:.4g}" for name, value in report.figures.items()}
    rows["weakest"] = report.weakest.replace("_", " ") if report.weakest else "none"
    rows["next"] = ADVICE[report.advice]
    rows |= {"time": duration(report.seconds), "report": str(folder / "report.json")}
    print_rows(f"{report.adapter} on {report.base_model}{' (rehearsal)' if report.rehearsal else ''}", rows)
    for sample in report.samples[:SHOWN_SAMPLES]:
        told = [("base", sample.base), ("before", sample.before), ("adapter", sample.adapter)]
        answers = "".join(f"\n  {name + ':':<9}{text}" for name, text in told if text is not None)
        typer.echo(visible(f"\n> {sample.question}{answers}"))


def _line(line: ScoreLine) -> str:
    return f"{line.verdict.value.replace('_', ' ')}{_figures(line)}. {line.explanation}"


def _figures(line: ScoreLine) -> str:
    """A line's value with its interval, and what human lines reach."""
    if line.value is None:
        return ""
    span = "" if line.low is None or line.high is None else f" [{line.low:.2f}, {line.high:.2f}]"
    reached = "" if line.reference is None else f", gold {line.reference:.2f}"
    return f" {line.value:.2f}{span}{reached}"


def _drifted(point: DriftPoint) -> str:
    return ", ".join(f"{line.id}{_figures(line)} {line.verdict.value.replace('_', ' ')}" for line in point.lines)


def _compared(found: Comparison) -> dict[str, str]:
    rows = {"verdict": found.gate.value.upper(), "of": found.of, "against": found.against}
    return rows | {one.id: _difference(one) for one in found.differences}


def _difference(one: Difference) -> str:
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}] over {one.questions} questions"
