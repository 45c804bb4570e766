"""The model card of a run, and of what is exported of it: its README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from training.data.licences import is_restricted
from training.provenance import Provenance
from training.schema import Report, TaskType, TrainSpec

REHEARSAL = (
    "> **Rehearsal only.** The base model is a stand-in of about 2.6 million parameters, made on the machine that "
    "trained this adapter. It shows that every part works. It is no measure of what a real model would say."
)
HUB_LICENCES = {
    "mit": "mit",
    "apache-2.0": "apache-2.0",
    "bsd-3-clause": "bsd-3-clause",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "gemma terms of use": "gemma",
    "llama 3 community licence": "llama3",
    "llama 3.1 community licence": "llama3.1",
    "llama 3.2 community licence": "llama3.2",
}
"""Licences as pages state them, and as the hub calls them."""
FREE = {"mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0"}
"""Of those the ones that, on data, leave what is made of it to the licence of the base model."""
LANGUAGE = re.compile(r"[a-z]{2,3}")
"""A code of ISO 639, which is all that the hub takes."""
WORDS = {"library_name", "license", "license_name", "license_link", "base_model_relation", "pipeline_tag"}
"""The fields of the front matter whose values need no quotes."""
KEPT = {"nf4": "in 4 bits (nf4, double-quantised)", "unknown": "in a way that was not recorded"}


class Form(StrEnum):
    """What lies beside a card: a run's own files, an adapter, or the whole model with the adapter merged in."""

    RUN = "run"
    ADAPTER = "adapter"
    MERGED = "merged"


def model_card(
    report: Report, found: Provenance, stop_ids: Sequence[int], form: Form = Form.RUN, gguf: str = ""
) -> str:
    """Where the model comes from, what it may be used for, how well it does, and how to use it elsewhere.

    stop_ids: the tokens that end its answers. gguf: the name of the file for llama.cpp beside the card, if any.
    """
    sections = [
        _front_matter(report, found, form),
        f"# {_who(found)} ({report.spec.job_name})",
        *([REHEARSAL] if report.rehearsal else []),
        _what(report, found, form),
        "## Lineage",
        _table(_lineage(report, found)),
        *_earlier(found),
        "## How it was trained",
        *_training(report, found),
        "## Figures",
        _table(_figures(report)),
        "![Loss](loss.png)",
        *_samples(report),
        "## Limits",
        *_limits(found),
        "## Use it elsewhere",
        _usage(report, found, stop_ids, form),
        *_cast(found),
        *([f"`{gguf}` is the same model for llama.cpp:\n\n```sh\nllama-cli -m {gguf} --jinja\n```"] if gguf else []),
    ]
    return "\n\n".join(sections) + "\n"


# --- what it is ----------------------------------------------------------------------------------------------------


def _front_matter(report: Report, found: Provenance, form: Form) -> str:
    """What the hub reads, in YAML, of which JSON's strings and lists are a part."""
    merged = form is Form.MERGED
    licence = _licence(found)
    languages = sorted({lang.partition("-")[0].lower() for lang in found.languages})
    tags = ["understudy", "text-generation", report.spec.task_type.value]
    lines: dict[str, object] = {"library_name": "transformers" if merged else "peft", "license": licence}
    if licence == "other":
        lines |= {"license_name": "that-of-base-model-and-data", "license_link": "README.md"}
    if not _is_folder(found.source):
        lines |= {"base_model": found.source, "base_model_relation": "finetune" if merged else "adapter"}
    if spoken := [code for code in languages if LANGUAGE.fullmatch(code)]:
        lines["language"] = spoken
    lines["tags"] = [*tags, *([] if merged else ["lora"]), *(["rehearsal"] if report.rehearsal else [])]
    lines["pipeline_tag"] = "text-generation"
    written = (f"{name}: {value if name in WORDS else json.dumps(value)}" for name, value in lines.items())
    return "\n".join(["---", *written, "---"])


def _licence(found: Provenance) -> str:
    """The base model's licence by the hub's name, or `other` where that is not known, or the data adds its own."""
    base, data = _hub_name(found.base_license), {_hub_name(license) for license in found.licenses}
    return base if found.recorded and data <= FREE else "other"


def _hub_name(license: str) -> str:
    return HUB_LICENCES.get(license.casefold(), "other")


def _who(found: Provenance) -> str:
    return ", ".join(voice.name for voice in found.cast) or "Dialogue"


def _what(report: Report, found: Provenance, form: Form) -> str:
    made = f"trained by Understudy in run `{report.job_id}` on {report.device}."
    if form is not Form.MERGED:
        return f"A LoRA adapter, {made}"
    said = f"A language model, with a LoRA adapter merged into its weights, {made}"
    if found.weights == "nf4":
        said += (
            " The adapter learnt on weights in 4 bits and is merged into the whole ones, on which the answers differ "
            "a little from those that were scored."
        )
    return said


def _is_folder(source: str) -> bool:
    return Path(source).is_absolute()


# --- where it comes from -------------------------------------------------------------------------------------------


def _lineage(report: Report, found: Provenance) -> dict[str, str]:
    rows = {
        "Base model": f"{_origin(report, found)} ({found.base_license}), kept {_kept(found)}",
        "Task": f"{report.spec.task_type}: {_task(report.spec, found)}",
        "Learnt from": _data(found),
        "Licences of the data": ", ".join(found.licenses) or "not recorded",
    }
    permissions = sorted({permission for run in found.runs for permission in run.permissions})
    if permissions:
        rows["Discord's permission"] = "; ".join(permissions)
    rows["Data digest"] = f"`{report.data_digest}`"
    rows["Held out"] = f"{report.held_out} conversations, never learnt from"
    return rows


def _origin(report: Report, found: Provenance) -> str:
    if report.rehearsal:
        return "a stand-in model made on the spot"
    source = found.source
    return f"the folder {Path(source).name} of the machine that trained this" if _is_folder(source) else source


def _kept(found: Provenance) -> str:
    return KEPT.get(found.weights, f"in {found.weights}")


def _data(found: Provenance) -> str:
    told = [f"{s.conversations} rows of {s.name} ({s.license or 'licence unknown'})" for s in found.data]
    return ", ".join(told) or "not recorded"


def _task(spec: TrainSpec, found: Provenance) -> str:
    """What was learnt, stage by stage."""
    own = "the dialogues of its persona" if len(found.cast) == 1 else "the dialogues of its personas"
    knobs = spec.hyperparameters
    return {
        TaskType.PERSONA: own,
        TaskType.DIALOGUE: "conversations",
        TaskType.MIXED: f"{own}, with general conversations as {knobs.mix_general:.0%} of all",
        TaskType.TWO_STAGE: f"{found.opening} general conversations once, then {own}",
        TaskType.PREFERENCE: f"{found.pairs} pairs of answers, of which one was liked better (DPO)",
    }[spec.task_type]


def _earlier(found: Provenance) -> list[str]:
    """The runs whose adapter was learnt on."""
    return [f"It went on from an earlier run's adapter, which had learnt from: {_data(run)}." for run in found.runs[1:]]


def _training(report: Report, found: Provenance) -> list[str]:
    knobs = report.spec.hyperparameters
    goal = "Loss on the assistant's tokens only"
    if report.spec.task_type is TaskType.PREFERENCE:
        goal = f"Direct preference optimisation with beta {knobs.dpo_beta:g} against the model as it was before"
    kept = f"the step with the lowest held-out loss was kept (step {report.best_step} of {report.steps})"
    used = {"learning_rate": found.learning_rate, "batch_size": found.batch_size} if found.learning_rate else {}
    told = [f"{goal}; the adapter of {kept}."]
    if report.spec.start_from:
        told.append(f"It began with the adapter of run `{report.spec.start_from}`.")
    if knobs.seeds > 1:
        tried = ", ".join(str(knobs.seed + number) for number in range(knobs.seeds))
        told.append(f"The seeds {tried} were tried, and {report.seed}, with the lowest held-out loss, was kept.")
    return [*told, f"```json\n{json.dumps(knobs.model_dump(mode='json') | used, indent=2)}\n```"]


# --- how well it does ----------------------------------------------------------------------------------------------


def _figures(report: Report) -> dict[str, str]:
    rows = {
        "Held-out loss, nats per assistant token": _change(report.eval_loss_before, report.eval_loss_after),
        "Held-out perplexity": _change(report.perplexity_before, report.perplexity_after),
    }
    if report.preferred is not None:
        rows["Held-out pairs whose chosen answer gained more"] = f"{report.preferred:.0%}"
    rows |= {line.id: f"{line.verdict.value}: {line.explanation}" for line in report.lines}
    rows["Overall"] = report.verdict.value
    rows["Time and memory"] = f"{report.seconds:.0f} s, {report.peak_gib:.2f} GiB"
    return rows


def _change(before: float, after: float) -> str:
    return f"{before:.4g} with the base model, {after:.4g} with the adapter"


def _samples(report: Report) -> list[str]:
    seed = report.spec.hyperparameters.seed
    drawn = f"Drawn at temperature {report.temperature:g} with seed {seed}, as were all answers that were scored."
    answers = [f"**{s.question}**\n\n- base: {s.base}\n- adapter: {s.adapter}" for s in report.samples]
    return ["## Samples", drawn, *answers]


def _limits(found: Provenance) -> list[str]:
    voice = (
        "It plays a made-up character and will state made-up things as facts. The scores measure how recognisable the "
        "voice is, not how good the answers are. "
    )
    told = [
        f"{voice if found.cast else ''}It was not checked for harmful answers, and it inherits every limit and every "
        "term of its base model and its data."
    ]
    if any(map(is_restricted, found.licenses)):
        told.append("Some of its data is licensed for research or non-commercial use only, or states no licence.")
    return told


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {' '.join(value.split()).replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


# --- how to use it -------------------------------------------------------------------------------------------------


def _usage(report: Report, found: Provenance, stop_ids: Sequence[int], form: Form) -> str:
    turns = [{"role": "system", "content": found.cast[0].card}] if found.cast else []
    turns.append({"role": "user", "content": "Hello!"})
    code = [
        *_loading(found.source, form),
        f"turns = {json.dumps(turns, ensure_ascii=False, indent=4)}",
        "prompt = tokenizer.apply_chat_template(",
        '    turns, add_generation_prompt=True, enable_thinking=False, return_tensors="pt", return_dict=True',
        ")",
        f"answer = model.generate(**prompt, max_new_tokens=160, eos_token_id={list(stop_ids)})",
        'print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]
    return f"{_first(found.source, form)}\n\n```python\n" + "\n".join(code) + "\n```"


def _loading(source: str, form: Form) -> list[str]:
    """The code up to a tokenizer with the right template, and the model."""
    if form is Form.MERGED:
        return [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'here = "."',
            "tokenizer = AutoTokenizer.from_pretrained(here)",
            'model = AutoModelForCausalLM.from_pretrained(here, dtype="auto")',
        ]
    base = Path(source).name if _is_folder(source) else source
    head = [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"base = {base!r}",
    ]
    if form is Form.ADAPTER:
        head += ['here = "."', "tokenizer = AutoTokenizer.from_pretrained(here)"]
    else:
        head += [
            'here = "adapter"',
            "tokenizer = AutoTokenizer.from_pretrained(base)",
            'tokenizer.chat_template = open(f"{here}/chat_template.jinja", encoding="utf-8").read()',
        ]
    return [*head, "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), here)"]


def _first(source: str, form: Form) -> str:
    """What to do before the code runs on another machine."""
    if form is Form.MERGED or not _is_folder(source):
        here = "" if form is Form.RUN else "; `here` may also be this model's name on the hub"
        return f"In the folder of this file{here}:"
    adapter = "`adapter/`" if form is Form.RUN else "the adapter"
    return (
        "The base model is on no hub: it is a folder of the machine that trained this adapter. Copy that folder, "
        f"`{Path(source).name}`, to here, beside this file and {adapter}. Then, in this folder:"
    )


def _cast(found: Provenance) -> list[str]:
    """Whom a model with several voices can be, and how it is told."""
    if len(found.cast) < 2:
        return []
    cards = [f"- {voice.name}:\n\n{_quoted(voice.card)}" for voice in found.cast]
    return ["It plays several characters, each below its own system card:", *cards]


def _quoted(text: str) -> str:
    return "\n".join(f"  > {line}" for line in text.splitlines())
