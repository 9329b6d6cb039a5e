"""Where a version says its files are: which addresses are taken, and what they mean here. Pure; nothing is fetched.

An address that names this machine's files, or another web server, is refused: no request of ours ever leaves because
somebody registered a version. Addresses of object stores are kept as they are; only clients read them.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote_plus, urlsplit

from sill.core.errors import InvalidValue
from sill.core.names import shorten

SOURCE_LENGTH_MAX = 2_000
UNQUOTES_MAX = 10
ARTIFACTS = "mlflow-artifacts"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REFUSED = frozenset({"file", "http", "https", "ftp", "ftps", "sftp", "data", "jar", "gopher"})
_KNOWN = frozenset(
    {
        *("runs", "models", ARTIFACTS, "s3", "s3a", "s3n", "gs", "az", "adl", "abfs", "abfss", "wasb", "wasbs", "hdfs"),
        *("viewfs", "dbfs", "r2", "b2", "oci", "oss", "swift", "gdrive", "hf"),
    }
)
"""Addresses that clients of object stores, of MLflow and of hubs know; what else there is could name a file here."""
_RUN = re.compile(r"runs:/+([\w-]+)(?:/(.*))?")
_MODEL = re.compile(r"models:/+([^/@]+)(?:/(\d+)|@([\w-]+))?")
_LOGGED = re.compile(r"m-[\w-]+")


class Origin(NamedTuple):
    """What an address means.

    Attributes:
        kind: `run` (name: its id, path: below its artifacts), `version` (name, and number or alias in `path`),
            `logged` (name: the logged model's id), `artifacts` (path: at the artifact proxy) or `elsewhere`.
    """

    kind: str
    name: str = ""
    path: str = ""


def check_source(source: str, *, run_id: str = "", is_prompt: bool = False) -> Origin:
    """What the address means, if a version may have it.

    Args:
        run_id: the run that made it. A path that is no address is taken if it lies among that run's artifacts.
    Raises:
        InvalidValue: a path or URL of this machine, a web address, one that climbs, or one that could be read in two ways.
    """
    if not source.strip():
        raise InvalidValue("Missing value for required parameter 'source'.", field="source")
    plain = _unquoted(source)
    if (
        len(source) > SOURCE_LENGTH_MAX
        or not plain.isprintable()
        or "\\" in plain
        or ".." in re.split(r"[/;?#]", plain)
    ):
        raise _climbs(source)
    if not _SCHEME.match(plain):
        if is_prompt and not plain.startswith(("/", ".", "~")):
            return Origin("elsewhere")  # clients send a word such as `prompt-template`
        return _inside(source, source, run_id)
    try:
        parts = urlsplit(source)
    except ValueError as wrong:  # unbalanced brackets
        raise _climbs(source) from wrong
    if parts.query or parts.fragment or ";" in parts.path:
        raise _climbs(source)
    if parts.scheme == "file":
        raise _local(source)
    if parts.scheme in _REFUSED:
        raise _foreign(source)
    if parts.scheme not in _KNOWN:
        return _inside(source, parts.path, run_id)
    return _origin(parts.scheme, parts.netloc, parts.path, source)


def _inside(source: str, path: str, run_id: str) -> Origin:
    """A path among the artifacts of the run that made the version, as that run's address has it.

    Raises:
        InvalidValue: it lies elsewhere, or no run is named.
    """
    before, folder, rest = _tidy(path).partition(f"{run_id}/artifacts")
    if not run_id or not folder or (before and not before.endswith("/")) or (rest and not rest.startswith("/")):
        raise _local(source)
    return Origin("run", run_id, rest.lstrip("/"))


def _origin(scheme: str, host: str, path: str, source: str) -> Origin:
    if scheme == "runs" and (found := _RUN.fullmatch(source)):
        return Origin("run", found[1], _tidy(found[2] or ""))
    if scheme == "models" and (found := _MODEL.fullmatch(source)):
        if _LOGGED.fullmatch(found[1]) and not (found[2] or found[3]):
            return Origin("logged", found[1])
        if found[2] or found[3]:
            return Origin("version", found[1], found[2] or f"@{found[3]}")
    if scheme in ("models", "runs"):
        raise InvalidValue(
            f"Invalid model version source: '{shorten(source)}'. It is not of the form runs:/RUN/PATH, "
            "models:/NAME/VERSION, models:/NAME@ALIAS or models:/MODEL_ID.",
            field="source",
        )
    if scheme == ARTIFACTS and not host:
        return Origin("artifacts", path=_tidy(path))
    return Origin("elsewhere")


def _tidy(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _unquoted(source: str) -> str:
    """The address with every layer of percent escapes taken off.

    Raises:
        InvalidValue: there are more layers than anybody would mean.
    """
    for _ in range(UNQUOTES_MAX):
        plain = unquote_plus(source)
        if plain == source:
            return plain
        source = plain
    raise _climbs(source)


def _local(source: str) -> InvalidValue:
    return InvalidValue(
        f"Invalid model version source: '{shorten(source)}'. To use a local path as a model version source, the run_id "
        "request parameter has to be specified and the local path has to be contained within the artifact directory of "
        "the run specified by the run_id; this server keeps no artifacts at local paths.",
        fix="Log the model to a run, and register runs:/RUN/PATH.",
        field="source",
    )


def _climbs(source: str) -> InvalidValue:
    return InvalidValue(
        f"Invalid model version source: '{shorten(source)}'. If supplying a source as an http, https, local file path, "
        "ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references "
        "present. Please provide an absolute path.",
        field="source",
    )


def _foreign(source: str) -> InvalidValue:
    return InvalidValue(
        f"Invalid model version source: '{shorten(source)}'. If supplying a source as an http, https, or ftp uri: this "
        "server registers no model that lies on another web server.",
        fix="Log the model here, and register runs:/RUN/PATH.",
        field="source",
    )
