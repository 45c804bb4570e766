"""A trainer with arithmetic instead of torch: the real child process, pipe and checkpoints, and numbers to check.

`python -m tests.fakes` is a drop-in for `python -m tasks.trainer`. The job's name says how it behaves, or the persona
of a check; see `BEHAVIOUR`. A run of n steps ends with `tokens` = 1 + 2 + … + n, so a step that was lost or done twice
across a crash shows. A check keeps no checkpoint, and answers its questions anew.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks import child
from training.data.schema import DataReport, DataSpec
from training.errors import RunStopped, UnknownPersona
from training.evaluation.schema import (
    CheckReport,
    CheckSpec,
    Comparison,
    Difference,
    ProbeAnswer,
    Suite,
    gate_of,
)
from training.schema import (
    WHOLE_CAST,
    ChatReply,
    ChatSpec,
    LossPoint,
    Machine,
    Persona,
    Phase,
    Plan,
    Progress,
    Report,
    ScoreLine,
    TrainSpec,
    Verdict,
    Workspace,
)

STEPS_PER_EPOCH = 20
STEP_SECONDS = 0.01
CHECKPOINT_STEPS = 10
QUESTIONS = 12
BEHAVIOUR = {
    "gate": "waits after half of its steps until the file `go` lies in its run folder",
    "wedged": "as gate, and it does not hear SIGTERM",
    "poison": "is killed at its first step, each time",
    "refused": "ends with an expected error",
    "broken": "ends with an unexpected error",
    "teardown": "is killed after its report is on disk",
    "judging": "says that all is learnt, and waits for the file `go` before it writes its report",
}


def finetune(
    spec: TrainSpec,
    *,
    job_id: str,
    workspace: Workspace,
    run_dir: Path,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    on_checkpoint: Callable[[int], None],
) -> Report:
    """Add up the steps; the same promises as `training.pipeline.finetune`."""
    total = spec.hyperparameters.epochs * STEPS_PER_EPOCH
    _write(run_dir / "spec.json", spec.model_dump_json())
    step, tokens = _resume(run_dir)
    if spec.job_name == "wedged":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if spec.job_name == "refused":
        raise UnknownPersona(name=spec.persona, choices="olga")
    if spec.job_name == "broken":
        raise ZeroDivisionError("nobody foresaw this")
    while step < total:
        step += 1
        tokens += step
        _trace(run_dir, job_id, step)
        time.sleep(STEP_SECONDS)
        if spec.job_name == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        on_progress(Progress(phase=Phase.TRAINING, step=step, total_steps=total, train_loss=_loss(step)))
        if step % CHECKPOINT_STEPS == 0:
            _save(run_dir, step, tokens)
            on_checkpoint(step)
        while spec.job_name in ("gate", "wedged") and step == total // 2 and not (run_dir / "go").exists():
            _stop_if_asked(run_dir, step, tokens, should_stop, on_checkpoint)
            time.sleep(STEP_SECONDS)
        _stop_if_asked(run_dir, step, tokens, should_stop, on_checkpoint)
    if spec.job_name == "judging":
        on_progress(Progress(phase=Phase.EVALUATING, step=total, total_steps=total))
        while not (run_dir / "go").exists():
            if should_stop():
                raise RunStopped(step=total)
            time.sleep(STEP_SECONDS)
    made = report(spec, job_id, steps=total, tokens=tokens)
    _write(run_dir / "report.json", made.model_dump_json())
    (run_dir / "adapter").mkdir(exist_ok=True)
    if spec.job_name == "teardown":
        os.kill(os.getpid(), signal.SIGKILL)
    return made


def check(
    spec: CheckSpec,
    *,
    job_id: str,
    workspace: Workspace,
    run_dir: Path,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> CheckReport:
    """Answer every question with its number; the same promises as `training.evaluation.check.check`."""
    if spec.persona == "refused":
        raise UnknownPersona(name=spec.persona, choices="olga")
    for step in range(1, QUESTIONS + 1):
        _trace(run_dir, job_id, step)
        if spec.persona == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        on_progress(Progress(phase=Phase.EVALUATING, step=step, total_steps=QUESTIONS))
        while spec.persona == "gate" and step == QUESTIONS // 2 and not (run_dir / "go").exists():
            if should_stop():
                raise RunStopped(step=step)
            time.sleep(STEP_SECONDS)
    made = check_report(spec, job_id)
    _write(run_dir / "report.json", made.model_dump_json())
    if spec.run_id:
        _write(workspace.artifact_root / "runs" / spec.run_id / "check.json", made.model_dump_json())
    if spec.persona == "teardown":
        os.kill(os.getpid(), signal.SIGKILL)
    return made


def check_report(spec: CheckSpec, job_id: str, verdict: Verdict = Verdict.PASS) -> CheckReport:
    """What a check without surprises leaves; against another version it finds it worse."""
    against = f"v{spec.against_version}"
    return CheckReport(
        job_id=job_id,
        spec=spec,
        persona=spec.persona,
        name=spec.persona.title(),
        adapter=f"v{spec.version}",
        base_model="standin",
        rehearsal=True,
        device="cpu",
        system="",
        temperature=0.7,
        max_new_tokens=96,
        seconds=1.5,
        verdict=verdict,
        lines=() if spec.suite is Suite.GENERAL else (ScoreLine(id="facts", value=0.75, verdict=verdict),),
        answers=tuple(
            ProbeAnswer(
                probe=f"p{number}", kind="neutral", question="?", sample=0, seed=number, reply=str(number), tokens=1,
                ended=True,
            )
            for number in range(1, QUESTIONS + 1)
        ),
        losses={spec.persona: (1.5, 2.5)},
        comparison=comparison(spec, against) if spec.against else None,
    )  # fmt: skip


def comparison(spec: CheckSpec, against: str) -> Comparison:
    """Each version is worse than any before it, which takes three replies to each question to see."""
    change = 0.4 if (spec.version or 0) < (spec.against_version or 0) else -0.4
    wide = 0.1 if spec.samples >= 3 else 0.6
    bounds = {"low": change - wide, "high": change + wide, "floor": change - wide, "ceiling": change + wide}
    differences = (Difference.model_validate({"id": "voice", "value": change, **bounds, "questions": 16}),)
    of = f"v{spec.version}"
    return Comparison(of=of, against=against, gate=gate_of(differences, 0.15), margin=0.15, differences=differences)


def report(spec: TrainSpec, job_id: str, *, steps: int = 20, tokens: int = 210) -> Report:
    """A small report, as a run without surprises leaves it."""
    return Report(
        job_id=job_id,
        spec=spec,
        base_model="standin",
        rehearsal=True,
        device="cpu",
        examples=48,
        held_out=12,
        tokens=tokens,
        steps=steps,
        best_step=steps,
        seconds=1.5,
        peak_gib=0.1,
        data_digest="0" * 16,
        eval_loss_before=_loss(0),
        eval_loss_after=_loss(steps),
        perplexity_before=20.0,
        perplexity_after=8.0,
        curve=tuple(LossPoint(step=step, train_loss=_loss(step)) for step in range(1, steps + 1)),
        lines=(),
        verdict=Verdict.PASS,
        samples=(),
        personas=("olga", "caleb") if spec.persona == WHOLE_CAST else (spec.persona,) if spec.persona else (),
    )


class FakeEngine:
    """Answers with what it was asked, and by whom."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def reply(self, spec: ChatSpec, persona: Persona, adapter_dir: Path | None, version: int | None) -> ChatReply:
        """The last message, backwards."""
        asked = spec.messages[-1].content
        if asked == "card":
            asked = visible_cards()[::-1]
        if asked == "slowly":
            time.sleep(1)
        return ChatReply(
            persona=spec.persona,
            name=persona.name,
            version=version,
            base_model=self._workspace.base_model,
            rehearsal=True,
            text=asked[::-1],
            tokens=len(asked),
            seconds=0.01,
        )


def visible_cards() -> str:
    """What CUDA would show this process."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def machine() -> Machine:
    """A card that is named after its number."""
    return Machine(device="cuda", name=f"card {visible_cards()}", free_gib=4, total_gib=8, bf16=True)


def plan(spec: TrainSpec, workspace: Workspace, machine: Machine | None) -> Plan:
    """A plan by arithmetic; a persona called nobody is unknown."""
    if spec.persona == "nobody":
        raise UnknownPersona(name="nobody", choices="olga")
    return Plan(
        base_model=workspace.base_model,
        rehearsal=True,
        device=machine.name if machine else "unknown",
        fits=True,
        examples=48,
        held_out=12,
        tokens=4800,
        steps=spec.hyperparameters.epochs * STEPS_PER_EPOCH,
        seconds=(1.0, 2.0),
        peak_gib=0.1,
        free_gib=4.0,
        disk_gib=0.1,
    )


def prepare(spec: DataSpec, workspace: Workspace, **how: Any) -> DataReport:
    """The real work on data, but for a dataset called gate, which is never done, and one called broken."""
    from tasks.preparer import prepare_data  # the trainer's child, which is made of this module too, needs none of it

    if spec.name == "broken":
        raise ZeroDivisionError("nobody foresaw this")
    while spec.name == "gate":
        how["on_progress"](Progress(phase=Phase.DATA, step=1))
        if how["should_stop"]():
            raise RunStopped(step=1)
        time.sleep(STEP_SECONDS)
    return prepare_data(spec, workspace, **how)


def traced(artifact_root: Path, folder: str = "runs") -> list[tuple[int, str, int]]:
    """Every step that any fake trainer began, or any fake check with the folder `checks`: process, job, step."""
    path = artifact_root / folder / "trace.jsonl"
    if not path.exists():
        return []
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def _trace(run_dir: Path, job_id: str, step: int) -> None:
    with (run_dir.parent / "trace.jsonl").open("a") as file:
        file.write(json.dumps([os.getpid(), job_id, step]) + "\n")


def _loss(step: int) -> float:
    return round(3 * 0.98**step, 4)


def _stop_if_asked(
    run_dir: Path, step: int, tokens: int, should_stop: Callable[[], bool], on_checkpoint: Callable[[int], None]
) -> None:
    if should_stop():
        _save(run_dir, step, tokens)
        on_checkpoint(step)
        raise RunStopped(step=step)


def _resume(run_dir: Path) -> tuple[int, int]:
    path = run_dir / "checkpoints" / "newest.json"
    if not path.exists():
        return 0, 0
    saved = json.loads(path.read_text())
    return saved["step"], saved["tokens"]


def _save(run_dir: Path, step: int, tokens: int) -> None:
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    _write(run_dir / "checkpoints" / "newest.json", json.dumps({"step": step, "tokens": tokens}))


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == "__main__":
    if sys.argv[1:] == ["machine"]:
        print(machine().model_dump_json())
    else:
        child.run(lambda: finetune, lambda: check)
