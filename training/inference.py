"""Talking with personas: one warm base model, many adapters."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training import models
from training.adapters import format_of
from training.chat import ChatFormat
from training.errors import AdapterUnreadable
from training.memory import TOGETHER, written_at_once
from training.models import Loaded
from training.schema import ChatReply, ChatSpec, Message, Persona, Workspace

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTERS_KEPT = 16


@dataclass(frozen=True)
class Answer:
    """What a model wrote. `ended` says whether it stopped by itself; `tokens` counts what it wrote until then."""

    text: str
    tokens: int
    ended: bool


def generate(
    model: Any,
    chat_format: ChatFormat,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    lockstep: bool = False,
    together: int = TOGETHER,
) -> list[Answer]:
    """One answer a prompt, in order; temperature 0 always takes the likeliest token.

    lockstep: several processes write the same together, since the model's weights are spread over them.
    together: how many prompts make a batch, each of which draws from the seed anew.
    """
    answers: list[Answer] = []
    was_training = model.training
    model.eval()
    for begin in range(0, len(prompts), together):
        batch = prompts[begin : begin + together]
        with torch.inference_mode(), _seeded(seed):
            written = model.generate(
                **_left_padded(batch, chat_format.pad, model.device),
                max_new_tokens=max_new_tokens,
                pad_token_id=chat_format.pad,
                eos_token_id=list(chat_format.stop_ids),
                synced_gpus=lockstep,
                **sampling(temperature),
            )
        width = max(len(prompt) for prompt in batch)
        answers += [_answer(row[width:].tolist(), chat_format) for row in written]
    model.train(was_training)
    return answers


def at_once(model: Any, tokens: int, most: int = TOGETHER) -> int:
    """How many texts of so many tokens are written at once, by what their keys and values take."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return written_at_once(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize * tokens, most)


class Engine:
    """Answers as personas. The base model is loaded at the first answer; safe to call from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._peft: PeftModel | None = None
        self._names: OrderedDict[tuple[Path, int], str] = OrderedDict()

    def reply(self, spec: ChatSpec, persona: Persona, adapter_dir: Path | None, version: int | None) -> ChatReply:
        """The persona's next turn in the conversation of `spec`, its system card in front.

        The oldest rounds are dropped where all would not fit. Raises BaseModelUnavailable.
        """
        begun = time.monotonic()
        card = Message(role="system", content=persona.system_card())
        with self._lock:
            loaded = self._base_for(adapter_dir)
            answer = self._answers(loaded, [[card, *spec.messages]], adapter_dir, spec)[0]
        return ChatReply(
            persona=persona.slug,
            name=persona.name,
            version=version,
            base_model=loaded.base.id,
            rehearsal=loaded.base.rehearsal,
            text=answer.text,
            tokens=answer.tokens,
            seconds=time.monotonic() - begun,
        )

    def _answers(
        self, loaded: Loaded, conversations: Sequence[Sequence[Message]], adapter_dir: Path | None, spec: ChatSpec
    ) -> list[Answer]:
        room = max(1, loaded.context - spec.max_new_tokens)
        chat_format = format_of(adapter_dir, loaded.format) if adapter_dir else loaded.format
        prompts = [chat_format.fit_prompt(messages, room) for messages in conversations]
        with self._speaking(loaded, adapter_dir) as model:
            return generate(
                model,
                chat_format,
                prompts,
                max_new_tokens=spec.max_new_tokens,
                temperature=spec.temperature,
                seed=spec.seed,
            )

    def _base_for(self, adapter_dir: Path | None) -> Loaded:
        """The base model that the adapter was trained on, else the operator's own; only one is kept in memory."""
        if adapter_dir is None:
            source = models.find_source(models.choose(None, self._workspace), self._workspace)
        else:
            source = adapter_source(adapter_dir)
        if self._loaded is None or self._loaded.source != source:
            # Let go of the old one first: two may not fit.
            self._loaded, self._peft = None, None
            self._names.clear()
            self._loaded = models.load(models.base_at(source), source, self._workspace)
        return self._loaded

    @contextmanager
    def _speaking(self, loaded: Loaded, adapter_dir: Path | None) -> Iterator[Any]:
        """The model with exactly this adapter switched on."""
        if adapter_dir is not None:
            name = self._adapter(loaded, adapter_dir)
            assert self._peft is not None
            self._peft.set_adapter(name)
            yield self._peft
        elif self._peft is not None:
            with self._peft.disable_adapter():
                yield self._peft
        else:
            yield loaded.model

    def _adapter(self, loaded: Loaded, adapter_dir: Path) -> str:
        """The adapter's name in the model; loads it if it is new or was written anew, and forgets the least used."""
        from peft import PeftModel

        key = (adapter_dir.resolve(), (adapter_dir / "adapter_model.safetensors").stat().st_mtime_ns)
        if key not in self._names:
            name = f"adapter-{abs(hash(key)):x}"
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(loaded.model, adapter_dir, adapter_name=name)
                self._peft.eval()
            else:
                self._peft.load_adapter(str(adapter_dir), adapter_name=name)
            self._names[key] = name
        self._names.move_to_end(key)
        while len(self._names) > ADAPTERS_KEPT and self._peft is not None:
            self._peft.delete_adapter(self._names.popitem(last=False)[1])
        return self._names[key]


def adapter_source(adapter_dir: Path) -> str:
    """The folder or hub name of the base model that an adapter was trained on."""
    path = adapter_dir / "adapter_config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError) as error:
        raise AdapterUnreadable(path=adapter_dir.parent.name) from error


def _left_padded(batch: Sequence[list[int]], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    width = max(len(prompt) for prompt in batch)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in batch], device=device)
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch], device=device)
    return {"input_ids": ids, "attention_mask": seen}


def sampling(temperature: float) -> dict[str, Any]:
    """How tokens are drawn at a temperature, as transformers takes it; at 0 the likeliest is taken."""
    if temperature > 0:
        return {"do_sample": True, "temperature": temperature, "top_p": 0.95, "top_k": 0}
    return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw as the seed says, and leave the process's own random numbers as they were."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _answer(written: list[int], chat_format: ChatFormat) -> Answer:
    end = next((i for i, token in enumerate(written) if token in chat_format.stop_ids), None)
    kept = written if end is None else written[:end]
    text = chat_format.tokenizer.decode(kept, skip_special_tokens=True).strip()
    return Answer(text, len(kept), end is not None)
