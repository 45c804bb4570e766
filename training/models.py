"""Which base models may be used, how they are loaded, and how much memory they take."""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError
from pydantic import Field
from safetensors import SafetensorError

from training import standin
from training.chat import ChatFormat
from training.decoder.forward import bf16_on_card, compute_dtype
from training.errors import BaseModelNotAllowed, BaseModelUnavailable, NotInFourBits, PackageMissing, PathNotAllowed
from training.main_memory import main_memory
from training.memory import BIG_MODEL, GIB, Shape, in_four_bits, measure
from training.places import SHIPPED
from training.ranks import Ranks
from training.schema import Machine, Noun, Workspace
from training.sharding import shard

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

CATALOG = SHIPPED / "catalog" / "models.toml"
log = logging.getLogger(__name__)
FOLDERS = re.compile(r"(?<![\w:/.~-])~?(?:/[^/\s'\"]+)*/(?=[^/\s'\"])")
"""What stands in front of the last name of an absolute path; the paths of web addresses are not absolute."""
HUB_CACHE = Path(HF_HUB_CACHE)
UNREACHABLE = (OSError, ValueError, KeyError, HfHubHTTPError)
BLOCK = 64
"""Weights that share one scale in 4 bits. bitsandbytes' CPU kernels read them row by row, so that there a row must hold
whole blocks; its CUDA kernels read a matrix as one long row."""


class Base(Noun):
    """A base model: a row of `catalog/models.toml`, whose head says what each field holds, or one of the operator's."""

    id: str
    license: str = "see the model's own page"
    context: int = 4096
    learning_rate: float = 2e-4
    batch_size: int = 16
    targets: str = "all-linear"
    chat: bool = True
    template: str | None = None
    rehearsal: bool = False
    architecture: dict[str, int | bool | str] = Field(default_factory=dict)

    def config(self) -> PretrainedConfig:
        """The configuration of a model of the row's dimensions; of a row that has them."""
        from transformers import AutoConfig

        return AutoConfig.for_model(**self.architecture)


@dataclass(frozen=True)
class Loaded:
    """A base model in memory. `source` is the folder or hub name that it came from, for adapters to point at."""

    base: Base
    source: str
    model: PreTrainedModel
    format: ChatFormat
    device: torch.device

    @property
    def context(self) -> int:
        """Tokens that a prompt and its answer may take together."""
        return min(self.base.context, self.model.config.max_position_embeddings)


@cache
def catalog() -> dict[str, Base]:
    """The rows of `catalog/models.toml` by id."""
    table = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
    return {name: Base(id=name, **row) for name, row in table.items()}


def choose(name: str | None, workspace: Workspace, machine: Machine | None = None) -> Base:
    """The base model that a run on `machine`, else on this one, asked for by `name`; None is the operator's own choice.

    The operator may name any hub model or folder; everybody else a catalog row, what the operator allowed, or a folder
    under the artifact root or the warehouse. Raises BaseModelNotAllowed, PathNotAllowed or BaseModelUnavailable.
    """
    wanted = name or workspace.base_model
    if wanted == "auto":
        where = machine.device if machine else device().type
        wanted = "deepseek-ai/deepseek-llm-7b-chat" if where == "cuda" else standin.ID
    rows = catalog()
    if wanted in rows:
        return rows[wanted]
    if wanted in (workspace.base_model, *workspace.allowed_base_models):
        return _unlisted(wanted)
    if Path(wanted).is_absolute():
        return _unlisted(_allowed_folder(wanted, workspace))
    raise BaseModelNotAllowed(name=wanted, choices=", ".join([*rows, *workspace.allowed_base_models]))


def _unlisted(name: str) -> Base:
    """A model outside the catalog; a folder that holds a stand-in stays a rehearsal wherever it lies."""
    if (Path(name) / standin.MARKER).is_file():
        return catalog()[standin.ID].model_copy(update={"id": name})
    return Base(id=name)


def _allowed_folder(given: str, workspace: Workspace) -> str:
    real = Path(os.path.realpath(given))
    root, warehouse = (Path(os.path.realpath(p)) for p in (workspace.artifact_root, workspace.dataset_warehouse))
    private = any(real.is_relative_to(root / folder) for folder in ("guilds", "runs"))
    if private or not (real.is_relative_to(root) or real.is_relative_to(warehouse)):
        raise PathNotAllowed(path=given)
    if not (real / "config.json").is_file():
        raise BaseModelUnavailable(name=given, reason="the folder holds no config.json")
    return str(real)


def device() -> torch.device:
    """Where models run on this machine."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The device as people know it."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def this_machine() -> Machine:
    """What this machine trains on. Where it has a card this takes some of its memory, as long as the process lives."""
    if not torch.cuda.is_available():
        return without_card()
    free, total = torch.cuda.mem_get_info()
    return Machine(
        device="cuda",
        name=torch.cuda.get_device_name(),
        free_gib=free / GIB,
        total_gib=total / GIB,
        main_free_gib=main_memory()[0] / GIB,
        bf16=bf16_on_card(),
    )


def without_card() -> Machine:
    """This machine as if it had no card; none is looked for."""
    free, total = main_memory()
    bf16 = compute_dtype(torch.device("cpu")) == torch.bfloat16
    return Machine(device="cpu", name="cpu", free_gib=free / GIB, total_gib=total / GIB, bf16=bf16)


def load_format(base: Base, workspace: Workspace) -> ChatFormat:
    """The tokenizer and chat template alone; the stand-in's is made on the spot, before there is a model."""
    if base.id == standin.ID:
        return ChatFormat(standin.standin_tokenizer())
    with _explained(base):
        return ChatFormat(_tokenizer(base, base.id, _hub_arguments(workspace)))


def is_downloaded(base: Base) -> bool:
    """Whether the model's tokenizer and configuration are on this machine; asks no hub."""
    from huggingface_hub import try_to_load_from_cache

    if base.id == standin.ID or Path(base.id).is_absolute():
        return True
    read_first = ("config.json", "tokenizer_config.json")
    return all(isinstance(try_to_load_from_cache(base.id, name), str) for name in read_first)


def has_weights(base: Base) -> bool:
    """Whether all of the model's weights are on this machine; asks no hub."""
    from huggingface_hub import try_to_load_from_cache

    def found(name: str) -> Path | None:
        path = try_to_load_from_cache(base.id, name)
        return Path(path) if isinstance(path, str) else None

    if base.id == standin.ID or Path(base.id).is_absolute() or found("model.safetensors"):
        return True
    if (index := found("model.safetensors.index.json")) is None:
        return False
    return all(map(found, set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())))


def load_config(base: Base, workspace: Workspace) -> PretrainedConfig:
    """The model's configuration, by the catalog's row where it has dimensions; no weights are read."""
    from transformers import AutoConfig

    if base.id == standin.ID:
        return standin.standin_config()
    if base.architecture:
        return base.config()
    with _explained(base):
        return AutoConfig.from_pretrained(base.id, **_hub_arguments(workspace))


def find_source(base: Base, workspace: Workspace, on_build: Callable[[float], None] = lambda done: None) -> str:
    """The folder or hub name that the model is loaded from.

    A stand-in is made first where there is none; `on_build` hears how much of it is done (0–1).
    """
    return str(standin.ensure_standin(workspace.cache_dir, on_build)) if base.id == standin.ID else base.id


def base_at(source: str) -> Base:
    """What is known of a model that an adapter was trained on, by the folder or hub name that it came from."""
    if (Path(source) / standin.MARKER).is_file():
        return catalog()[standin.ID]
    return catalog().get(source) or Base(id=source)


def load(
    base: Base, source: str, workspace: Workspace, *, quantised: bool | None = None, spread: Ranks | None = None
) -> Loaded:
    """The base model in memory, frozen, ready for adapters.

    On CUDA in bf16, or in 4 bits where bf16 weights would take more than 60 % of what is free; on CPU in fp32, from a
    billion parameters on in bf16. Safetensors only; no code from the hub is run.

    quantised: whether the layers that LoRA adapts are kept in 4 bits (nf4, double-quantised), on whatever device; the
    embeddings and the head never are. spread: the processes that each keep a part of the layers; the whole goes through
    main memory. Raises BaseModelUnavailable, NotInFourBits or PackageMissing.
    """
    from transformers import AutoConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if Path(source).is_absolute() and not Path(source).is_dir():
        raise BaseModelUnavailable(name=base.id, reason="its folder is gone; train the persona again")
    where, hub = device(), _hub_arguments(workspace)
    with _explained(base):
        shape = measure(AutoConfig.from_pretrained(source, **hub))
        tokenizer = _tokenizer(base, source, hub)
        first = "cpu" if spread else where
        model = _whole(base, source, device_map={"": first}, **_weights(base, shape, quantised), **hub)
    if base.rehearsal:
        # So small a model gains little from a second thread, and loses all where another process wants that core.
        torch.set_num_threads(1)
    _keep_layout(model)
    model.requires_grad_(False)
    model.eval()
    if spread:
        shard(model, spread, where)
    return Loaded(base, source, model, ChatFormat(tokenizer), where)


def load_as_stored(base: Base, source: str, workspace: Workspace) -> Loaded:
    """The base model in main memory, its weights of the type that its files hold: what an adapter is merged into.

    Raises BaseModelUnavailable or PackageMissing.
    """
    hub = _hub_arguments(workspace)
    with _explained(base):
        tokenizer = _tokenizer(base, source, hub)
        model = _whole(base, source, device_map={"": "cpu"}, dtype="auto", **hub)
    model.requires_grad_(False)
    model.eval()
    return Loaded(base, source, model, ChatFormat(tokenizer), torch.device("cpu"))


def _whole(base: Base, source: str, **how: Any) -> PreTrainedModel:
    """The model with all of its weights, from safetensors only."""
    from transformers import AutoModelForCausalLM

    # Sizes that do not match are told of in `found` too, and not by a RuntimeError as a full card is.
    how |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, found = AutoModelForCausalLM.from_pretrained(source, **how)
    astray = len(found["missing_keys"]) + len(found["mismatched_keys"])
    if astray:
        raise BaseModelUnavailable(name=base.id, reason=f"{astray} of its weights are missing or of another size")
    return model


def _tokenizer(base: Base, source: str, hub: dict[str, Any]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, **hub)
    except ValueError as error:
        raise BaseModelUnavailable(name=base.id, reason="its tokenizer is missing or broken") from error


def _weights(base: Base, shape: Shape, quantised: bool | None) -> dict[str, Any]:
    """How the weights are kept, as transformers takes it."""
    machine = this_machine()
    if quantised is None:
        quantised = in_four_bits(shape, machine)
    if quantised:
        return _four_bits(base, shape, device())
    half = machine.bf16 if machine.device == "cuda" else shape.parameters >= BIG_MODEL
    return {"dtype": torch.bfloat16 if half else torch.float32}


def _four_bits(base: Base, shape: Shape, where: torch.device) -> dict[str, Any]:
    """nf4 with its scales quantised too; all else of the model in the type that is computed in."""
    from transformers import BitsAndBytesConfig

    dtype = compute_dtype(where)
    odd = sorted({inputs for inputs, _ in shape.linears if inputs % BLOCK})
    if odd and where.type == "cpu":
        raise NotInFourBits(name=base.id, widths=", ".join(map(str, odd)), block=BLOCK)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"dtype": dtype, "quantization_config": nf4}


def _keep_layout(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from laying out 4-bit weights anew at the first pass without gradients, as it does on a CPU
    with AVX512-BF16: what reads them afterwards, for gradients too, takes them for the first layout."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _explained(base: Base) -> Iterator[None]:
    """Says in one sentence why a model could not be read; the log has the rest."""
    try:
        yield
    except ImportError as error:
        log.warning("The base model %s could not be loaded.", base.id, exc_info=True)
        raise PackageMissing(name=base.id, reason=_reason(error)) from error
    except SafetensorError as error:
        log.warning("The base model %s could not be loaded.", base.id, exc_info=True)
        raise BaseModelUnavailable(name=base.id, reason="a file of its weights is cut short or broken") from error
    except UNREACHABLE as error:
        log.warning("The base model %s could not be loaded.", base.id, exc_info=True)
        raise BaseModelUnavailable(name=base.id, reason=_reason(error)) from error


def _reason(error: Exception) -> str:
    """The first line of a library's error, without the folders of this machine: the sentence may go into a channel."""
    if isinstance(error, json.JSONDecodeError):
        return "a JSON file of it is cut short or broken"
    first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return FOLDERS.sub("", first)


def _hub_arguments(workspace: Workspace) -> dict[str, Any]:
    token = workspace.hf_token.get_secret_value() if workspace.hf_token else None
    return {"trust_remote_code": False, "token": token}
