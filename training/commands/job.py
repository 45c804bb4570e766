"""The options that a training job is asked for with: one for each of its nouns and knobs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Ge, Le
from pydantic import ValidationError

from training.commands.given import on_disk
from training.persona.facts import slug_of
from training.places import TERMINAL
from training.schema import Hyperparameters, Preset, TaskType, TrainSpec


def _spec(
    *,
    persona: Annotated[
        str | None, typer.Option(help="Slug or name of the persona, as `understudy persona list` shows it.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--data", "--dataset", help=TrainSpec.model_fields["dataset"].description)
    ] = None,
    task_type: Annotated[
        TaskType | None,
        typer.Option(help=f"{TaskType.__doc__} Default: persona if one is named, else dialogue.", show_default=False),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option("--base", "--base-model", help="Default: the configured BASE_MODEL.")
    ] = None,
    start_from: Annotated[str | None, typer.Option(help=TrainSpec.model_fields["start_from"].description)] = None,
    preset: Annotated[
        Preset, typer.Option(help=f"{Preset.__doc__} Options that are given besides count.")
    ] = Preset.BALANCED,
    job_name: Annotated[str | None, typer.Option(help="Default: the persona's or the dataset's name.")] = None,
    **knobs: Any,
) -> TrainSpec:
    """The job that these options ask for; what is wrong with them is said in one line."""
    # Whole, since a run may be taken up again from another folder.
    if dataset and (path := on_disk(dataset)):
        dataset = str(path.absolute())
    persona = slug_of(persona) if persona else None
    name = job_name or persona or Path(dataset or "run").stem
    try:
        return TrainSpec(
            job_name=name,
            guild_id=TERMINAL,
            task_type=task_type or (TaskType.PERSONA if persona or not dataset else TaskType.DIALOGUE),
            persona=persona,
            dataset=dataset,
            base_model=base_model,
            start_from=start_from,
            hyperparameters=Hyperparameters.of(preset, **knobs),
        )
    except ValidationError as error:
        raise typer.BadParameter("; ".join(_fault(fault) for fault in error.errors())) from error


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _knob_parameters() -> list[inspect.Parameter]:
    """One option for each knob: type, default, bounds and sentence are those of Hyperparameters."""
    parameters = []
    for name, field in Hyperparameters.model_fields.items():
        lowest: Any = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
        highest: Any = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
        shown: bool | str = field.default is not None
        if name in ("learning_rate", "batch_size"):
            shown = "what catalog/models.toml recommends"
        option = typer.Option(help=field.description, min=lowest, max=highest, show_default=shown)
        annotation = Annotated[field.annotation, option]  # type: ignore[name-defined]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=field.default, annotation=annotation))
    return parameters


@dataclass(frozen=True)
class Asked:
    """The options of a job that a person named."""

    options: dict[str, Any]

    def spec(self) -> TrainSpec:
        """The job that they ask for; what is wrong with them is said in one line."""
        return _spec(**self.options)

    def like(self, other: TrainSpec) -> Asked:
        """The same, with all that was not named as another job has it; the knobs too, unless a preset was named."""
        knobs = {} if "preset" in self.options else dict(other.hyperparameters)
        nouns = {name: value for name, value in other if name not in ("guild_id", "hyperparameters")}
        return Asked(nouns | knobs | self.options)


def takes_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its parameter `asked`, the options that make up a job."""
    options = list(inspect.signature(_spec, eval_str=True).parameters.values())[:-1] + _knob_parameters()
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "asked"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        said = {parameter.name: given.pop(parameter.name) for parameter in options}
        command(asked=Asked({name: value for name, value in said.items() if _was_given(given["ctx"], name)}), **given)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own + options]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return run


def _was_given(ctx: typer.Context, name: str) -> bool:
    """Whether a person named this option; what they left out, a preset or a default decides."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
