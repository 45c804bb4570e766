"""What other people wrote reaches the terminal as text, and what the disk refuses as a sentence."""

from __future__ import annotations

import errno
import os

import pytest

from training.errors import disk_refused
from training.terminal import print_rows


def test_markup_and_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("q[/x] \x1b[2J", {"[/x] Bob": "[bold]a\x1b]0;t\x07\x9b31m \u202egnp", "tab\t": "two\nlines 灯塔🐟"})
    shown = capsys.readouterr().out
    for text in ("q[/x] \\x1b[2J", "[/x] Bob", "[bold]a\\x1b]0;t\\x07\\x9b31m \\u202egnp", "lines 灯塔🐟"):
        assert text in shown
    assert "\x1b" not in shown


def test_what_the_disk_refuses_is_told_and_a_lost_connection_is_not() -> None:
    for number, name in ((errno.ENOSPC, None), (errno.EROFS, "a.jsonl"), (errno.ENAMETOOLONG, "x" * 5000)):
        told = disk_refused(OSError(number, os.strerror(number), name))
        assert told is not None
        assert os.strerror(number) in str(told)
        assert len(str(told)) < 350
    assert "/secret" not in str(disk_refused(OSError(errno.EROFS, "Read-only", "/secret/place"), "The dataset"))
    assert disk_refused(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None
