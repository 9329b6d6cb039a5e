"""Reads a project file: Python with the nouns of `project`, or the same as YAML. Errors name the file and the line."""

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import InvalidValue, NotFound, SillError, TooLarge
from sill.core.names import shorten
from sill.projects.types import ProjectSpec
from sill.sdk.project import Project

FILE_BYTES_MAX = 1024**2
YAML_ALIASES_MAX = 20
YAML_DEPTH_MAX = 32


def load_project(path: Path) -> Project | ProjectSpec:
    """The project a file declares: `Project` from Python, `ProjectSpec` from YAML.

    Raises:
        NotFound: there is no such file.
        TooLarge: it has more than `FILE_BYTES_MAX` bytes.
        InvalidValue: it raises, declares none or several projects, or is not what it should be; with file and line.
    """
    path = path.absolute()
    if not path.is_file():
        raise NotFound(f"there is no project file {path}.", fix="Give the path of a .py or .yaml file.")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise TooLarge(f"{path.name} has {path.stat().st_size:,} bytes; {FILE_BYTES_MAX:,} are allowed.")
    if path.suffix in (".yaml", ".yml"):
        return _load_yaml(path)
    if path.suffix == ".py":
        return _load_python(path)
    raise InvalidValue(f"{path.name!r} is no project file; .py, .yaml and .yml are.")


def project_spec(loaded: Project | ProjectSpec, code: str) -> ProjectSpec:
    """What a loaded project declares, with the code's digest wherever a function is named."""
    if isinstance(loaded, Project):
        return loaded.spec(code)
    replace = msgspec.structs.replace
    return replace(
        loaded,
        code=code,
        ingestions=tuple(replace(each, code=code) if each.function else each for each in loaded.ingestions),
        trainings=tuple(replace(each, code=code) for each in loaded.trainings),
        pipelines=tuple(replace(each, code=code) for each in loaded.pipelines),
    )


def _load_python(path: Path) -> Project:
    module = import_file(path)
    found = {id(value): value for value in vars(module).values() if isinstance(value, Project)}
    if len(found) != 1:
        raise InvalidValue(
            f"{path.name} declares {len(found)} projects; one is allowed.",
            fix='Add `project = sill.Project("name")`.' if not found else "Split it in two files.",
        )
    return next(iter(found.values()))


def import_file(path: Path) -> Any:
    """Import a file of the user's as the module of its name, its folder first on the path, as Python does for a script.

    Raises:
        InvalidValue: it raises or cannot be parsed; the message has file, line and what was raised.
    """
    if not path.stem.isidentifier():
        raise InvalidValue(f"{path.name!r} cannot be imported; name it with letters, digits and _.")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidValue(f"{path.name!r} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as raised:  # whatever the user's own code does ends here, as one message
        sys.modules.pop(path.stem, None)
        raise InvalidValue(f"{where(raised, path)}: {describe(raised)}", fix="Correct the project file.") from raised
    return module


def describe(raised: BaseException) -> str:
    """What an exception says, on one line: our own messages as they are, others with their class."""
    text = str(raised) if isinstance(raised, SillError) else f"{type(raised).__name__}: {raised}"
    return shorten(" ".join(text.split()), 500)


def where(raised: BaseException, path: Path) -> str:
    """`file:line` of the innermost place in the user's folder that an exception went through."""
    if isinstance(raised, SyntaxError) and raised.lineno:
        return f"{Path(raised.filename or path.name).name}:{raised.lineno}"
    frames = traceback.extract_tb(raised.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(path.parent)]
    return f"{Path(inside[-1].filename).name}:{inside[-1].lineno}" if inside else path.name


def _load_yaml(path: Path) -> ProjectSpec:
    import yaml

    text = path.read_bytes()
    try:
        _check_yaml(path, text)
        given = yaml.load(text, Loader=_loader())  # noqa: S506  # a SafeLoader that also refuses keys given twice
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        mark = getattr(wrong, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(wrong, "problem", None) or str(wrong)
        raise InvalidValue(f"{path.name}{line}: {shorten(problem, 300)}.", fix="Correct the YAML.") from wrong
    if not isinstance(given, dict):
        raise InvalidValue(f"{path.name} holds a {type(given).__name__}; the fields of a project are allowed.")
    try:
        return msgspec.convert(_with_project(given), ProjectSpec)
    except msgspec.ValidationError as wrong:
        raise InvalidValue(f"{path.name}: {wrong}.", fix="Correct the field.") from wrong


def _check_yaml(path: Path, text: bytes) -> None:
    """Refuse what would unfold to more than was written, before anything is built."""
    import yaml

    aliases = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if aliases > YAML_ALIASES_MAX or depth > YAML_DEPTH_MAX:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InvalidValue(
                f"{path.name}:{line}: more than {YAML_ALIASES_MAX} aliases, or deeper than {YAML_DEPTH_MAX}.",
                fix="Write it out.",
            )


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """A SafeLoader that refuses a key given twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for place, key in enumerate(keys):
                if key in keys[:place]:
                    mark = node.value[place][0].start_mark
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", mark)
            return super().construct_mapping(node, deep)

    return Loader


def _with_project(given: dict[str, Any]) -> dict[str, Any]:
    """Every thing of a project belongs to it; the file need not repeat its name."""
    project = given.get("project", "")
    filled = dict(given)
    for kind, things in given.items():
        if isinstance(things, list):
            filled[kind] = [{"project": project, **each} if isinstance(each, dict) else each for each in things]
    return filled
