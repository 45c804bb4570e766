"""The adapter that a run begins with, where it is to learn on from an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from training.errors import AdapterDiffers, AdapterMissing, AdapterUnreadable
from training.schema import PRESETS, Hyperparameters, Report, TrainSpec, Workspace


class _Shape(BaseModel):
    """What an adapter settles once and for all, by our names from peft's."""

    lora_rank: int = Field(alias="r")
    lora_alpha: int
    rslora: bool = Field(False, alias="use_rslora")
    dora: bool = Field(False, alias="use_dora")


@dataclass(frozen=True)
class Start:
    """An earlier run's adapter, and the base model that it belongs to."""

    adapter: Path
    base_model: str

    def taken_up(self, spec: TrainSpec) -> TrainSpec:
        """The job with the knobs that the adapter was made with, in place of what presets say.

        Raises AdapterDiffers where another value was asked for, which is one that no preset has, and AdapterUnreadable.
        """
        run, knobs = self.adapter.parent.name, spec.hyperparameters
        try:
            made = _Shape.model_validate_json((self.adapter / "adapter_config.json").read_bytes()).model_dump()
        except (OSError, ValidationError) as error:
            raise AdapterUnreadable(path=run) from error
        differing = [name for name, value in made.items() if getattr(knobs, name) not in (value, *_usual(name))]
        if differing:
            raise AdapterDiffers(run=run, made=", ".join(f"{name} {made[name]}" for name in differing))
        return spec.model_copy(update={"hyperparameters": knobs.model_copy(update=made)})


def starting_point(spec: TrainSpec, workspace: Workspace) -> Start | None:
    """What `start_from` names, None where it names nothing; another guild's run counts as none there is.

    Raises AdapterMissing, also where the run has another base model than is asked for.
    """
    if spec.start_from is None:
        return None
    folder = workspace.artifact_root / "runs" / spec.start_from
    try:
        report = Report.model_validate_json((folder / "report.json").read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise AdapterMissing(run=spec.start_from, reason="there is no such finished run here") from error
    if report.spec.guild_id != spec.guild_id or not (folder / "adapter").is_dir():
        raise AdapterMissing(run=spec.start_from, reason="there is no such finished run here")
    if spec.base_model not in (None, report.base_model):
        raise AdapterMissing(run=spec.start_from, reason=f"its base model is {report.base_model}")
    return Start(folder / "adapter", report.base_model)


def _usual(knob: str) -> list[object]:
    """What the presets make of a knob; a job does not tell whether somebody asked for one of these."""
    return [preset.get(knob, Hyperparameters.model_fields[knob].default) for preset in PRESETS.values()]
