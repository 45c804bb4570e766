"""What may be published, and that it arrives: on a small hub of our own, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from tests.training.converters import converter_in
from tests.training.runs_made import JOB, base_at, done, provenance, run_at, workspace_at
from tests.training.toy_hub import OWNER, TOKEN, Hub, toy_hub
from training.cli import build
from training.data.schema import Source
from training.errors import HubNameUnusable, HubRefused, LicenceNotAccepted, NotPublishable, UnderstudyError
from training.export import find_run
from training.hub import require_name, require_publishable
from training.models import base_at as known_base
from training.schema import Workspace

NAME = f"{OWNER}/olga"
NC = (Source(name="alpaca", license="CC-BY-NC-4.0", conversations=9),)
Run = Callable[..., Result]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with toy_hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = workspace_at(tmp_path / "house").model_copy(update={"hf_token": SecretStr(TOKEN)})
    base_at(tmp_path / "tiny-base")
    run_at(made.artifact_root / "runs" / JOB, tmp_path / "tiny-base")
    return made


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return lambda *given, **named: command(workspace, *given, **named)


def command(workspace: Workspace, *given: str, **env: str) -> Result:
    runner = CliRunner(env={"COLUMNS": "300", **env})
    return runner.invoke(build(lambda: workspace), ["export", "--run", JOB, *given])


def published(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what may be published -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"recorded": False}, "what it learnt from was not recorded"),
        ({"begun_from": provenance(recorded=False)}, "or what the run that it went on from did"),
        ({"chats": 1}, "it learnt from Discord messages"),
        ({"permissions": ("T-1 (Discord, 2026-01-01, for 1)",)}, "Discord's permission is to train on them"),
        ({"begun_from": provenance(begun_from=provenance(chats=3))}, "it learnt from Discord messages"),
    ],
)
def test_what_is_not_for_everybody_is_not_published(told: dict[str, Any], said: str) -> None:
    with pytest.raises(NotPublishable, match=said):
        require_publishable(done(), provenance(**told), merged=False, accepted=True)


def test_a_rehearsal_is_not_published() -> None:
    with pytest.raises(NotPublishable, match="a stand-in, made for practice only"):
        require_publishable(done(rehearsal=True), provenance(), merged=False, accepted=True)


@pytest.mark.parametrize("told", [{"data": NC}, {"begun_from": provenance(data=NC)}])
def test_licences_for_research_only_want_to_be_accepted(told: dict[str, Any]) -> None:
    with pytest.raises(LicenceNotAccepted, match=r"alpaca \(CC-BY-NC-4\.0\).*--accept-licences"):
        require_publishable(done(), provenance(**told), merged=False, accepted=False)
    require_publishable(done(), provenance(**told), merged=False, accepted=True)


def test_a_base_models_licence_counts_where_its_weights_go_along() -> None:
    unknown = provenance(base_license=known_base("somebody/model").license)
    require_publishable(done(), unknown, merged=False, accepted=False)
    with pytest.raises(LicenceNotAccepted, match="none stated"):
        require_publishable(done(), unknown, merged=True, accepted=False)
    require_publishable(done(), provenance(), merged=True, accepted=False)


@pytest.mark.parametrize("name", ["olga", "a/b/c", "a/../b", "a/b c", "/b", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(HubNameUnusable):
        require_name(name, SecretStr(TOKEN))


def test_without_a_token_nothing_begins(run: Run, workspace: Workspace, tmp_path: Path) -> None:
    refused = command(workspace.model_copy(update={"hf_token": None}), "--out", str(tmp_path / "o"), "--publish", NAME)
    assert isinstance(refused.exception, HubNameUnusable)
    assert "set HF_TOKEN" in str(refused.exception)
    assert not (tmp_path / "o").exists()


# --- the way there -------------------------------------------------------------------------------------------------


def test_an_adapter_arrives_whole_and_is_private(run: Run, workspace: Workspace, hub: Hub, tmp_path: Path) -> None:
    accepted = run("--out", str(tmp_path / "out"), "--publish", NAME)
    assert accepted.exit_code == 0, accepted.output
    assert f"{hub.url}/{NAME}" in accepted.output
    assert hub.private == {NAME: True}
    assert hub.files[NAME] == published(tmp_path / "out")
    assert find_run(JOB, workspace).report.job_id.encode() in hub.files[NAME]["README.md"]
    assert TOKEN not in accepted.output


def test_a_whole_model_with_its_gguf_file_arrives_for_everybody(run: Run, hub: Hub, tmp_path: Path) -> None:
    llama = converter_in(tmp_path / "llama.cpp")
    out = tmp_path / "out"
    done = run("--out", str(out), "--merge", "--gguf", "--publish", NAME, "--public", LLAMA_CPP=str(llama))
    assert done.exit_code == 0, done.output
    assert hub.private == {NAME: False}
    assert hub.files[NAME] == published(out)
    assert hub.files[NAME]["olga-v1-q8_0.gguf"].startswith(b"GGUF")
    assert "0.00% of their spread" in done.output


def test_what_should_be_private_does_not_go_where_everybody_looks(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.private[NAME], hub.files[NAME] = False, {}
    refused = run("--out", str(tmp_path / "out"), "--publish", NAME)
    assert isinstance(refused.exception, HubNameUnusable)
    assert "for everybody to see; say --public if it may" in str(refused.exception)
    assert hub.files[NAME] == {}
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.usefixtures("hub")
def test_a_hub_that_refuses_costs_no_export(run: Run, tmp_path: Path) -> None:
    refused = run("--out", str(tmp_path / "out"), "--publish", "others/olga")
    assert isinstance(refused.exception, HubRefused)
    assert "403" in str(refused.exception)
    assert f"`hf upload others/olga {tmp_path / 'out'}` tries again" in str(refused.exception)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_a_hub_that_is_away_costs_no_export(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with toy_hub() as gone:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", gone.url)
    refused = run("--out", str(tmp_path / "out"), "--publish", NAME)
    assert isinstance(refused.exception, HubRefused)
    assert (tmp_path / "out" / "README.md").is_file()


def test_refusals_come_before_the_model_is_loaded(run: Run, hub: Hub, workspace: Workspace, tmp_path: Path) -> None:
    path = workspace.artifact_root / "runs" / JOB / "provenance.json"
    path.write_text(path.read_text().replace('"MIT"', '"CC-BY-NC-4.0"'))
    out = tmp_path / "out"
    refused = run("--out", str(out), "--merge", "--publish", NAME)
    assert isinstance(refused.exception, LicenceNotAccepted)
    assert (out.exists(), hub.private) == (False, {})
    assert run("--out", str(out), "--publish", NAME, "--accept-licences").exit_code == 0
    assert NAME in hub.private
    again = run("--out", str(out), "--gguf", "--llama-cpp", str(tmp_path))
    assert isinstance(again.exception, UnderstudyError)
    assert "holds something else already" in str(again.exception)
