"""Commands, settings, errors, events, tags, fields, limits and links: what the documentation says is what there is."""

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.main import get_command

from sill.api.app import STAGES
from sill.cli.commands import app
from sill.core.errors import every_error
from sill.core.settings import SETTINGS_HELP, Settings
from sill.core.values import Value
from sill.testing.pages import DOCS, ROOT, pages, text_of

SOURCE = ROOT / "src" / "sill"
KEPT_BY_PLATFORM = {"project", "name", "revision", "code"}
"""Fields that a project file or the platform fills in; they need no row of their own."""
STAGES_OF_EVENTS = (
    "project|token|secret|access|source|ingestion|table|view|run|training|pipeline|model|endpoint|revision|traffic|"
    "labels|webhook|monitor|window|incident|trigger|trace|traces|assessment|evaluation_dataset|issue|scorer|"
    "experiment|logged_model|retention|queue|booking"
)
SHARED_OPTIONS = {"--json", "--project", "--help"}
COMMAS_FROM = 10_000
UNITS = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def rows(name: str) -> list[list[str]]:
    """The rows of all tables of a page, heads too, each a list of its cells."""
    lines = [line.strip() for line in text_of(name).splitlines() if line.startswith("|") and set(line) - set("|-: ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with what comes before its arguments, groups walked through."""
    waiting = [("sill", get_command(app))]
    while waiting:
        path, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            waiting += [(f"{path} {name}", each) for name, each in inner.items()]


@pytest.mark.parametrize(("path", "command"), sorted(commands(), key=lambda item: item[0]), ids=lambda item: str(item))
def test_command_is_documented_with_its_options_and_an_example(path: str, command: Any) -> None:
    row = next((row for row in rows("docs/cli.md") if re.match(rf"`{path}( [A-Z\[-].*)?`$", row[0])), None)
    options = {name for each in command.params for name in each.opts if name.startswith("--")} - SHARED_OPTIONS

    assert row is not None, f"`{path}` has no row in docs/cli.md"
    assert row[1] == command.help.splitlines()[0], "the row's second cell is the command's help"
    assert {name for name in options if f"`{name}`" not in row[2]} == set()
    assert parses(command, path, row[3].strip("`"))


def parses(command: Any, path: str, example: str) -> bool:
    """True if the command would take the example's arguments; else its parser raises."""
    words = shlex.split(example.partition(" < ")[0])
    words = words[words.index("sill") :]
    if words[1] == "-p":
        del words[1:3]
    named = len(path.split())
    assert " ".join(words[:named]) == path
    return bool(command.make_context(path, words[named:]))


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_setting_is_documented_with_its_default(name: str) -> None:
    default = Settings.__struct_defaults__[Settings.__struct_fields__.index(name)]
    shown_as = "~/.sill" if name == "home" else shown(default)

    assert [f"`SILL_{name.upper()}`", f"`{shown_as}`", SETTINGS_HELP[name]] in rows("docs/settings.md")


def test_other_variables_are_documented() -> None:
    told = text_of("docs/settings.md")
    used = {name for text in sources().values() for name in re.findall(r'"(SILL_[A-Z_]+)"', text)}

    assert {name for name in used if f"`{name}`" not in told} == set()


@pytest.mark.parametrize(("code", "kind"), sorted(every_error().items()), ids=lambda item: str(item))
def test_error_is_documented_with_its_status(code: str, kind: type) -> None:
    told = {row[0]: row[1] for row in rows("docs/errors.md")}

    assert told.get(f"`{code}`") == str(kind.status)  # type: ignore[attr-defined]


def test_events_are_documented() -> None:
    told = text_of("docs/architecture.md")

    assert {kind for kind in emitted() if f"`{kind}`" not in told} == set()


def test_documented_events_are_emitted() -> None:
    listed = text_of("docs/architecture.md").partition("## Events")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", listed))

    assert told - emitted() == set()


def test_tags_of_routes_are_documented() -> None:
    told = {row[0] for row in rows("docs/api.md")}

    assert {f"`{stage.tag}`" for stage in STAGES} - told == set()


def test_fields_of_declared_values_are_documented_with_their_defaults() -> None:
    wrong = []
    for page in pages():
        for name, table in tables_of_fields(page):
            kind = values()[name]
            defaults = {field.name: default_of(field) for field in msgspec.structs.fields(kind)}
            told = {row[0].strip("`"): row[1].strip("`") for row in table}
            missing = set(defaults) - KEPT_BY_PLATFORM - set(told)
            wrong += [f"{page.name}: {name}.{field} is missing" for field in sorted(missing)]
            wrong += [
                f"{page.name}: {name}.{field} is {default}, not {told[field]}"
                for field, default in defaults.items()
                if field in told and told[field] != default
            ]
            wrong += [f"{page.name}: {name} has no field {field}" for field in set(told) - set(defaults)]

    assert wrong == []


def test_limits_are_what_the_code_says() -> None:
    told = [(page.name, row) for page in pages() for row in rows(str(page.relative_to(ROOT))) if is_limit(row[0])]
    wrong = [f"{page}: {row[0]} is {limit(row[0])}, not {row[1]}" for page, row in told if row[1] not in limit(row[0])]

    assert told
    assert wrong == []


def test_facts_of_the_demo_are_documented() -> None:
    texts = [text for path, text in sources().items() if path.is_relative_to(SOURCE / "demo")]
    facts = {name for text in texts for name in re.findall(r'facts\["(\w+)"\]', text)}

    assert facts
    assert {name for name in facts if f"`{name}`" not in text_of("docs/demo.md")} == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if link.startswith(("http://", "https://")):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in pages()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }

    assert [page.name for page in pages() if page.is_relative_to(DOCS) and page.resolve() not in linked] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_no_place_of_this_machine(page: Path) -> None:
    own = re.escape(str(ROOT))
    found = re.findall(rf"(?:{own}|/tmp/|/home/\w|/root\b|/Users/)\S*|\S*(?:index-url|/simple/)\S*", page.read_text())

    assert found == []


@cache
def sources() -> dict[Path, str]:
    """Every module of the product, but not the helpers of tests."""
    return {path: path.read_text() for path in SOURCE.rglob("*.py") if "testing" not in path.parts}


@cache
def emitted() -> set[str]:
    """Kinds of events: what looks like one in a module that emits, and `run.STATE`, which is put together."""
    found = {"run.finished", "run.failed", "run.cancelled"}
    for path, text in sources().items():
        if ".emit(" in text or path.name in ("registration.py", "incidents.py"):
            found |= {
                node.value
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(rf"({STAGES_OF_EVENTS})\.[a-z_]+", node.value)
            }
    return found


@cache
def values() -> dict[str, type[Value]]:
    """Every value of the stages' `types` modules, by name."""
    modules = [importlib.import_module(module_name(path)) for path in sources() if path.name == "types.py"]
    classes = [each for module in modules for _, each in inspect.getmembers(module, inspect.isclass)]
    return {each.__name__: each for each in classes if issubclass(each, Value)}


def module_name(path: Path) -> str:
    """The module a file is imported as."""
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


def tables_of_fields(page: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """(name of a value, rows) of the tables whose head is "`NAME` | default | …"."""
    listed = rows(str(page.relative_to(ROOT)))
    heads = [
        place for place, row in enumerate(listed) if len(row) > 1 and row[1] == "default" and row[0].startswith("`")
    ]
    for head in heads:
        body = []
        for row in listed[head + 1 :]:
            if not re.fullmatch(r"`[a-z_0-9]+`", row[0]):
                break
            body.append(row)
        yield listed[head][0].strip("`"), body


def default_of(field: Any) -> str:
    """A field's default as the pages show it."""
    if field.default is not msgspec.NODEFAULT:
        return shown(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return shown(field.default_factory())
    return "needed"


def shown(value: Any) -> str:
    """A default as the pages show it: numbers with commas and units, texts and values as Python writes them."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        plain = f"{value:,}" if value >= COMMAS_FROM else str(value)
        return next((f"{value // size} {unit}" for unit, size in UNITS if value and value % size == 0), plain)
    if isinstance(value, float):
        return f"{value:,.12g}" if value >= COMMAS_FROM else f"{value:.12g}"
    if isinstance(value, Value):
        told = msgspec.structs.fields(type(value))
        given = [
            f"{each.name}={shown(getattr(value, each.name))}"
            for each in told
            if default_of(each) != shown(getattr(value, each.name))
        ]
        return f"{type(value).__name__}({', '.join(given)})"
    if isinstance(value, str):
        return value or '""'
    return repr(value)


def is_limit(cell: str) -> bool:
    """True for the dotted name of a constant, such as `lake.sql.MEMORY`, or of a limit's field."""
    return re.fullmatch(r"`[a-z_]+(\.[a-z_]+)*\.[A-Z][A-Za-z_0-9]+(\.[a-z_]+)?`", cell) is not None


def limit(cell: str) -> tuple[str, ...]:
    """How a page may write the limit's value."""
    parts = cell.strip("`").split(".")
    at = next(place for place, part in enumerate(parts) if part[0].isupper())
    found: Any = importlib.import_module(".".join(["sill", *parts[:at]]))
    for part in parts[at:]:
        found = getattr(found() if inspect.isclass(found) else found, part)
    plain = shown(found)
    exact = f"{found:,}" if isinstance(found, int) else plain
    return (plain, exact, f"{plain} s", f"{plain} ms", f"{plain} %")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
