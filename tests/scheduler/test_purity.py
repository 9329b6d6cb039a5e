"""Decisions look at nothing but the state, the event and the time: no clock, no chance, no files, no network."""

import ast
from pathlib import Path

import pytest

import sill.scheduler

ROOT = Path(sill.scheduler.__file__).parent
ALLOWED = {"bisect", "collections", "enum", "functools", "heapq", "itertools", "math", "operator", "typing"}
ALLOWED |= {"copy", "msgspec", "numpy"}
OWN = ("sill.scheduler", "sill.core.accelerators", "sill.core.errors", "sill.core.values", "sill.core.clock")
READS_FILES = {
    "traces.py": {"csv", "gzip", "pathlib"},
    "shockwave.py": {"pathlib"},
    "elasticflow.py": {"csv", "pathlib"},
    "topology.py": {"pathlib", "statistics"},
}
"""Those that are not decisions: they read what is replayed."""


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_decision_imports_no_clock_no_chance_and_no_input(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "sill.core.clock":
                assert [alias.name for alias in node.names] == ["iso"]
        else:
            continue
        for name in names:
            allowed = ALLOWED | READS_FILES.get(path.name, set())
            assert name.split(".")[0] in allowed or name.startswith(OWN), f"{path.name} imports {name}"


def test_no_function_of_a_decision_opens_anything() -> None:
    for path in ROOT.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert not names & {"open", "exec", "eval", "input", "print", "id", "hash"}, f"{path.name}: {names}"
