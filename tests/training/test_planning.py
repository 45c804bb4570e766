"""Plans of awkward data, and what a run that goes on keeps to."""

from __future__ import annotations

import json
from pathlib import Path

from training.chat import Example
from training.course import Stage
from training.material import Material
from training.memory import Means, measure
from training.models import this_machine
from training.planning import MEANS_FILE, card_of, plan_assumed, settled_means
from training.ranks import ALONE
from training.schema import Hyperparameters, TaskType, TrainSpec, Warned, Workspace
from training.standin import standin_config

KNOBS = Hyperparameters()


def material(rows: int, length: int, learnt_from: int) -> Material:
    mask = (False,) * learnt_from + (True,) * (length - learnt_from)
    stage = Stage([Example(str(i), tuple(range(length)), mask) for i in range(rows)], 1, 16)
    return Material((stage,), (), (), 1e-3)


def test_a_row_that_is_cut_before_its_answer_is_left_out_of_what_is_reckoned_with() -> None:
    late, early = material(3, 900, 700), material(2, 900, 100)
    assert late.shortened(512).stages == ()
    both = Material((*late.stages, *early.stages), (), (), 1e-3)
    [stage] = both.shortened(512).stages
    assert [row.labels for row in stage.rows] == [412, 412]


def test_means_are_kept_for_the_same_device_and_number_of_processes(tmp_path: Path) -> None:
    kept = {"quantised": False, "redo": True, "tokens_at_once": 777, "among": 1}
    shape, rows = measure(standin_config()), material(20, 100, 50)
    here = {"device": this_machine().name, "processes": 1}
    for told, goes_on in ((here, True), (here | {"processes": 2}, False), (here | {"device": "a card"}, False)):
        (tmp_path / MEANS_FILE).write_text(json.dumps(kept | told))
        found = settled_means(tmp_path, shape, KNOBS, rows, ALONE)
        assert (found == Means(**kept)) == goes_on
        assert json.loads((tmp_path / MEANS_FILE).read_text()).items() >= here.items()


def test_a_plan_of_a_base_model_alone_warns_of_what_is_known_of_it(tiny_workspace: Workspace) -> None:
    spec = TrainSpec(
        job_name="t",
        guild_id="1",
        task_type=TaskType.DIALOGUE,
        dataset="any",
        base_model="mistralai/Mistral-7B-Instruct-v0.2",
        hyperparameters=Hyperparameters(epochs=9),
    )
    warned = plan_assumed(spec, workspace=tiny_workspace, machine=card_of(16)).warnings
    assert Warned.MANY_EPOCHS in warned
    assert Warned.TEMPLATE_UNVERIFIED in warned
