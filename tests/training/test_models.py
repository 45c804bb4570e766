"""Which base models may be used, and what they take."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import is_bitsandbytes_available

from training import models
from training.errors import BaseModelNotAllowed, BaseModelUnavailable, PackageMissing, PathNotAllowed
from training.memory import GIB, Load, Means, footprint, measure
from training.models import catalog, choose, load, without_card
from training.schema import Hyperparameters, Machine, Workspace
from training.standin import standin_config


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(
        artifact_root=tmp_path / "artifacts",
        dataset_warehouse=tmp_path / "warehouse",
        cache_dir=tmp_path / "cache",
        allowed_base_models=("org/extra",),
    )
    for folder in ("artifacts/models/own", "artifacts/guilds/2/own", "warehouse/own", "elsewhere/own"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    return made


def test_the_catalog_reads_and_only_the_stand_in_is_a_rehearsal() -> None:
    rows = catalog()
    assert {"standin", "deepseek-ai/deepseek-llm-7b-chat", "mistralai/Mistral-7B-Instruct-v0.2"} <= set(rows)
    assert [name for name, row in rows.items() if row.rehearsal] == ["standin"]
    assert all(row.license and row.context >= 1024 for row in rows.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto means another model there")
def test_auto_is_the_stand_in_without_a_gpu(workspace: Workspace) -> None:
    assert choose(None, workspace).id == "standin"
    assert choose("Qwen/Qwen3-0.6B", workspace).id == "Qwen/Qwen3-0.6B"


def test_what_the_operator_named_is_allowed(workspace: Workspace, tmp_path: Path) -> None:
    assert choose("org/extra", workspace).id == "org/extra"
    own = workspace.model_copy(update={"base_model": str(tmp_path / "elsewhere/own")})
    assert choose(None, own).id == str(tmp_path / "elsewhere/own")


def test_folders_are_allowed_under_the_two_roots_only(workspace: Workspace, tmp_path: Path) -> None:
    assert choose(str(tmp_path / "warehouse/own"), workspace).id == str(tmp_path / "warehouse/own")
    assert choose(str(tmp_path / "artifacts/models/own"), workspace).id == str(tmp_path / "artifacts/models/own")
    link = tmp_path / "warehouse/link"
    link.symlink_to(tmp_path / "elsewhere/own")
    sly = tmp_path / "warehouse/../elsewhere/own"
    for path in (tmp_path / "elsewhere/own", link, sly, tmp_path / "artifacts/guilds/2/own"):
        with pytest.raises(PathNotAllowed):
            choose(str(path), workspace)


def test_anything_else_is_refused_with_the_choices(workspace: Workspace) -> None:
    with pytest.raises(BaseModelNotAllowed, match=r"evil/model is not allowed here\. Choose one of: standin, .*extra"):
        choose("evil/model", workspace)


@pytest.mark.parametrize("files", [{}, {"config.json": "{}"}, {"config.json": "not json"}])
def test_a_broken_folder_is_one_sentence(workspace: Workspace, tmp_path: Path, files: dict[str, str]) -> None:
    folder = tmp_path / "warehouse/broken"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(BaseModelUnavailable) as caught:
        load(choose(str(folder), workspace), str(folder), workspace)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value.details["reason"])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no file named model.safetensors in /srv/cache/standin-1.", "no file named model.safetensors in standin-1"),
        ("the file at '/a/b/config.json' is no JSON", "the file at 'config.json' is no JSON"),
        ("/etc/x and ~/.cache/hub/y", "x and y"),
        ("org/name at https://hub.example/org/name/resolve", "org/name at https://hub.example/org/name/resolve"),
        ("and/or 1 / 2", "and/or 1 / 2"),
        ("first\nsecond", "first"),
        ("", "OSError"),
    ],
)
def test_a_reason_keeps_the_machines_folders_to_itself(said: str, shown: str) -> None:
    assert models._reason(OSError(said)) == shown


def test_a_model_that_needs_what_is_not_installed_says_so(
    tiny_standin: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Machine(device="cuda", name="a small card", free_gib=1e-6, total_gib=1e-6, bf16=True)
    monkeypatch.setattr(models, "this_machine", lambda: small)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # how Python says that it is not installed
    is_bitsandbytes_available.cache_clear()
    try:
        with pytest.raises(PackageMissing, match=r"standin .*bitsandbytes.*Install the gpu extra"):
            load(catalog()["standin"], str(tiny_standin), workspace)
    finally:
        is_bitsandbytes_available.cache_clear()


def test_pickled_weights_are_never_loaded(tiny_standin: Path, workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "warehouse/pickled"
    folder.mkdir()
    for file in tiny_standin.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save({"any": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(BaseModelUnavailable):
        load(choose(str(folder), workspace), str(folder), workspace)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def in_shards(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="150KB")


def without_a_shard(folder: Path) -> None:
    in_shards(folder)
    (folder / "model-00002-of-00004.safetensors").unlink()


def with_half_a_shard(folder: Path) -> None:
    in_shards(folder)
    cut(folder / "model-00002-of-00004.safetensors")


def with_half_an_index(folder: Path) -> None:
    in_shards(folder)
    cut(folder / "model.safetensors.index.json")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n")


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_another_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 256}))


def without_a_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (without_weights, "no file named model.safetensors"),
        (without_a_shard, "No such file or directory: model-00002-of-00004.safetensors"),
        (with_half_a_shard, "a file of its weights is cut short or broken"),
        (with_half_an_index, "a JSON file of it is cut short or broken"),
        (with_a_pointer, "a file of its weights is cut short or broken"),
        (without_a_layer, "1 of its weights are missing or of another size"),
        (with_another_width, "6 of its weights are missing or of another size"),
        (without_a_tokenizer, "its tokenizer is missing or broken"),
        (lambda folder: cut(folder / "tokenizer.json"), "its tokenizer is missing or broken"),
        (lambda folder: cut(folder / "config.json"), "not a valid JSON file"),
    ],
)
def test_half_a_download_is_one_sentence(
    broken: Callable[[Path], None], sentence: str, tiny_standin: Path, workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "warehouse/half"
    shutil.copytree(tiny_standin, folder)
    load(choose(str(folder), workspace), str(folder), workspace)
    broken(folder)
    with pytest.raises(BaseModelUnavailable, match=re.escape(sentence)) as caught:
        load(choose(str(folder), workspace), str(folder), workspace)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value.details["reason"])


def test_a_format_without_a_tokenizer_is_one_sentence(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BaseModelUnavailable, match="its tokenizer is missing or broken"):
        models.load_format(choose(str(tmp_path / "warehouse/own"), workspace), workspace)


def test_a_folder_with_a_stand_in_stays_a_rehearsal(tiny_workspace: Workspace) -> None:
    assert choose(None, tiny_workspace).rehearsal
    assert models.base_at(tiny_workspace.base_model).id == "standin"


def test_sizes_come_from_the_configuration_alone() -> None:
    shape = measure(standin_config())
    assert 1_500_000 < shape.parameters < 4_000_000
    llama_7b = measure(LlamaConfig(vocab_size=32_000))
    assert llama_7b.parameters == 6_738_415_616
    assert len(llama_7b.linears) == 32 * 7
    assert llama_7b.adapter_parameters(16) == 39_976_960


def test_memory_grows_with_what_takes_it() -> None:
    def needed(config: LlamaConfig, rank: int = 16, tokens: int = 4096, **by: bool) -> int:
        means = Means(by.get("quantised", False), by.get("redo", False), tokens)
        load = Load(tokens, tokens // 2, tokens * 512, tokens)
        return footprint(measure(config), Hyperparameters(lora_rank=rank), means, load, without_card()).total

    small, big = standin_config(), LlamaConfig(vocab_size=32_000)
    assert needed(small) < 2 * GIB
    assert needed(big) > 13 * GIB
    assert needed(big) < needed(big, rank=256)
    assert needed(small) < needed(small, tokens=8192)
    assert needed(big, redo=True) < needed(big)
    assert needed(big, quantised=True) < needed(big) - 8 * GIB
