"""Guards the house: arrows run down only, torch stays below, and each thing lives where it is said to live."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STOREYS = ("bot", "tasks", "training", "sandbox")
# What each storey may import of ours. A name with a dot allows that module only.
ALLOWED = {
    "training": {"training"},
    "tasks": {"tasks", "training"},
    "bot": {
        "bot",
        "tasks.alive",
        "tasks.client",
        "tasks.doctor",
        "tasks.errors",
        "tasks.jobs",
        "tasks.settings",
        "training.charts",
        "training.data.schema",
        "training.errors",
        "training.evaluation.schema",
        "training.evaluation.separation",
        "training.evaluation.votes",
        "training.pictures",
        "training.runs",
        "training.schema",
        "training.warned",
    },
    "sandbox": {"sandbox"},
}
HEAVY = {"tasks/trainer.py", "tasks/talker.py", "tasks/preparer.py"}
LIGHT = "import bot.app, tasks.client, tasks.api, sys; assert 'torch' not in sys.modules, 'torch came along'"


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("storey", STOREYS)
def test_arrows_run_down(storey: str) -> None:
    upward = []
    for path in sources(storey):
        for module in imports(path):
            if module.split(".")[0] not in STOREYS or module in STOREYS:
                continue
            head = {".".join(module.split(".")[:depth]) for depth in (1, 2, 3)}
            if not head & ALLOWED[storey]:
                upward.append(f"{name(path)} imports {module}")
    assert not upward


def test_no_import_circles() -> None:
    modules = {name(path)[:-3].replace("/", "."): path for path in sources(*STOREYS) if path.name != "__init__.py"}
    arrows = {module: {target for target in imports(path) if target in modules} for module, path in modules.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module not in done:
            for target in arrows[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in modules:
        visit(module, ())


def test_doors_load_without_torch() -> None:
    asked = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr


def test_tasks_reach_the_learning_part_only_where_it_runs() -> None:
    schemas = {"training.schema", "training.data.schema", "training.evaluation.schema"}
    light = schemas | {"training.errors", "training.charts", "training.runs", "training.warned"}
    for path in sources("tasks"):
        if name(path) in HEAVY:
            continue
        reached = {module for module in imports(path) if module.startswith("training.")}
        heavy = {module for module in reached if not any(f"{module}.".startswith(f"{part}.") for part in light)}
        assert not heavy, f"{name(path)} imports {heavy}"


def test_init_files_are_empty() -> None:
    for folder in STOREYS:
        for path in (ROOT / folder).rglob("__init__.py"):
            assert path.read_text() == "", name(path)


def uses(path: Path, attribute: str) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.Attribute) and node.attr == attribute for node in ast.walk(tree))


@pytest.mark.parametrize(
    ("attribute", "home"),
    [
        ("apply_chat_template", {"training/chat.py"}),
        ("environ", {"tasks/post.py"}),  # which sets what CUDA reads, and reads nothing
        ("getenv", set()),
    ],
)
def test_said_once(attribute: str, home: set[str]) -> None:
    elsewhere = {name(path) for path in sources("bot", "tasks", "training") if uses(path, attribute)} - home
    assert not elsewhere


def test_redis_keys_are_spelled_once() -> None:
    spelled = {name(path) for path in sources(*STOREYS) if "understudy:" in path.read_text(encoding="utf-8")}
    assert spelled == {"tasks/keys.py"}


def test_files_stay_calm() -> None:
    for path in sources(*STOREYS):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 450, f"{name(path)} has {lines} lines: find the wall in it"
