"""Which of the protocol's operations a method and path ask for, and of which model."""

from typing import Literal

from sill.core.errors import MethodNotAllowed, NotFound, UnsupportedType
from sill.core.names import NAME_LENGTH_MAX, check_name, shorten
from sill.core.values import Value

Verb = Literal[
    "server",
    "live",
    "ready",
    "metrics",
    "model",
    "model_ready",
    "config",
    "stats",
    "all_stats",
    "infer",
    "generate",
    "generate_stream",
    "index",
    "load",
    "unload",
    "invocations",
    "ping",
    "version",
]

VERSION_DIGITS_MAX = 9
PATH_LENGTH_MAX = 3 * NAME_LENGTH_MAX


class Target(Value, frozen=True, kw_only=True):
    """An operation and the model it is about. `project` is empty when the path did not name one; version 0 is any."""

    verb: Verb
    project: str = ""
    name: str = ""
    version: int = 0


_SERVER: dict[tuple[str, ...], Verb] = {
    ("v2",): "server",
    ("v2", "health", "live"): "live",
    ("v2", "health", "ready"): "ready",
    ("v2", "models", "stats"): "all_stats",
    ("v2", "repository", "index"): "index",
    ("metrics",): "metrics",
    ("invocations",): "invocations",
    ("ping",): "ping",
    ("health",): "ping",
    ("version",): "version",
}
_OF_MODEL: dict[str, Verb] = {
    "ready": "model_ready",
    "config": "config",
    "stats": "stats",
    "infer": "infer",
    "generate": "generate",
    "generate_stream": "generate_stream",
    "invocations": "invocations",
}
_CHANGES: dict[str, Verb] = {"load": "load", "unload": "unload"}
_POSTED = frozenset({"infer", "generate", "generate_stream", "index", "load", "unload", "invocations"})
_MISSING = {
    "trace": "trace",
    "logging": "logging",
    "systemsharedmemory": "shared memory",
    "cudasharedmemory": "shared memory",
    "tpusharedmemory": "shared memory",
}
"""First parts of the paths of Triton's extensions that are not there."""


def read_path(method: str, path: str) -> Target:
    """The operation.

    Raises:
        NotFound: no operation has this path.
        MethodNotAllowed: it has, with another verb.
        InvalidValue: a model name or version that cannot be one.
        UnsupportedType: it belongs to an extension that is not there.
    """
    if len(path) > PATH_LENGTH_MAX:
        raise _unknown(path)
    parts = tuple(path.removesuffix("/").split("/")[1:])
    if parts in _SERVER:
        return _allowed(method, Target(verb=_SERVER[parts]))
    if len(parts) > 1 and parts[0] == "v2" and parts[1] in _MISSING:
        raise _missing(parts[1])
    if parts[:3] == ("v2", "repository", "models") and len(parts) > 3:
        return _allowed(method, _change(parts[3:], path))
    if parts[:2] != ("v2", "models") or len(parts) < 3:
        raise _unknown(path)
    return _allowed(method, _model(parts[2:], path))


def _model(parts: tuple[str, ...], path: str) -> Target:
    """`[project/]name[/versions/v][/operation]`, read from its end."""
    if len(parts) > 2 and parts[-2:] == ("trace", "setting"):
        raise _missing("trace")
    verb: Verb = "model"
    if len(parts) > 1 and parts[-1] in _OF_MODEL:
        verb = _OF_MODEL[parts[-1]]
        parts = parts[:-1]
    version = 0
    if len(parts) > 2 and parts[-2] == "versions":
        version = _version(parts[-1])
        parts = parts[:-2]
    return _target(verb, parts, version, path)


def _change(parts: tuple[str, ...], path: str) -> Target:
    """`[project/]name/load` or `/unload`."""
    if len(parts) < 2 or parts[-1] not in _CHANGES:
        raise _unknown(path)
    return _target(_CHANGES[parts[-1]], parts[:-1], 0, path)


def _target(verb: Verb, parts: tuple[str, ...], version: int, path: str) -> Target:
    if len(parts) > 2:
        raise _unknown(path)
    names = [check_name(part, "model name") for part in parts]
    return Target(verb=verb, project=names[0] if len(names) == 2 else "", name=names[-1], version=version)


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS_MAX and int(text) > 0):
        raise NotFound(f"model version {shorten(text)!r} is not a number from 1 up.", fix="Leave the version out.")
    return int(text)


def _allowed(method: str, target: Target) -> Target:
    allowed = ("POST",) if target.verb in _POSTED else ("GET", "HEAD")
    if method not in allowed:
        raise MethodNotAllowed(f"{shorten(method)} is not allowed here; {' and '.join(allowed)} is.")
    return target


def _missing(part: str) -> UnsupportedType:
    return UnsupportedType(
        f"the {_MISSING[part]} extension is not supported.", fix="GET /v2 lists the extensions that are."
    )


def _unknown(path: str) -> NotFound:
    return NotFound(f"the protocol has no path {shorten(path)!r}.", fix="POST /v2/models/MODEL/infer asks a model.")
