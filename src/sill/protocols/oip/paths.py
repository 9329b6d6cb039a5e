"""Which of the protocol's operations a method and path ask for, and of which model."""

from typing import Literal

from sill.core.errors import MethodNotAllowed, NotFound
from sill.core.names import NAME_LENGTH_MAX, check_name, shorten
from sill.core.values import Value

Verb = Literal["server", "live", "ready", "model", "model_ready", "infer"]

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
}


def read_path(method: str, path: str) -> Target:
    """The operation.

    Raises:
        NotFound: no operation has this path.
        MethodNotAllowed: it has, with another verb.
        InvalidValue: a model name or version that cannot be one.
    """
    if len(path) > PATH_LENGTH_MAX:
        raise _unknown(path)
    parts = tuple(path.removesuffix("/").split("/")[1:])
    if parts in _SERVER:
        return _allowed(method, Target(verb=_SERVER[parts]))
    if parts[:2] != ("v2", "models") or len(parts) < 3:
        raise _unknown(path)
    return _allowed(method, _model(parts[2:], path))


def _model(parts: tuple[str, ...], path: str) -> Target:
    """`[project/]name[/versions/v][/ready|/infer]`, read from its end."""
    verb: Verb = "model"
    if len(parts) > 1 and parts[-1] in ("infer", "ready"):
        verb = "infer" if parts[-1] == "infer" else "model_ready"
        parts = parts[:-1]
    version = 0
    if len(parts) > 2 and parts[-2] == "versions":
        version = _version(parts[-1])
        parts = parts[:-2]
    if len(parts) > 2:
        raise _unknown(path)
    names = [check_name(part, "model name") for part in parts]
    return Target(verb=verb, project=names[0] if len(names) == 2 else "", name=names[-1], version=version)


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS_MAX and int(text) > 0):
        raise NotFound(f"model version {shorten(text)!r} is not a number from 1 up.", fix="Leave the version out.")
    return int(text)


def _allowed(method: str, target: Target) -> Target:
    allowed = ("POST",) if target.verb == "infer" else ("GET", "HEAD")
    if method not in allowed:
        raise MethodNotAllowed(f"{shorten(method)} is not allowed here; {' and '.join(allowed)} is.")
    return target


def _unknown(path: str) -> NotFound:
    return NotFound(f"the protocol has no path {shorten(path)!r}.", fix="POST /v2/models/MODEL/infer asks a model.")
