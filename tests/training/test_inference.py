"""The warm engine: the right voice for every question, whoever asks when."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch

from tests.training.conftest import Finished
from training.adapters import TEMPLATE_FILE
from training.chat import DEFAULT_TEMPLATE, ChatFormat
from training.errors import BaseModelUnavailable
from training.inference import Answer, Engine, generate
from training.models import choose, load
from training.persona.sheet import find_persona
from training.schema import ChatReply, ChatSpec, Message, Workspace


def ask(engine: Engine, runs: Finished, persona: str, adapter: Path | None, **changes: object) -> ChatReply:
    asked = {"temperature": 0, "max_new_tokens": 24, **changes}
    text = Message(role="user", content="What makes you happy?")
    spec = ChatSpec(guild_id="1", persona=persona, messages=(text,)).model_copy(update=asked)
    who = find_persona(runs.workspace, "1", persona)
    return engine.reply(spec, who, adapter, 3 if adapter else None)


@pytest.fixture(scope="module")
def engine(finished: Finished) -> Engine:
    return Engine(finished.workspace)


def test_a_reply_says_who_answered_and_with_what(engine: Engine, finished: Finished) -> None:
    reply = ask(engine, finished, "glordon", finished.folders["glordon"] / "adapter")
    assert (reply.persona, reply.name, reply.version) == ("glordon", "Glordon", 3)
    assert reply.rehearsal
    assert 0 < reply.tokens <= 24
    assert reply.seconds > 0


def test_adapters_differ_and_the_base_stays_itself(engine: Engine, finished: Finished) -> None:
    one, other = (finished.folders[name] / "adapter" for name in ("glordon", "olga"))
    fresh = ask(Engine(finished.workspace), finished, "glordon", None).text
    first = ask(engine, finished, "glordon", one).text
    second = ask(engine, finished, "glordon", other).text
    assert len({fresh, first, second}) == 3
    assert ask(engine, finished, "glordon", None).text == fresh
    assert ask(engine, finished, "glordon", one).text == first


def test_many_threads_get_each_the_voice_they_asked_for(engine: Engine, finished: Finished) -> None:
    adapters = {name: folder / "adapter" for name, folder in finished.folders.items()}
    alone = {name: ask(engine, finished, name, folder).text for name, folder in adapters.items()}
    heard: list[tuple[str, str]] = []

    def talk(name: str) -> None:
        heard.append((name, ask(engine, finished, name, adapters[name]).text))

    threads = [threading.Thread(target=talk, args=(name,)) for name in [*adapters] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(heard) == sorted((name, alone[name]) for name in [*adapters] * 4)


def test_sampling_follows_its_seed(engine: Engine, finished: Finished) -> None:
    one, same, other = (ask(engine, finished, "olga", None, temperature=1.5, seed=seed).text for seed in (1, 1, 2))
    assert one == same != other


def test_a_long_history_still_gets_an_answer(engine: Engine, finished: Finished) -> None:
    turns = [Message(role=role, content="on and on " * 30) for _ in range(60) for role in ("user", "assistant")]  # type: ignore[arg-type]
    reply = ask(engine, finished, "olga", None, messages=(*turns, Message(role="user", content="And now?")))
    assert reply.tokens > 0


def test_batches_answer_as_one_at_a_time(finished: Finished) -> None:
    base = choose(None, finished.workspace)
    loaded = load(base, base.id, finished.workspace)
    prompts = [
        loaded.format.prompt([Message(role="user", content=text)])
        for text in ("Hi!", "Where did you grow up, and what was it like there?", "Why?")
    ]
    together = generate(loaded.model, loaded.format, prompts, max_new_tokens=12)
    apart = [generate(loaded.model, loaded.format, [prompt], max_new_tokens=12)[0] for prompt in prompts]
    assert together == apart
    assert all(answer.ended == (answer.tokens < 12) for answer in together)


def test_an_answer_ends_where_the_turn_ends(finished: Finished) -> None:
    base = choose(None, finished.workspace)
    loaded = load(base, base.id, finished.workspace)
    prompt = loaded.format.prompt([Message(role="user", content="Hi!")])
    likeliest = int(loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1].argmax())
    # Let the very first token that it would say be the one that ends a turn.
    loaded.format.end_of_turn = likeliest
    assert generate(loaded.model, loaded.format, [prompt], max_new_tokens=3) == [Answer("", 0, True)]


def test_an_adapter_without_its_base_says_so(finished: Finished, tmp_path: Path, chat_format: ChatFormat) -> None:
    gone = tmp_path / "adapter"
    gone.mkdir()
    for file in (finished.folders["olga"] / "adapter").iterdir():
        (gone / file.name).write_bytes(file.read_bytes())
    config = gone / "adapter_config.json"
    config.write_text(config.read_text().replace(finished.workspace.base_model, "/no/such/folder"))
    with pytest.raises(BaseModelUnavailable, match="train the persona again"):
        ask(Engine(finished.workspace), finished, "olga", gone)


def test_an_adapter_is_spoken_to_as_it_was_trained(finished: Finished, tmp_path: Path) -> None:
    """Whatever the tokenizer of its base says by now; here the base lost its template, and got our own instead."""
    bare, workspace = tmp_path / "warehouse/bare", finished.workspace
    shutil.copytree(workspace.base_model, bare)
    (bare / "chat_template.jinja").unlink()
    adapter = tmp_path / "adapter"
    shutil.copytree(finished.folders["olga"] / "adapter", adapter)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace(workspace.base_model, str(bare)))
    said = ask(Engine(workspace), finished, "olga", finished.folders["olga"] / "adapter").text
    engine = Engine(workspace)
    assert ask(engine, finished, "olga", adapter).text == said
    assert engine._loaded is not None
    assert engine._loaded.format.is_default
    (adapter / TEMPLATE_FILE).write_text(DEFAULT_TEMPLATE)
    assert ask(engine, finished, "olga", adapter).text != said


def test_the_base_model_is_made_ready_from_a_workspace_alone(tiny_workspace: Workspace, finished: Finished) -> None:
    reply = ask(Engine(tiny_workspace), finished, "glordon", None)
    assert reply.version is None
    assert reply.base_model == "standin"
