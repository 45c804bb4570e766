"""A merged model as one GGUF file, by llama.cpp's own converter."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

from training.errors import ConverterFailed, ConverterMissing
from training.runs import sync

CONVERTER = "convert_hf_to_gguf.py"
MAGIC = b"GGUF"
log = logging.getLogger(__name__)


class Outtype(StrEnum):
    """How a GGUF file keeps the weights: in 8 bits, or in 16."""

    Q8_0 = "q8_0"
    F16 = "f16"


def find_converter(llama_cpp: Path | None) -> list[str]:
    """The command that converts: the script in llama.cpp's folder, else the one on PATH. Raises ConverterMissing."""
    if llama_cpp is not None:
        script = llama_cpp / CONVERTER
        if not script.is_file():
            raise ConverterMissing(where=f"in {llama_cpp}")
        return [sys.executable, str(script.absolute())]
    if found := shutil.which(CONVERTER):
        return [found]
    raise ConverterMissing(where="on PATH")


def convert(converter: list[str], model: Path, target: Path, outtype: Outtype, name: str) -> None:
    """Write the model in a folder as `target`, complete or not at all, and call it `name` in there.

    Raises ConverterFailed.
    """
    beside = target.with_name(f".{target.name}.tmp")
    how = ["--outfile", str(beside), "--outtype", outtype.value, "--model-name", name]
    try:
        _run([*converter, str(model), *how])
        if not beside.is_file() or _head(beside) != MAGIC:
            raise ConverterFailed(reason="it ended well, but wrote none")
        sync(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ConverterFailed(reason=error.strerror or "it cannot be started") from error
    if done.returncode:
        log.info("llama.cpp's converter failed (%d):\n%s", done.returncode, done.stderr)
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ConverterFailed(reason=said[-1].rstrip(".") if said else f"it ended with {done.returncode}")


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(len(MAGIC))
