"""A finished run to take elsewhere: its adapter with all that peft needs, or the whole model with it merged in."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from training import gguf, models
from training.adapters import format_of
from training.chat import ChatFormat
from training.data.folder import room_for
from training.data.forgetting import RETRAIN_FILE
from training.errors import AdapterUnreadable, FolderTaken, NoFinishedRun, RunToRetrain
from training.inference import adapter_source
from training.merging import Agreement, merge
from training.modelcard import Form, model_card
from training.provenance import Provenance, read_provenance
from training.runs import publish, write_bytes, write_json
from training.schema import Message, Report, Workspace

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
GREETING = "Hello! Who are you, and how was your day?"
"""What a merged model is asked where its run kept no sample."""


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its report, and where its adapter comes from."""

    folder: Path
    report: Report
    found: Provenance

    @property
    def adapter(self) -> Path:
        """The folder of its adapter."""
        return self.folder / "adapter"

    @property
    def probe(self) -> tuple[Message, ...]:
        """A question as it is put: below the card of the first whom the adapter gives a voice."""
        asked = self.report.samples[0].question if self.report.samples else GREETING
        cards = [Message(role="system", content=voice.card) for voice in self.found.cast[:1]]
        return (*cards, Message(role="user", content=asked))


@dataclass(frozen=True)
class ToGguf:
    """How a GGUF file is made: by which command, with weights of which kind."""

    converter: list[str]
    outtype: gguf.Outtype


@dataclass(frozen=True)
class Exported:
    """What lies in the folder of an export. `agreement`: of a merged model; `gguf`: the file's name."""

    folder: Path
    agreement: Agreement | None = None
    gguf: str = ""


def find_run(given: str, workspace: Workspace) -> Run:
    """The finished run of this id, or in this folder. Raises NoFinishedRun, RunToRetrain or AdapterUnreadable."""
    kept = workspace.artifact_root / "runs" / given
    folder = kept if Path(given).name == given and kept.is_dir() else Path(given)
    try:
        report = Report.model_validate_json((folder / "report.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError) as error:
        raise NoFinishedRun(run=given) from error
    if (folder / RETRAIN_FILE).exists():
        raise RunToRetrain(run=report.job_id)
    return Run(folder, report, read_provenance(folder, adapter_source(folder / "adapter")))


def require_empty(out: Path) -> None:
    """Raise FolderTaken where something is in a folder that is to be made."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderTaken(folder=out)


def export(
    run: Run, out: Path, workspace: Workspace, *, whole: bool = False, to_gguf: ToGguf | None = None
) -> Exported:
    """Write the run's adapter into the new folder `out`, or the whole model; complete or not at all.

    whole: with the adapter merged into the base model, as a GGUF file needs it and brings it along.
    Raises FolderTaken, AdapterUnreadable, NotMergeable, MergeDiffers, ConverterFailed and what loading raises.
    """
    require_empty(out)
    room = room_for(out)
    try:
        # Under its own name, which converters write into what they make.
        made = room / out.name
        made.mkdir()
        exported = _whole(run, made, workspace, to_gguf) if whole or to_gguf else _adapter(run, made, workspace)
        shutil.copyfile(run.folder / "loss.png", made / "loss.png")
        publish(made, out)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Exported(out, exported.agreement, exported.gguf)


def _adapter(run: Run, made: Path, workspace: Workspace) -> Exported:
    """The adapter, and the tokenizer with the template that it was trained under."""
    # By the folder or hub name, since a stand-in goes by another id.
    base = models.base_at(run.found.source).model_copy(update={"id": run.found.source})
    chat_format = format_of(run.adapter, models.load_format(base, workspace))
    chat_format.tokenizer.save_pretrained(made)
    _copy_weights(run.adapter, made)
    config = json.loads((run.adapter / CONFIG).read_text(encoding="utf-8"))
    # The path of a folder of this machine is nobody's business elsewhere, and its name is what the card goes by.
    if Path(run.found.source).is_absolute():
        config["base_model_name_or_path"] = Path(run.found.source).name
    write_json(made / CONFIG, config)
    _write_card(run, made, chat_format, Form.ADAPTER)
    return Exported(made)


def _copy_weights(adapter: Path, made: Path) -> None:
    """Copy the adapter's tensors, once their file has proved whole."""
    try:
        with safe_open(adapter / WEIGHTS, "pt") as tensors:
            if not tensors.keys():
                raise AdapterUnreadable(path=adapter.parent.name)
    except (OSError, SafetensorError) as error:
        raise AdapterUnreadable(path=adapter.parent.name) from error
    shutil.copyfile(adapter / WEIGHTS, made / WEIGHTS)


def _whole(run: Run, made: Path, workspace: Workspace, to_gguf: ToGguf | None) -> Exported:
    """The model with the adapter merged in, and the same as a GGUF file where that is asked for."""
    warmth = run.report.temperature
    merged = merge(run.found.source, run.adapter, workspace, made, probe=run.probe, temperature=warmth)
    name = ""
    if to_gguf:
        job = run.report.spec.job_name
        name = f"{job}-{to_gguf.outtype}.gguf"
        gguf.convert(to_gguf.converter, made, made / name, to_gguf.outtype, job)
    _write_card(run, made, merged.format, Form.MERGED, name)
    return Exported(made, merged.agreement, name)


def _write_card(run: Run, made: Path, chat_format: ChatFormat, form: Form, gguf_name: str = "") -> None:
    card = model_card(run.report, run.found, chat_format.stop_ids, form, gguf_name)
    write_bytes(made / "README.md", card.encode())
