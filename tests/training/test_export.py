"""What leaves the house: adapters, merged models and GGUF files, complete and checked or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaForCausalLM

from tests.training.converters import converter_in
from tests.training.runs_made import JOB, OLGA, base_at, run_at, workspace_at
from training import merging
from training.chat import ChatFormat
from training.errors import (
    AdapterUnreadable,
    BaseModelUnavailable,
    ConverterFailed,
    FolderTaken,
    MergeDiffers,
    NoFinishedRun,
    NotMergeable,
    RunToRetrain,
)
from training.export import ToGguf, export, find_run
from training.gguf import Outtype, find_converter
from training.merging import Agreement
from training.schema import Message, Workspace

KINDS: dict[str, dict[str, Any]] = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
TALK = (Message(role="system", content=OLGA.card), Message(role="user", content="Tell me of the sea."))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    base_at(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind of adapter."""
    return run_at(tmp_path_factory.mktemp("kinds") / JOB, base, **KINDS[request.param])


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_at(tmp_path_factory.mktemp("runs") / JOB, base)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_at(tmp_path)


def logits(model: Any, folder: Path) -> torch.Tensor:
    ids = ChatFormat(AutoTokenizer.from_pretrained(folder)).prompt(TALK)
    with torch.inference_mode():
        return model.eval()(torch.tensor([ids])).logits


def with_adapter(base: Path, adapter: Path) -> Any:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def ran(card: Path, where: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the code of a model card prints, run as it stands in a folder."""
    monkeypatch.chdir(where)
    code = card.read_text().split("```python\n")[1]
    exec(compile(code[: code.index("```")], str(card), "exec"), {})  # our own code, which is what is tested
    return capsys.readouterr().out


# --- the adapter ---------------------------------------------------------------------------------------------------


def test_an_exported_adapter_is_what_plain_peft_needs(run: Path, base: Path, workspace: Workspace) -> None:
    out = workspace.artifact_root / "taken" / "olga"
    made = export(find_run(str(run), workspace), out, workspace)
    assert (made.folder, made.agreement, made.gguf) == (out, None, "")
    assert names(out.parent) == {"olga"}
    assert names(out) >= {"adapter_config.json", "adapter_model.safetensors", "README.md", "loss.png", "tokenizer.json"}
    assert torch.equal(logits(with_adapter(base, out), out), logits(with_adapter(base, run / "adapter"), base))
    template = (run / "adapter" / "chat_template.jinja").read_text()
    assert AutoTokenizer.from_pretrained(out).chat_template == template


def test_nothing_in_an_export_names_a_folder_of_this_machine(run: Path, base: Path, workspace: Workspace) -> None:
    export(find_run(str(run), workspace), workspace.cache_dir / "a", workspace)
    export(find_run(str(run), workspace), workspace.cache_dir / "b", workspace, whole=True)
    for file in (path for path in workspace.cache_dir.rglob("*") if path.is_file()):
        assert str(base.parent).encode() not in file.read_bytes(), file
    config = json.loads((workspace.cache_dir / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.name


def test_the_code_of_the_cards_runs_where_it_says(
    run: Path, base: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, whole = workspace.cache_dir / "adapter", workspace.cache_dir / "whole"
    export(find_run(str(run), workspace), adapter, workspace)
    export(find_run(str(run), workspace), whole, workspace, whole=True)
    (adapter / base.name).symlink_to(base)
    assert ran(adapter / "README.md", adapter, monkeypatch, capsys).strip()
    assert ran(whole / "README.md", whole, monkeypatch, capsys).strip()


def test_a_template_of_the_run_goes_along_and_not_that_of_its_base(
    base: Path, workspace: Workspace, tmp_path: Path
) -> None:
    run = run_at(tmp_path / JOB, base)
    template = (run / "adapter" / "chat_template.jinja").read_text().replace("<|im_start|>", "<|im_start|> ")
    (run / "adapter" / "chat_template.jinja").write_text(template)
    for whole in (False, True):
        out = tmp_path / f"out-{whole}"
        export(find_run(str(run), workspace), out, workspace, whole=whole)
        assert AutoTokenizer.from_pretrained(out).chat_template == template


# --- the whole model -----------------------------------------------------------------------------------------------


def test_a_merged_model_answers_as_the_adapter_does(kind: Path, base: Path, workspace: Workspace) -> None:
    out = workspace.cache_dir / "whole"
    agreement = export(find_run(str(kind), workspace), out, workspace, whole=True).agreement
    assert agreement is not None
    assert agreement.merged < 1e-5
    assert agreement.base > 0.1
    merged, apart = AutoModelForCausalLM.from_pretrained(out), with_adapter(base, kind / "adapter")
    assert torch.allclose(logits(merged, out), logits(apart, base), atol=1e-4)
    assert (logits(merged, out) - logits(AutoModelForCausalLM.from_pretrained(base), base)).abs().max() > 0.1
    assert names(out.parent) == {"whole"}
    assert "adapter_config.json" not in names(out)


def test_a_merged_model_stops_at_the_end_of_a_turn(run: Path, base: Path, workspace: Workspace) -> None:
    out = workspace.cache_dir / "whole"
    export(find_run(str(run), workspace), out, workspace, whole=True)
    known = ChatFormat(AutoTokenizer.from_pretrained(base))
    told = json.loads((out / "generation_config.json").read_text())
    assert told["eos_token_id"] == list(known.stop_ids)
    assert known.end_of_turn in told["eos_token_id"]
    assert known.end_of_turn != known.tokenizer.eos_token_id
    assert told["pad_token_id"] not in told["eos_token_id"]
    assert (told["do_sample"], told["temperature"]) == (True, 0.7)
    assert AutoTokenizer.from_pretrained(out).eos_token == "<|im_end|>"
    assert ChatFormat(AutoTokenizer.from_pretrained(out)).prompt(TALK) == known.prompt(TALK)


def test_an_end_of_sequence_that_the_template_writes_elsewhere_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    base_at(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = "{{ eos_token }}" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "base")
    run = run_at(tmp_path / JOB, tmp_path / "base")
    export(find_run(str(run), workspace), tmp_path / "out", workspace, whole=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<eos>"


def test_weights_keep_their_type_and_big_ones_lie_in_shards(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "SHARD", "200KB")
    base_at(tmp_path / "base", torch.bfloat16)
    run = run_at(tmp_path / JOB, tmp_path / "base")
    agreement = export(find_run(str(run), workspace), tmp_path / "out", workspace, whole=True).agreement
    shards = sorted((tmp_path / "out").glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    assert {tensor.dtype for shard in shards for tensor in load_file(shard).values()} == {torch.bfloat16}
    assert agreement is not None
    assert 0 < agreement.merged < agreement.limit < agreement.base / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("effect", [1e-5, 0.01, 0.11, 0.5])
def test_a_base_model_without_its_adapter_never_passes_for_merged(dtype: torch.dtype, effect: float) -> None:
    unmerged = Agreement(merged=effect, base=effect, dtype=dtype)
    rounding = merging.TOLERANCE.get(dtype, merging.ROUNDED)
    assert (unmerged.merged > unmerged.limit) == (effect > rounding)
    assert unmerged.limit <= rounding


def test_a_model_that_was_not_written_as_it_was_merged_is_refused(
    run: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = LlamaForCausalLM.save_pretrained

    def spoilt(self: Any, *given: Any, **named: Any) -> None:
        self.model.layers[1].mlp.down_proj.weight.data.mul_(1.5)
        written(self, *given, **named)

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", spoilt)
    with pytest.raises(MergeDiffers, match=r"off by \d+\.\d\d% of their spread, and 0\.10% is the most"):
        export(find_run(str(run), workspace), workspace.cache_dir / "out", workspace, whole=True)
    assert names(workspace.cache_dir) == set()


def test_nothing_is_merged_into_weights_that_lie_quantised(base: Path, workspace: Workspace, tmp_path: Path) -> None:
    small = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(base, quantization_config=small).save_pretrained(tmp_path / "small")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "small")
    run = run_at(tmp_path / JOB, base)
    config = run / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), str(tmp_path / "small")))
    provenance = run / "provenance.json"
    provenance.write_text(provenance.read_text().replace(str(base), str(tmp_path / "small")))
    with pytest.raises(NotMergeable, match="Export the adapter without --merge"):
        export(find_run(str(run), workspace), tmp_path / "out", workspace, whole=True)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_left_alone(run: Path, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("words")
    (tmp_path / "file").write_text("words")
    for taken in ("mine", "file"):
        with pytest.raises(FolderTaken):
            export(find_run(str(run), workspace), tmp_path / taken, workspace)
    assert names(tmp_path / "mine") == {"thesis.tex"}
    (tmp_path / "empty").mkdir()
    assert export(find_run(str(run), workspace), tmp_path / "empty", workspace).folder == tmp_path / "empty"
    assert "README.md" in names(tmp_path / "empty")


@pytest.mark.parametrize("whole", [False, True])
def test_a_broken_adapter_leaves_nothing_behind(base: Path, workspace: Workspace, tmp_path: Path, whole: bool) -> None:
    run = run_at(tmp_path / JOB, base)
    weights = run / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterUnreadable):
        export(find_run(str(run), workspace), tmp_path / "there" / "out", workspace, whole=whole)
    assert names(tmp_path / "there") == set()


def test_an_adapter_whose_weights_are_not_finite_is_not_merged(
    base: Path, workspace: Workspace, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    run = run_at(tmp_path / JOB, base)
    weights = run / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values()))[0] = torch.nan
    save_file(tensors, weights)
    with pytest.raises(AdapterUnreadable):
        export(find_run(str(run), workspace), tmp_path / "out", workspace, whole=True)


def test_a_base_model_that_is_gone_is_said_in_a_sentence(base: Path, workspace: Workspace, tmp_path: Path) -> None:
    run = run_at(tmp_path / JOB, base)
    for name in ("provenance.json", "adapter/adapter_config.json"):
        (run / name).write_text((run / name).read_text().replace(str(base), str(base.with_name("gone"))))
    for whole in (False, True):
        with pytest.raises(BaseModelUnavailable):
            export(find_run(str(run), workspace), tmp_path / "out", workspace, whole=whole)


def test_a_run_is_found_by_its_id_and_by_its_folder(base: Path, workspace: Workspace, tmp_path: Path) -> None:
    folder = run_at(workspace.artifact_root / "runs" / JOB, base)
    assert find_run(JOB, workspace) == find_run(str(folder), workspace)
    for unknown in ("zzzzzzzzzzzz", str(tmp_path), "..", f"../runs/{JOB}"):
        with pytest.raises(NoFinishedRun, match=re.escape(unknown)):
            find_run(unknown, workspace)
    (folder / "retrain.json").write_text("{}")
    with pytest.raises(RunToRetrain):
        find_run(JOB, workspace)


def test_an_older_runs_provenance_is_not_made_up(base: Path, workspace: Workspace, tmp_path: Path) -> None:
    run = run_at(tmp_path / JOB, base)
    (run / "provenance.json").unlink()
    found = find_run(str(run), workspace)
    assert not found.found.recorded
    export(found, tmp_path / "out", workspace)
    assert "| Learnt from | not recorded |" in (tmp_path / "out" / "README.md").read_text()


# --- GGUF ----------------------------------------------------------------------------------------------------------


def test_a_gguf_file_comes_of_the_merged_model(run: Path, workspace: Workspace, tmp_path: Path) -> None:
    how = ToGguf(find_converter(converter_in(tmp_path / "llama.cpp")), Outtype.Q8_0)
    made = export(find_run(str(run), workspace), tmp_path / "taken", workspace, to_gguf=how)
    assert made.gguf == "olga-v1-q8_0.gguf"
    written = (tmp_path / "taken" / made.gguf).read_bytes()
    assert json.loads(written.removeprefix(b"GGUF")) == ["taken", "q8_0", "olga-v1"]
    assert f"llama-cli -m {made.gguf}" in (tmp_path / "taken" / "README.md").read_text()
    assert not [name for name in names(tmp_path / "taken") if name.startswith(".")]


def test_a_converter_that_fails_leaves_nothing_of_the_merged_model(
    run: Path, workspace: Workspace, tmp_path: Path
) -> None:
    how = ToGguf(find_converter(converter_in(tmp_path / "llama.cpp", "raise SystemExit(3)")), Outtype.F16)
    with pytest.raises(ConverterFailed, match="it ended with 3"):
        export(find_run(str(run), workspace), tmp_path / "there" / "out", workspace, to_gguf=how)
    assert names(tmp_path / "there") == set()
