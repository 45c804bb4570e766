"""A run that learns from chat quotes the permission, and is found when a member is forgotten."""

from __future__ import annotations

from tests.training.data.chat_exports import ANNA, BEN, GUILD, KEEPER, Row, export, policy, said
from training.data.canonical import Tally
from training.data.chatlog import convert_export
from training.data.folder import LINEAGE, write_folder
from training.data.forgetting import forget
from training.data.reading import Reading
from training.pipeline import finetune
from training.places import guild_folder
from training.schema import Hyperparameters, TaskType, TrainSpec, Workspace


def test_a_run_keeps_what_chat_it_learnt_from(tiny_workspace: Workspace) -> None:
    allowed, home = policy(), guild_folder(tiny_workspace, GUILD)
    talk = [
        message
        for n in range(14)
        for message in (said(ANNA if n else BEN, f"What of {n}?", n * 5000), said(KEEPER, f"Aye, {n}.", n * 5000 + 9))
    ]
    reading = Reading(source="log", chatlog=allowed)
    rows = list(convert_export(iter([Row(1, export(talk))]), reading, Tally()))  # type: ignore[list-item]
    write_folder(home / "datasets/log", "log", rows, extra_files={LINEAGE: allowed.lineage})
    knobs = Hyperparameters(epochs=1, batch_size=8)
    spec = TrainSpec(job_name="log", guild_id=GUILD, task_type=TaskType.DIALOGUE, dataset="log", hyperparameters=knobs)
    run = tiny_workspace.artifact_root / "runs" / "r1"
    finetune(
        spec,
        job_id="r1",
        workspace=tiny_workspace,
        run_dir=run,
        on_progress=lambda progress: None,
        should_stop=lambda: False,
    )
    assert f"| Discord's permission | {allowed.permission.quote()} |" in (run / "README.md").read_text()
    assert forget([home], [], run.parent, users=[BEN]).retrain == ("r1",)
    assert (run / "retrain.json").is_file()
