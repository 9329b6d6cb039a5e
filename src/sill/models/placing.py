"""Where a tracked version's files are in the end, and whether the platform could ever load them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from sill.core.errors import InvalidValue, NotFound, SillError
from sill.core.names import shorten
from sill.models import flavors
from sill.models.bundle import FILES_MAX
from sill.models.origins import Origin, check_source
from sill.models.registry import find
from sill.models.store import VERSIONS, version_id
from sill.models.types import Loadability, ModelVersion, NamedVersion, TrackedSpec
from sill.runtimes.port import driver
from sill.stores.database import Connection, Database, Tx

_UNSEEN = Loadability(is_loadable=False, reason=f"there is no {flavors.MLMODEL_FILE} file at its source.")


class Files(Protocol):
    """Where a tracked version's files are looked at, if they are kept here."""

    async def excerpt(self, project: str, path: str, bytes_max: int) -> bytes | None:
        """The file at a path of the artifact proxy; None if there is none, or a larger one."""
        ...

    async def digest(self, project: str, path: str) -> str:
        """The blob of the file at a path of the artifact proxy; empty if there is none."""
        ...

    async def digests(self, project: str, folder: str, count_max: int) -> dict[str, str]:
        """The blobs of the files below a folder of the artifact proxy, by their paths from there; the first so many."""
        ...


class LoggedModels(Protocol):
    """The models that runs logged."""

    async def origin(self, project: str, model_id: str) -> tuple[str, str]:
        """Where its files are, and the run that made it (may be empty).

        Raises:
            NotFound: there is no such model.
        """
        ...

    def note_version(self, tx: Tx, project: str, model_id: str, name: str, version: int) -> None:
        """Note on the logged model that it was registered."""
        ...


class Seen(NamedTuple):
    """What was found at a tracked version's source.

    Attributes:
        files: the blobs of what a runtime loads, by their paths in its bundle; none if it is not there.
        text: its `MLmodel` file.
    """

    files: Mapping[str, str] = MappingProxyType({})
    text: bytes = b""


class Placing:
    """Follows sources to their end."""

    def __init__(self, database: Database, files: Files, logged: LoggedModels) -> None:
        self._database = database
        self._files = files
        self._logged = logged

    async def storage(self, project: str, spec: TrackedSpec, origin: Origin) -> tuple[str, str]:
        """Where the files are in the end, and the run that made them.

        Raises:
            InvalidValue: the source names a model or version that is not there.
        """
        storage, run_id = spec.source, spec.run_id
        try:
            if origin.kind == "version":
                found = await self._database.read(lambda connection: _referred(connection, project, origin))
                storage = found.address
            elif origin.kind == "logged":
                storage, made_by = await self._logged.origin(project, origin.name)
                run_id = run_id or made_by
            if spec.model_id and not run_id:
                run_id = (await self._logged.origin(project, spec.model_id))[1]
        except SillError as wrong:
            raise InvalidValue(
                f"Unable to fetch model from model URI source artifact location '{shorten(spec.source)}'. Error: {wrong}",
                field="source",
            ) from wrong
        return storage, run_id

    async def judge(self, project: str, storage: str, run_id: str) -> Loadability:
        """Whether the platform may load what lies there; what it cannot see, it may not."""
        return (await self.seen(project, storage, run_id))[0]

    async def seen(self, project: str, storage: str, run_id: str) -> tuple[Loadability, Seen]:
        """The verdict on what lies there, and what was seen of it."""
        try:
            path = proxied_path(check_source(storage, run_id=run_id))
        except InvalidValue:  # the place of a logged model, or of a copied prompt, that nobody could name as a source
            path = None
        if path is None:
            away = "its files are kept elsewhere, or were not found when it was registered."
            return replace(_UNSEEN, reason=away), Seen()
        text = await self._files.excerpt(project, _below(path, flavors.MLMODEL_FILE), flavors.MLMODEL_BYTES_MAX)
        if text is None:
            return _UNSEEN, Seen()
        judged = flavors.judge(text)
        files = await self._loaded(project, path, judged) if judged.is_loadable else {}
        if judged.is_loadable and not files:
            judged = flavors.not_there(judged)
        return judged, Seen(files=files, text=text)

    async def _loaded(self, project: str, path: str, judged: Loadability) -> dict[str, str]:
        """What the runtime loads, by its paths in a bundle; nothing if the model file is not there."""
        model_file = driver(judged.runtime).model_file
        if not judged.is_folder:
            digest = await self._files.digest(project, _below(path, judged.path))
            return {model_file: digest} if digest else {}
        folder = _below(path, judged.path.rpartition("/")[0])
        files = await self._files.digests(project, folder, FILES_MAX + 1)
        return files if model_file in files else {}


def _below(folder: str, path: str) -> str:
    return f"{folder}/{path}".lstrip("/")


def proxied_path(origin: Origin) -> str | None:
    """The path at the artifact proxy that an address leads to, or None if it leads elsewhere."""
    if origin.kind == "run":
        return f"0/{origin.name}/artifacts/{origin.path}".rstrip("/")
    return origin.path if origin.kind == "artifacts" else None


def named(connection: Connection, project: str, name: str, version: int) -> NamedVersion:
    """The version with its aliases.

    Raises:
        NotFound: absent, or another tenant's.
    """
    found = VERSIONS.find(connection, project, version_id(name, version))
    if found is None:
        raise NotFound(
            f"Model Version (name={shorten(name)}, version={version}) not found", fix="List the model's versions."
        )
    aliases = find(connection, project, name).aliases
    return NamedVersion(version=found, aliases=tuple(alias for alias, at in aliases.items() if at == version))


def _referred(connection: Connection, project: str, origin: Origin) -> ModelVersion:
    """The version of this project that a `models:/` address names."""
    if origin.path.startswith("@"):
        number = find(connection, project, origin.name).aliases.get(origin.path[1:], 0)
    else:
        number = int(origin.path)
    return named(connection, project, origin.name, number).version
