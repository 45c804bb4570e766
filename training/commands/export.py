"""`understudy export`: a finished run to take elsewhere, and onto the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.gguf import Outtype, find_converter
from training.terminal import hush, print_rows, workspace_of

if TYPE_CHECKING:
    from training.export import Exported


def export(
    ctx: typer.Context,
    given: Annotated[str, typer.Option("--run", help="The id of a finished run, or its folder.", metavar="ID|DIR")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    *,
    merge: Annotated[bool, typer.Option("--merge", help="The whole model, with the adapter merged in.")] = False,
    to_gguf: Annotated[bool, typer.Option("--gguf", help="Also as a GGUF file for llama.cpp; merges.")] = False,
    outtype: Annotated[Outtype, typer.Option(help=str(Outtype.__doc__))] = Outtype.Q8_0,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(envvar="LLAMA_CPP", file_okay=False, help="llama.cpp's folder. Default: its converter on PATH."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--publish", help="Push it to this repository on the hub.", metavar="OWNER/NAME")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who sees a repository that is made for it.")
    ] = True,
    accept_licences: Annotated[
        bool,
        typer.Option(
            "--accept-licences",
            "--accept-licence",
            "--accept-license",
            help="Publish what learnt from data for research or non-commercial use.",
        ),
    ] = False,
) -> None:
    """Take a finished run elsewhere: its adapter with all that peft needs, or the whole model."""
    # torch and transformers come along.
    from training import export as exporting
    from training import hub

    hush()
    workspace = workspace_of(ctx)
    run = exporting.find_run(given, workspace)
    exporting.require_empty(out)
    # All that can be refused is, before the model is loaded.
    if name:
        hub.require_publishable(run.report, run.found, merged=merge or to_gguf, accepted=accept_licences)
        token = hub.require_name(name, workspace.hf_token)
    how = exporting.ToGguf(find_converter(llama_cpp), outtype) if to_gguf else None
    made = exporting.export(run, out, workspace, whole=merge, to_gguf=how)
    rows = _told(made)
    if name:
        rows["published"] = hub.push(out, name, token=token, private=private)
    print_rows(f"{run.report.spec.job_name} is exported", rows)


def _told(made: Exported) -> dict[str, str]:
    rows = {"folder": str(made.folder)}
    if agreement := made.agreement:
        rows["merged"] = (
            f"into weights of {str(agreement.dtype).removeprefix('torch.')}; read back, its logits are off by "
            f"{agreement.merged:.2%} of their spread, where {agreement.limit:.2%} is the most"
        )
    if made.gguf:
        rows["GGUF file"] = made.gguf
    return rows
