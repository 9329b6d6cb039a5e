"""Imports run one way, in the order of the table in docs/architecture.md; clients see `core`, `safety` and `types` only."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "sill"
ORDER = [
    *(
        "core",
        "safety",
        "stores",
        "engines",
        "runtimes",
        "governance",
        "costs",
        "scheduler",
        "queues",
        "sources",
        "lake",
    ),
    *(
        "features",
        "runs",
        "models",
        "endpoints",
        "traffic",
        "webhooks",
        "monitors",
        "triggers",
        "projects",
        "protocols",
        "api",
        "gateway",
    ),
]
DRIVERS = {"stores", "engines", "runtimes"}
CLIENTS = {"sdk", "transfer", "cli", "console", "agent", "relay", "demo"}
MAY = {
    "agent": ("sill.runtimes", "sill.runs.training", "sill.runs.tuning", "sill.runs.pipelines"),
    "relay": ("sill.protocols.mlflow", "sill.runs.tracking.rules"),
    "sdk": ("sill.runs.tracking.rules",),
    "cli": ("sill.scheduler",),
}
"""Pure parts that clients use too, never a store: the agent fits and checks models, the relay and the SDK's spool refuse
at once what the server would refuse later; the simulator needs no server."""

SHARED_GRAMMAR = ("sill.runs.tracking.filters", "sill.runs.tracking.conditions")
"""MLflow's filter grammar, which models are searched with too."""

FILES = sorted(ROOT.rglob("*.py"))


@cache
def imports(path: Path) -> list[tuple[ast.stmt, str, bool]]:
    """(node, module, is inside a function) for each import of Sill's own modules."""
    tree = ast.parse(path.read_text())
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    found: list[tuple[ast.stmt, str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("sill"):
            found.append((node, node.module or "", id(node) in inner))
        elif isinstance(node, ast.Import):
            found += [(node, name.name, id(node) in inner) for name in node.names if name.name.startswith("sill")]
    return found


def folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    for node, module, _ in imports(path):
        where = f"{path.relative_to(ROOT)}:{node.lineno} imports {module}"
        other = folder(module)
        if own in CLIENTS and other not in {own, "core", "safety", "sdk", "transfer", "demo", ""}:
            is_pure = module.startswith(MAY.get(own, ()))
            assert module.endswith(".types") or is_pure, f"{where}: clients may import core, safety and types"
        elif own in ORDER and other in ORDER:
            assert ORDER.index(other) <= ORDER.index(own), f"{where}: that folder lies below"
            assert own == other or not {own, other} <= DRIVERS, f"{where}: drivers do not import each other"
            is_stage = (
                ORDER.index(other) > ORDER.index("engines")
                and other not in DRIVERS
                and own not in {other, "api", "gateway"}
            )
            allowed = module.endswith((".types", ".service", ".rules")) or other in ("runtimes", "governance", "costs")
            allowed = allowed or module in SHARED_GRAMMAR
            assert not is_stage or allowed, f"{where}: of another stage import only service, types or rules"
        elif own in ORDER:
            assert other not in CLIENTS, f"{where}: a layer of the platform does not import a client"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_of_ours_hides_in_a_function_to_break_a_cycle(path: Path) -> None:
    hidden = [f"{path.relative_to(ROOT)}:{node.lineno} {module}" for node, module, inner in imports(path) if inner]

    graph = {p: {m for _, m, _ in imports(p)} for p in FILES}
    own = "sill." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for place in hidden:
        target = place.rpartition(" ")[2]
        beyond = next(
            (
                found
                for p, found in graph.items()
                if p.relative_to(ROOT).with_suffix("").parts == tuple(target.split(".")[1:])
            ),
            set(),
        )
        assert own not in beyond, f"{place} hides a cycle: move the shared value towards core"


def test_no_import_cycle() -> None:
    graph = {
        "sill." + ".".join(p.relative_to(ROOT).with_suffix("").parts): {m for _, m, inner in imports(p) if not inner}
        for p in FILES
        if p.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path[path.index(module) :], module))}"
        if module in done or module not in graph:
            return
        for following in sorted(graph[module]):
            visit(following, (*path, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_no_folder_is_called_utils() -> None:
    assert [p for p in ROOT.rglob("*") if p.stem in {"utils", "helpers", "common", "misc"}] == []
