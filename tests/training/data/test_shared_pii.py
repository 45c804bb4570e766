"""The labelled messages of the warehouse, where it is at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from training.data.anonymise.find import find_spans

MAKER = Path(__file__).resolve().parents[4] / "shared" / "data" / "pii" / "make_pii_dev_set.py"
OURS = {
    "INVITE": "URL",
    "MSGLINK": "URL",
    "HANDLE": "MENTION",
    "IBAN": "CARD",
    "GOVID": "ID",
    "DOB": "ID",
    "CRYPTO": "ID",
    "GEO": "ID",
    "PLATE": "ID",
}
CAST = ("Elio", "Elio Solis", "Caleb", "Glordon", "Olga", "Bryce", "Lord Grigon", "Ambassador Questa")


@pytest.mark.skipif(not MAKER.exists(), reason="the warehouse sample is not here")
def test_recall_and_clean_messages(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(MAKER)], cwd=tmp_path, check=True, capture_output=True)
    messages = json.loads((tmp_path / "pii_dev_set_a.json").read_text("utf-8"))
    wanted, got, touched = Counter[str](), Counter[str](), 0
    for message in messages:
        spans = find_spans(message["text"], (), CAST)
        touched += bool(spans) and not message["spans"]
        for start, end, label in message["spans"]:
            wanted[OURS.get(label, label)] += 1
            got[OURS.get(label, label)] += any(s.start < end and s.end > start for s in spans)

    assert got.total() >= 0.95 * wanted.total(), (got, wanted)
    assert touched <= 0.02 * sum(not message["spans"] for message in messages)
    assert all(got[label] == wanted[label] for label in ("EMAIL", "MENTION", "SECRET"))
