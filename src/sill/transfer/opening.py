"""From what a user names to a store: a server's address, a folder, a SQLite file."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.sdk.client import Client
from sill.transfer.copying import Tell, Transfer
from sill.transfer.file_source import FileSource
from sill.transfer.file_target import FileTarget
from sill.transfer.journal import Journal, usual_place
from sill.transfer.rest import Rest, of_sill
from sill.transfer.rest_source import RestSource
from sill.transfer.rest_target import RestTarget
from sill.transfer.sqlite_source import SqliteSource
from sill.transfer.types import Report, Source, Target

MLRUNS = "mlruns"
DATABASE_ENDINGS = (".db", ".sqlite", ".sqlite3")


def import_mlflow(
    client: Client, place: str, *, artifacts: Path | None = None, journal: Path | None = None, tell: Tell
) -> Report:
    """Bring everything from an MLflow store into a project of Sill.

    Args:
        client: of the project.
        place: `http://…` of a server, a folder with `mlruns` (or that one), or a SQLite file (`sqlite:///…` or its path).
        artifacts: for a folder or a file: where the server kept files.
        journal: what is done already; in the user's state folder if none is given.
        tell: told what is being done.
    Raises:
        InvalidValue: the place is none.
        Unavailable: one of the two stopped answering. The same call goes on where it was.
    """
    return _copy(open_source(place, artifacts), RestTarget(of_sill(client)), journal, tell)


def export_mlflow(client: Client, place: str, *, journal: Path | None = None, tell: Tell) -> Report:
    """Bring everything from a project of Sill to an MLflow server, or into a new `mlruns` folder.

    Raises:
        as `import_mlflow`.
    """
    return _copy(RestSource(of_sill(client)), open_target(place), journal, tell)


def open_source(place: str, artifacts: Path | None = None) -> Source:
    """The store at a place, to read."""
    if urlsplit(place).scheme in ("http", "https"):
        return RestSource(Rest(place))
    path = _path(place)
    if path.is_dir():
        inner = path / MLRUNS
        return FileSource(inner if inner.is_dir() else path, artifacts)
    if path.is_file() or path.suffix in DATABASE_ENDINGS:
        return SqliteSource(path, artifacts)
    raise NotFound(
        f"there is no {str(path)!r}.", fix="Give a server's address, a folder with mlruns, or MLflow's SQLite file."
    )


def open_target(place: str) -> Target:
    """The store at a place, to write."""
    if urlsplit(place).scheme in ("http", "https"):
        return RestTarget(Rest(place))
    if place.startswith("sqlite:"):
        raise InvalidValue(
            f"{shorten(place)!r} cannot be written: the tables are MLflow's own.",
            fix="Export to a folder, then `mlflow migrate-filestore`, or to a server's address.",
        )
    return FileTarget(_path(place))


def _copy(source: Source, target: Target, journal: Path | None, tell: Tell) -> Report:
    try:
        place = journal or usual_place(source.address, target.address)
        kept = Journal(place, source.address, target.address)
        try:
            return Transfer(source, target, kept, tell).run()
        finally:
            kept.close()
    finally:
        source.close()
        target.close()


def _path(place: str) -> Path:
    """The path of a place on this machine."""
    parts = urlsplit(place)
    if parts.scheme == "sqlite":
        return Path(unquote(place.removeprefix("sqlite:///"))) if place.startswith("sqlite:///") else Path(parts.path)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if "://" in place:
        raise InvalidValue(
            f"{shorten(place)!r} cannot be read: http, https, file, sqlite and paths can.",
            fix="For another database give the address of its MLflow server.",
        )
    return Path(place).expanduser()
