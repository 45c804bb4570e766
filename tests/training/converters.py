"""Stand-ins for llama.cpp's converter: real scripts, which check what they are given."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from training.gguf import CONVERTER

STAND_IN = f"""#!{sys.executable}
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--outfile", type=pathlib.Path)
parser.add_argument("--outtype", choices=["f16", "q8_0"])
parser.add_argument("--model-name")
given = parser.parse_args()
there = {{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}}
missing = there - {{path.name for path in given.model.iterdir()}}
assert not missing, missing
told = [given.model.name, given.outtype, given.model_name]
given.outfile.write_bytes(b"GGUF" + json.dumps(told).encode())
"""


def converter_in(folder: Path, script: str = STAND_IN) -> Path:
    """Make llama.cpp's folder, with this converter."""
    folder.mkdir()
    (folder / CONVERTER).write_text(script)
    (folder / CONVERTER).chmod(stat.S_IRWXU)
    return folder
