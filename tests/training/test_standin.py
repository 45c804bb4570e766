"""The stand-in: made once, from training lines only, by one process, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from training.data.holdout import hold_out
from training.data.read import read_conversations
from training.errors import EmptyDataset
from training.places import SHIPPED
from training.standin import MARKER, UNFINISHED, Recipe, corpus, ensure_standin, standin_folder, standin_tokenizer

SMALLEST = Recipe(hidden=16, intermediate=16, layers=1, heads=1, vocabulary=400, epochs=1, batch_size=256)


def test_it_is_an_ordinary_model_folder(tiny_standin: Path) -> None:
    names = {path.name for path in tiny_standin.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", MARKER} <= names
    assert json.loads((tiny_standin / "config.json").read_text())["model_type"] == "llama"
    told = json.loads((tiny_standin / MARKER).read_text())
    assert told["seconds"] > 0


def test_it_never_sees_held_out_lines() -> None:
    words = corpus()
    seen = {row.id for row in (*words.personas, *words.general)}
    for path in (SHIPPED / "data" / "dialogues").glob("*.jsonl"):
        train, held_out = hold_out(read_conversations(path), path.stem)
        assert {row.id for row in train} <= seen
        assert not {row.id for row in held_out} & seen
        assert len(held_out) >= 20


def test_two_processes_make_one(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, torch; torch.set_num_threads(1)\n"
        "from tests.training.test_standin import SMALLEST\n"
        "from training.standin import ensure_standin\n"
        "told = []\n"
        "print(ensure_standin(pathlib.Path(sys.argv[1]), told.append, SMALLEST).name, len(told))"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=SHIPPED) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in both]
    assert said[0][0] == said[1][0]
    assert sorted(int(count) > 0 for _, count in said) == [False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["standin.lock", said[0][0]])


def test_the_same_words_and_recipe_make_the_same_model(tmp_path: Path) -> None:
    one, other = (ensure_standin(tmp_path / name, recipe=SMALLEST) for name in "ab")
    assert one.name == other.name
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert all(first[name].equal(second[name]) for name in first)


def test_a_making_that_is_ended_leaves_nothing_nor_does_one_that_was_killed_before(tmp_path: Path) -> None:
    class Ended(Exception):
        pass

    def end(done: float) -> None:
        if done > 0:
            raise Ended

    killed = tmp_path / f"{UNFINISHED}a1b2c3"
    killed.mkdir()
    (killed / "config.json").touch()
    with pytest.raises(Ended):
        ensure_standin(tmp_path, end, SMALLEST)
    assert [path.name for path in tmp_path.iterdir()] == ["standin.lock"]


def test_every_recipe_has_its_own_folder(tmp_path: Path) -> None:
    other = Recipe(hidden=16, intermediate=16, layers=1, heads=1, vocabulary=400, epochs=2, batch_size=256)
    assert standin_folder(tmp_path, SMALLEST) != standin_folder(tmp_path, other)


def test_its_tokenizer_gives_back_any_text() -> None:
    tokenizer = standin_tokenizer()
    for text in ("Warm-glow, over!", "雨は好き？", "a\n\n  b\t🐛"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_too_little_data_cannot_be_held_out() -> None:
    with pytest.raises(EmptyDataset, match="holds 0"):
        hold_out([], "nothing")
