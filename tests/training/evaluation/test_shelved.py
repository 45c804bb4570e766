"""What an earlier check lends to a later one, and when it must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.training.evaluation.replies_made import report
from training.evaluation import shelved
from training.evaluation.lines import held_out_fit
from training.evaluation.schema import CheckReport
from training.runs import write_json
from training.schema import Verdict, Workspace

BASE = {"glordon": (3.0, 3.2, 2.9), "olga": (3.1, 3.3)}
OWN = {"glordon": (2.5, 2.6, 2.4), "olga": (2.7, 2.9)}
WORSE = {"glordon": (2.9, 3.1, 2.8), "olga": (2.4, 2.5)}


def checked(persona: str, run_id: str, losses: dict[str, tuple[float, ...]]) -> CheckReport:
    return report(persona, run_id, losses=losses, base_losses=BASE)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(artifact_root=tmp_path, dataset_warehouse=tmp_path, cache_dir=tmp_path)


def kept(workspace: Workspace, found: CheckReport, age: int = 0) -> None:
    path = workspace.artifact_root / "runs" / str(found.spec.run_id) / f"check-{found.persona}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found.model_dump(mode="json"))
    os.utime(path, (1e9 - age, 1e9 - age))


def test_an_adapter_of_the_whole_cast_is_no_rival_of_its_own(workspace: Workspace) -> None:
    """Its losses are the same whoever it speaks as, so it would never be lower than itself."""
    own = checked("glordon", "wholewhole00", OWN)
    kept(workspace, checked("olga", "wholewhole00", OWN))
    kept(workspace, checked("elio", "elioelioelio", WORSE))
    others = shelved.others_of(own, workspace)
    assert [other.persona for other in others] == ["elio", "olga"]
    rivals = shelved.rivals_of(own, others)
    assert rivals == {"elio by elioelioelio": WORSE["glordon"]}
    assert held_out_fit(BASE["glordon"], OWN["glordon"], 1, rivals).verdict is Verdict.PASS
    assert shelved.gains(own, others).rows == ("glordon by wholewhole00", "elio by elioelioelio")


def test_its_older_check_as_somebody_else_hides_no_real_rival(workspace: Workspace) -> None:
    own = checked("glordon", "wholewhole00", OWN)
    kept(workspace, checked("olga", "wholewhole00", OWN))
    kept(workspace, checked("olga", "olgaolgaolga", WORSE), age=60)
    rivals = shelved.rivals_of(own, shelved.others_of(own, workspace))
    assert rivals == {"olga by olgaolgaolga": WORSE["glordon"]}
