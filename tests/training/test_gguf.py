"""llama.cpp's converter: how it is found and called, and what becomes of its failures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.training.converters import converter_in
from training.errors import ConverterFailed, ConverterMissing
from training.gguf import CONVERTER, Outtype, convert, find_converter


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of a merged model, as far as the stand-in looks."""
    folder = tmp_path / "olga"
    folder.mkdir()
    for name in ("config", "generation_config", "tokenizer"):
        (folder / f"{name}.json").write_text("{}")
    for name in ("model.safetensors", "chat_template.jinja"):
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("outtype", Outtype)
def test_the_converter_is_told_what_to_make_of_what(model: Path, tmp_path: Path, outtype: Outtype) -> None:
    found = find_converter(converter_in(tmp_path / "llama.cpp"))
    assert found[0] == sys.executable, "the script's own first line may name a Python without torch"
    convert(found, model, model / "a.gguf", outtype, "olga-v1")
    assert json.loads((model / "a.gguf").read_bytes().removeprefix(b"GGUF")) == ["olga", outtype.value, "olga-v1"]
    assert not list(model.glob(".*"))


def test_names_that_a_shell_would_read_are_names(model: Path, tmp_path: Path) -> None:
    odd = model.rename(tmp_path / "$(touch x); olga & more")
    convert(find_converter(converter_in(tmp_path / "llama cpp")), odd, odd / "a b.gguf", Outtype.F16, "a; $HOME")
    assert json.loads((odd / "a b.gguf").read_bytes().removeprefix(b"GGUF"))[2] == "a; $HOME"


def test_a_converter_is_looked_for_in_llama_cpps_folder_or_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ConverterMissing, match=r"is not on PATH\. Name llama\.cpp's folder with --llama-cpp"):
        find_converter(None)
    with pytest.raises(ConverterMissing, match="is not in "):
        find_converter(tmp_path)
    folder = converter_in(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(folder))
    assert find_converter(None) == [str(folder / CONVERTER)]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('noise\\nBPE pre-tokenizer was not recognized.\\n')", "BPE pre-tokenizer was not recog"),
        ("raise SystemExit(3)", "it ended with 3"),
        ("print('done')", "it ended well, but wrote none"),
        ("import sys; open(sys.argv[3], 'w').write('an error page')", "it ended well, but wrote none"),
        ("import sys; open(sys.argv[3], 'w').write('GGUF, but half'); sys.exit('no space left')", "no space left"),
    ],
)
def test_a_converter_that_fails_leaves_nothing_and_says_why(
    model: Path, tmp_path: Path, script: str, said: str
) -> None:
    before = set(model.iterdir())
    found = find_converter(converter_in(tmp_path / "llama.cpp", script))
    with pytest.raises(ConverterFailed, match=re.escape(said)):
        convert(found, model, model / "a.gguf", Outtype.F16, "olga")
    assert set(model.iterdir()) == before


def test_a_converter_that_cannot_be_started_is_said_in_a_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterFailed, match="No such file or directory"):
        convert([str(tmp_path / "gone")], model, model / "a.gguf", Outtype.F16, "olga")
