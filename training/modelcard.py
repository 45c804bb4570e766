"""The model card of a run: its README.md."""

from __future__ import annotations

import json
from pathlib import Path

from training.data.lineage import permissions_of
from training.lessons import Lessons
from training.models import Base
from training.schema import Report

REHEARSAL = (
    "> **Rehearsal only.** The base model is a stand-in of about 2.6 million parameters, made on the machine that "
    "trained this adapter. It shows that every part works. It is no measure of what a real model would say."
)


def model_card(report: Report, base: Base, source: str, lessons: Lessons) -> str:
    """Where the adapter comes from, what it may be used for, how well it does, and how to use it elsewhere."""
    spec, knobs = report.spec, report.spec.hyperparameters
    who = lessons.persona.name if lessons.persona else "dialogue"
    permissions = permissions_of(lessons.train)
    sections = [
        _front_matter(report, base, source),
        f"# {who} ({spec.job_name})",
        *([REHEARSAL] if base.rehearsal else []),
        f"A LoRA adapter, trained by Understudy in run `{report.job_id}` on {report.device}.",
        "## Lineage",
        _table(
            {
                "Base model": f"{_origin(base, source)} ({base.license})",
                "Task": spec.task_type.value,
                "Learnt from": ", ".join(f"{count} rows of {name}" for name, count in lessons.sources.items()),
                "Licences of the data": ", ".join(lessons.licenses),
                **({"Discord's permission": "; ".join(permissions)} if permissions else {}),
                "Data digest": f"`{report.data_digest}`",
                "Held out": f"{report.held_out} conversations, never learnt from",
            }
        ),
        "## How it was trained",
        "Loss on the assistant's tokens only; the adapter of the step with the lowest held-out loss was kept "
        f"(step {report.best_step} of {report.steps}).",
        f"```json\n{json.dumps(knobs.model_dump() | _recommended(report, base), indent=2)}\n```",
        "## Figures",
        _table(
            {
                "Held-out loss, nats per assistant token": _change(report.eval_loss_before, report.eval_loss_after),
                "Held-out perplexity": _change(report.perplexity_before, report.perplexity_after),
                **{line.id: f"{line.verdict.value}: {line.explanation}" for line in report.lines},
                "Overall": report.verdict.value,
                "Time and memory": f"{report.seconds:.0f} s, {report.peak_gib:.2f} GiB",
            }
        ),
        "![Loss](loss.png)",
        "## Samples",
        f"Drawn at temperature {report.temperature:g} with seed {knobs.seed}, as were all answers that were scored.",
        *(f"**{s.question}**\n\n- base: {s.base}\n- adapter: {s.adapter}" for s in report.samples),
        "## Limits",
        "It plays a made-up character and will state made-up things as facts. The scores measure how recognisable the "
        "voice is, not how good the answers are. It was not checked for harmful answers, and it inherits every limit "
        "and every term of its base model and its data.",
        "## Use it elsewhere",
        _usage(source, lessons),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(report: Report, base: Base, source: str) -> str:
    tags = ["lora", "understudy", *(["rehearsal"] if base.rehearsal else [])]
    base_line = "" if _is_folder(source) else f"base_model: {json.dumps(source)}\n"
    return f"---\nlibrary_name: peft\n{base_line}tags: {json.dumps(tags)}\npipeline_tag: text-generation\n---"


def _is_folder(source: str) -> bool:
    return Path(source).is_absolute()


def _origin(base: Base, source: str) -> str:
    if base.rehearsal:
        return "a stand-in model made on the spot"
    return f"the folder {Path(source).name} of the machine that trained this" if _is_folder(source) else source


def _recommended(report: Report, base: Base) -> dict[str, float | int]:
    knobs = report.spec.hyperparameters
    return {
        "learning_rate": knobs.learning_rate or base.learning_rate,
        "batch_size": knobs.batch_size or base.batch_size,
    }


def _table(rows: dict[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _change(before: float, after: float) -> str:
    return f"{before:.4g} with the base model, {after:.4g} with the adapter"


def _usage(source: str, lessons: Lessons) -> str:
    card = lessons.persona.system_card() if lessons.persona else None
    turns = [{"role": "system", "content": card}] if card else []
    turns.append({"role": "user", "content": "Hello!"})
    base, first = (Path(source).name, _bring(source)) if _is_folder(source) else (source, "In the folder of this file:")
    return f"""{first}

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {base!r}
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "adapter")
turns = {json.dumps(turns, ensure_ascii=False, indent=4)}
prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**prompt, max_new_tokens=160)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```"""


def _bring(source: str) -> str:
    """What to do before the code runs on another machine, where the base model is a folder of this one."""
    return (
        "The base model is on no hub: it is a folder of the machine that trained this adapter, and "
        f"`adapter/adapter_config.json` says where. Copy that folder, `{Path(source).name}`, to here, beside this file "
        "and `adapter/`. Then, in this folder:"
    )
