"""How fast and in how little memory a source becomes a dataset, beside `datasets.map` doing the same.

    .venv/bin/python -m benchmarks.data [--rows 200000] [--peer-rows 20000]

Makes UltraChat-shaped rows in a temporary folder, trains a byte-level BPE of 32,000 pieces on text of their kind, and
runs read → convert → filter → count tokens → write in processes of its own: ours undisturbed, ours killed half-way
and taken up again, and `datasets.map` with the model's own tokenizer on the first rows. Rates are rows per CPU-second
of the work, without imports; memory is the highest anonymous memory of the whole process. Ends with an error where
token counts or bytes differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEED = 20
VOCABULARY = 32_000
WORDS = 120_000
BATCH = 5000
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


# --- the rows ------------------------------------------------------------------------------------------------------


class Prose:
    """Endless text whose words are as often new as in English: Zipf's law over real and made-up words."""

    def __init__(self, seed: int) -> None:
        import numpy

        self.random = numpy.random.default_rng(seed)
        shapes = _vocabulary(self.random)
        weights = 1 / (numpy.arange(len(shapes)) + 2.7) ** 1.15
        self.steps = numpy.cumsum(weights / weights.sum())
        self.words = [*shapes, *(f"{word}," for word in shapes)]
        self.half = len(shapes)

    def sentences(self) -> Iterator[str]:
        """Sentences of 6 to 24 words, without end."""
        while True:
            lengths = self.random.integers(6, 25, BATCH)
            picks = self.steps.searchsorted(self.random.random(int(lengths.sum())))
            picks += self.half * (self.random.random(len(picks)) < 0.06)
            words = [self.words[pick] for pick in picks.tolist()]
            ends = self.random.choice(list("....?!:;"), BATCH).tolist()
            begin = 0
            for length, end in zip(lengths.tolist(), ends, strict=True):
                text = " ".join(words[begin : begin + length])
                begin += length
                yield text[0].upper() + text[1:].rstrip(",") + end


def _vocabulary(random: Any) -> list[str]:
    """The words of our own data by how often they come, then made-up ones, numbers, names and foreign words."""
    from collections import Counter

    files = [*(ROOT / "data").rglob("*.jsonl"), *(ROOT / "data").rglob("*.md")]
    seen = Counter(word for file in files for word in file.read_text(encoding="utf-8").split() if word.isalpha())
    words = dict.fromkeys(word for word, _ in seen.most_common())
    onsets, cores = (*"bcdfghlmnprstv", "st", "tr", "pl", "ch", "sh"), (*"aeiou", "ea", "ou")
    syllables = [onset + core for onset in onsets for core in cores]
    ends = ["", "n", "r", "s", "t", "ing", "ed", "ly", "tion", "'s"]
    while len(words) < WORDS:
        size = int(random.integers(1, 5))
        word = "".join(random.choice(syllables, size)) + str(random.choice(ends))
        kind = random.random()
        rare = word.capitalize() if kind < 0.12 else str(random.integers(1, 100_000)) if kind < 0.15 else word
        words.setdefault(rare + "é" if kind > 0.99 else rare)
    return list(words)[:WORDS]


def rows(count: int, seed: int = SEED) -> Iterator[dict[str, Any]]:
    """UltraChat rows of about 6.6 kB, with the quirks of the real set: odd and empty turns, lists, doubled rows."""
    prose = Prose(seed)
    pick, pool = prose.random, prose.sentences()
    kept: list[list[str]] = []
    for number in range(count):
        chance = pick.random()
        if kept and chance < 0.01:
            data = kept[int(pick.integers(len(kept)))]
        elif chance < 0.0125:
            data = [] if chance < 0.011 else ["", "   "]
        else:
            data = _dialogue(prose, pool, chance)
            if number % 50 == 0 and len(kept) < 2000:
                kept.append(data)
        yield {"id": str(number), "data": data}


def _dialogue(prose: Prose, pool: Iterator[str], chance: float) -> list[str]:
    data: list[str] = []
    for _ in range(int(prose.random.integers(2, 6))):
        data += [" ".join(islice(pool, 2)), _answer(prose, list(islice(pool, int(prose.random.integers(12, 24)))))]
    if chance > 0.98:
        data.append(next(pool))
    elif chance > 0.975:
        data[1] = ""
    elif chance > 0.97:
        data[-1] += " 你好，世界。这是一个测试。 🎭🔥"
    elif chance > 0.965:
        data[1] = "As an AI language model, I cannot answer that. " + data[1]
    return data


def _answer(prose: Prose, sentences: list[str]) -> str:
    """Paragraphs, a list, some code, or two spaces between sentences, as often as people and models write them."""
    kind = prose.random.random()
    if kind < 0.25:
        return "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(sentences, start=1))
    if kind < 0.28:
        return "```python\n" + "\n".join(f"    print({sentence!r})" for sentence in sentences) + "\n```"
    if kind < 0.31:
        return "  ".join(sentences)
    return "\n\n".join(" ".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5))


def make_source(path: Path, count: int) -> None:
    """Write the rows as JSONL."""
    import orjson

    with path.open("wb") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows(count))


def make_tokenizer(folder: Path) -> None:
    """A byte-level BPE with the pattern of the Llama-3 family, trained on text of the rows' kind."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from training.data.encoding import LLAMA3

    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((turn for row in rows(2000, SEED + 1) for turn in row["data"]), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        additional_special_tokens=SPECIAL[1:2],
        chat_template=TEMPLATE,
    )
    tokenizer.save_pretrained(folder)


# --- the two ways, each in a process of its own --------------------------------------------------------------------


def ours(source: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Read → convert → filter → count → write, by `training.data.convert`."""
    from transformers import AutoTokenizer

    from training.data import formats  # noqa: F401  (imports are not part of the work)
    from training.data.canonical import Tally
    from training.data.convert import Recipe, convert
    from training.data.filters import exact_duplicates, length
    from training.data.tokens import counter_for

    own = AutoTokenizer.from_pretrained(tokenizer)
    begun = time.process_time()
    recipe = Recipe(
        filters=[("length", length(min_chars=20)), ("duplicates", exact_duplicates())],
        counter=counter_for(own, "benchmark"),
    )
    tally = Tally()
    card = convert(source, out, recipe, tally=tally)
    return {
        "cpu": time.process_time() - begun,
        "rows": tally.rows,
        "conversations": card.conversations,
        "tokens": card.tokens.total if card.tokens else 0,
        "notes": list(card.notes),
    }


def peer(source: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """The same with `datasets.map`, batched, the model's own tokenizer, and our rules for turns and filters."""
    import datasets
    from transformers import AutoTokenizer

    from training.data.canonical import Dropped, canonical_turns
    from training.data.filters import exact_duplicates, length
    from training.schema import Conversation

    own = AutoTokenizer.from_pretrained(tokenizer)
    datasets.disable_progress_bars()
    short, repeats = length(min_chars=20), exact_duplicates()

    def canonical(row: dict[str, Any]) -> dict[str, Any]:
        turns = canonical_turns((("user", "assistant")[i % 2], text) for i, text in enumerate(row["data"] or []))
        messages = [] if isinstance(turns, Dropped) else [turn.model_dump() for turn in turns]
        return {"source": "rows", "license": "", "lang": "und", "messages": messages}

    def wanted(row: dict[str, Any]) -> bool:
        if not row["messages"]:
            return False
        conversation = Conversation(**row)
        return not short(conversation) and not repeats(conversation)

    def counted(batch: dict[str, list[Any]]) -> dict[str, list[int]]:
        texts = [own.apply_chat_template(messages, tokenize=False) for messages in batch["messages"]]
        return {"tokens": [len(ids) for ids in own(texts, add_special_tokens=False)["input_ids"]]}

    begun = time.process_time()
    made = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=str(out / "cache"))
    total = len(made)
    made = made.map(canonical, remove_columns=["data"]).filter(wanted).map(counted, batched=True)
    made.to_json(out / "conversations.jsonl")
    spent = time.process_time() - begun
    return {"cpu": spent, "rows": total, "conversations": len(made), "tokens": sum(made["tokens"]), "notes": []}


@dataclass(frozen=True)
class Figures:
    """What one process took."""

    cpu: float
    rows: int
    conversations: int
    tokens: int
    notes: list[str]
    peak_mb: float

    @property
    def rate(self) -> float:
        """Rows per CPU-second."""
        return self.rows / self.cpu

    def line(self, name: str) -> str:
        """The figures as a row of a table."""
        return f"| {name} | {self.rows:,} | {self.cpu:.1f} | {self.rate:,.0f} | {self.peak_mb:.0f} | {self.tokens:,} |"


def measured(way: str, source: Path, tokenizer: Path, out: Path, kill_at: int = 0) -> Figures | None:
    """Run one way in a process; with `kill_at`, kill it as soon as its record tells of so many conversations."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.data", "--way", way, str(source), str(tokenizer), str(out)]
    one_thread = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **one_thread}, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        if kill_at and _recorded(out) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.05)
    if process.returncode or process.stdout is None:
        raise SystemExit(f"{way} ended with {process.returncode}")
    told = json.loads(process.stdout.read().splitlines()[-1])
    return Figures(**told, peak_mb=peak / 1024)


def _anonymous(pid: int) -> int:
    """Anonymous memory in KiB; what is mapped from files can be dropped at any time and is not counted."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def _recorded(out: Path) -> int:
    try:
        return int(json.loads((out.parent / f".{out.name}.part.json").read_text())["conversations"])
    except (OSError, ValueError):
        return 0


def compare(count: int, peer_count: int) -> None:
    """Make the rows, run everything, print the table."""
    with tempfile.TemporaryDirectory(prefix="understudy-benchmark-") as folder:
        home = Path(folder)
        source, few, tokenizer = home / "rows.jsonl", home / "few" / "rows.jsonl", home / "tokenizer"
        make_source(source, count)
        make_tokenizer(tokenizer)
        few.parent.mkdir()
        with source.open("rb") as file, few.open("wb") as first:
            first.writelines(islice(file, peer_count))
        print(f"{count:,} rows, {source.stat().st_size / 1e6:,.0f} MB; anonymous memory in MB\n")
        print("| Way | Rows | CPU-s | Rows/CPU-s | Peak | Tokens |\n|---|---|---|---|---|---|")
        whole = _shown("convert", measured("ours", source, tokenizer, home / "whole"))
        ours_few = _shown("convert, the peer's rows", measured("ours", few, tokenizer, home / "ours-few"))
        theirs = _shown("datasets.map, the peer's rows", measured("peer", few, tokenizer, home / "theirs"))
        measured("ours", source, tokenizer, home / "again", kill_at=count // 2)
        resumed = _shown(
            "convert, killed half-way: the second run", measured("ours", source, tokenizer, home / "again")
        )
        print(f"\n{whole.rate / theirs.rate:.1f} times the rows per CPU-second of datasets.map")
        _require(ours_few.tokens == theirs.tokens, "token counts are the same on the common rows")
        _require(ours_few.conversations == theirs.conversations, "conversations are the same on the common rows")
        _require(
            _sha(home / "whole") == _sha(home / "again"), "the bytes after kill -9 are those of an undisturbed run"
        )
        _require(resumed.tokens == whole.tokens, "so are the token counts")
        left = [note for note in whole.notes if "counted" in note]
        _require(not left, f"the fast count was not left {left}")


def _shown(name: str, figures: Figures | None) -> Figures:
    if figures is None:
        raise SystemExit(f"{name} was killed")
    print(figures.line(name), flush=True)
    return figures


def _require(holds: bool, what: str) -> None:
    print(f"{'yes' if holds else 'NO'}: {what}")
    if not holds:
        raise SystemExit(1)


def _sha(folder: Path) -> str:
    with (folder / "conversations.jsonl").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--peer-rows", type=int, default=20_000, help="Rows for datasets.map, which is slow.")
    parser.add_argument("--way", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps({"ours": ours, "peer": peer}[given.way](*given.paths)))
    else:
        compare(given.rows, min(given.peer_rows, given.rows))


if __name__ == "__main__":
    main()
