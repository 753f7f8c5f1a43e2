"""The house: who may import whom, and what stands at the top."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("schemas", "transforms", "flows")
PURE = {
    "sqlalchemy",
    "httpx",
    "prefect",
    "starlette",
    "uvicorn",
    "typer",
    "rich",
    "alembic",
    "requests",
    "socket",
    "subprocess",
    "os",
    "random",
}
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def _imports(path: Path) -> list[tuple[str, bool]]:
    """(top-level name, at module level) of every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(((node.module or "").partition(".")[0], id(node) in top))
    return found


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_is_something_to_look_at() -> None:
    assert {path.parent.name for path in MODULES} >= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_point_downwards(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = set(LAYERS[layer + 1 :]) | {"tests"}
    assert above.isdisjoint(name for name, _ in _imports(path))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if "transforms" in p.relative_to(ROOT).parts[:1]], ids=_name
)
def test_rules_touch_nothing_outside(path: Path) -> None:
    assert PURE.isdisjoint(name for name, _ in _imports(path))
    calls = {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
    }
    assert calls.isdisjoint(
        {"datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "date.today"}
    )
    assert not any(call.endswith("Timestamp.now") for call in calls)


def test_only_flow_modules_import_prefect() -> None:
    eager = {_name(path) for path in MODULES if ("prefect", True) in _imports(path)}
    flows = {"flows/sync.py", "flows/read_back.py"}
    assert {name for name in eager if not name.startswith("flows/engine/")} <= flows


def test_command_line_starts_without_prefect() -> None:
    code = (
        "import flows.commands.main, flows.night.steps, sys; assert 'prefect' not in sys.modules, "
        "'prefect was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_top_level_folders() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git work tree")
    tracked = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    folders = {name.partition("/")[0] for name in tracked if "/" in name}
    assert {name for name in folders if not name.startswith(".")} == {
        "flows",
        "transforms",
        "schemas",
        "tests",
        "data",
    }


def test_no_vague_module_names() -> None:
    assert not [
        path
        for path in MODULES
        if path.stem in {"utils", "util", "helpers", "manager", "common", "misc"}
    ]


ROOMS = ROOT / "flows" / "README.md"


def test_every_room_stands_in_the_plan_of_the_house() -> None:
    """flows/README.md names every package of flows and transforms, and none that is not there."""
    for layer in ("flows", "transforms"):
        table = ROOMS.read_text(encoding="utf-8").partition(f"| {layer}/ |")[2].partition("\n\n")[0]
        named = [
            name
            for row in re.findall(r"^\| (`.*?) \|", table, flags=re.M)
            for name in re.findall(r"`(\w+)`", row)
        ]
        assert sorted(named) == sorted(
            path.parent.name for path in (ROOT / layer).glob("*/__init__.py")
        )


def test_the_ways_through_the_house_are_open() -> None:
    """Each file that flows/README.md names is there under that name, and what is named beside it is
    made in it.
    """
    steps = re.findall(
        r"\[([\w/.]+)\]\(([\w/.]+)\)(?: `(\w+)`)?", ROOMS.read_text(encoding="utf-8")
    )
    assert len(steps) > 30
    for shown, link, name in steps:
        path = (ROOMS.parent / link).resolve()
        assert path.is_file(), f"{link}: it has moved: correct flows/README.md"
        assert path.as_posix().endswith(f"/{shown}"), f"{shown} leads to {link}"
        made = rf"^\s*(def|class) {name}\b"
        assert not name or re.search(made, path.read_text(encoding="utf-8"), flags=re.M), (
            f"{link} has no {name}: correct flows/README.md"
        )
