"""How much the anonymiser finds, how often it is wrong, and how fast it is: `python benchmarks/anonymise.py [FILE…]`.

Without files, on messages made anew: half of their templates and names were kept from whoever wrote the rules. A file
holds labelled messages, `[{"text", "spans": [[start, end, label]]}]`; a part counts as found once all of it is covered.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.training.data.pii_fresh import Labelled, clean_messages, private_messages
from training.data.anonymise.find import spans_in
from training.data.anonymise.names import Names
from training.persona.sheet import load_cast
from training.places import TERMINAL
from training.schema import Workspace

SEEDS = range(100, 105)
LABELS = {
    **{"INVITE": "URL", "MSGLINK": "URL", "HANDLE": "MENTION", "IBAN": "CARD"},
    **dict.fromkeys(("GOVID", "DOB", "CRYPTO", "GEO", "PLATE"), "ID"),
}


def main(files: list[str]) -> None:
    """Measure each set in turn."""
    nowhere = Path("/nonexistent")
    cast = load_cast(Workspace(artifact_root=nowhere, dataset_warehouse=nowhere, cache_dir=nowhere), TERMINAL)
    names = Names((), [name for persona in cast.values() for name in (persona.name, *persona.aliases)])
    spans_in("my name is Theo, +44 7700 900123", names)
    for file in files:
        measure(file, _labelled(Path(file)), names)
    if not files:
        for half in ("seen", "held_out"):
            made = [message for seed in SEEDS for message in private_messages(seed, half, 2)]
            measure(f"fresh, {half.replace('_', ' ')}", made + clean_messages(half), names)


def measure(title: str, messages: list[Labelled], names: Names) -> None:
    """Print recall by label, precision, clean messages touched, and messages in a CPU-second."""
    started = time.process_time()
    spans = [spans_in(message.text, names) for message in messages]
    seconds = time.process_time() - started
    wanted, got, right, all_found, touched = Counter[str](), Counter[str](), 0, 0, 0
    for message, found in zip(messages, spans, strict=True):
        covered = {place for span in found for place in range(span.start, span.end)}
        wanted.update(label for *_, label in message.spans)
        got.update(label for start, end, label in message.spans if set(range(start, end)) <= covered)
        all_found += len(found)
        right += sum(any(start < span.end and span.start < end for start, end, _ in message.spans) for span in found)
        touched += bool(found) and not message.spans
    clean = sum(not message.spans for message in messages)
    recall = ", ".join(f"{label} {got[label]}/{count}" for label, count in sorted(wanted.items()))
    print(f"{title}: {len(messages)} messages, {wanted.total()} parts")
    print(f"  recall {got.total() / max(1, wanted.total()):.3f} ({recall})")
    print(f"  precision {right / max(1, all_found):.3f}, clean messages touched {touched} of {clean}")
    print(f"  {len(messages) / seconds:,.0f} messages in a CPU-second")


def _labelled(path: Path) -> list[Labelled]:
    rows = json.loads(path.read_text("utf-8"))
    return [
        Labelled(row["text"], tuple((start, end, LABELS.get(label, label)) for start, end, label in row["spans"]), "")
        for row in rows
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
