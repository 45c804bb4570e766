"""What a process may still take of main memory, within the limits of the groups that it is in."""

from __future__ import annotations

from pathlib import Path

from training.main_memory import main_memory

KIB = 1024


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_what_is_free_is_what_the_system_and_every_group_allow(tmp_path: Path) -> None:
    written(tmp_path, meminfo="MemTotal: 4000 kB\nMemAvailable:  3000 kB\n", of="0::/docker/one\n")
    places = tmp_path / "meminfo", tmp_path / "of", tmp_path / "groups"
    assert main_memory(*places)[0] == 3000 * KIB
    inner = tmp_path / "groups" / "docker" / "one"
    written(inner, memory__max="max\n", memory__current=f"{500 * KIB}\n")
    assert main_memory(*places)[0] == 3000 * KIB
    written(inner, memory__max=f"{2000 * KIB}\n", memory__stat=f"anon 1\ninactive_file {100 * KIB}\n")
    assert main_memory(*places) == (1600 * KIB, 2000 * KIB)
    written(inner.parent, memory__max=f"{1000 * KIB}\n", memory__current=f"{900 * KIB}\n")
    assert main_memory(*places) == (100 * KIB, 1000 * KIB)
    written(inner.parent, memory__current=f"{1001 * KIB}\n")
    assert main_memory(*places)[0] == 0


def test_a_system_that_does_not_tell_has_all_of_it_free(tmp_path: Path) -> None:
    free, total = main_memory(tmp_path / "none", tmp_path / "none", tmp_path / "none")
    assert free == total > 0
