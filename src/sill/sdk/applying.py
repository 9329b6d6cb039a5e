"""What `sill apply` does: packs the code, uploads it and the local files it names, and sends the declaration."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.projects.types import ApplyReport, ProjectSpec
from sill.runs.types import CodeUpload
from sill.safety.archive import IGNORED, pack
from sill.sdk.client import Client
from sill.sdk.governance import Governance
from sill.sdk.loading import load_project, project_spec
from sill.sdk.packing import pack_folder
from sill.sources.types import Source, Upload

FOLDER_BYTES_MAX = 512 * 1024**2
"""A folder of data is sent as one archive; what is larger belongs into an object store."""
UPLOADS_MAX = 1_000
_CHUNK = 1024**2


def quiet(line: str) -> None:
    """Say nothing."""


def apply(client: Client, path: Path, say: Callable[[str], None] = quiet) -> ApplyReport:
    """Make what a project file declares so.

    Args:
        say: told what is being done, a line at a time.
    Raises:
        InvalidValue: the project file is not right; with file and line.
        TooLarge: the folder holds more than code does, see `packing`.
    """
    folder = path.absolute().parent
    loaded = load_project(path)
    spec = project_spec(loaded, "")
    ensure_project(client, spec)
    if has_functions(spec):
        say(f"packing the code in {folder}")
        packed = pack_folder(folder)
        say(packed.remark or f"sending {packed.files} files of code")
        spec = project_spec(loaded, upload_code(client, spec.project, packed.archive))
    spec = upload_sources(client, spec, folder, say)
    say(f"declaring project {spec.project}")
    return client.call("POST", f"/projects/{spec.project}/apply", ApplyReport, body=spec)


def ensure_project(client: Client, spec: ProjectSpec) -> None:
    """Make the project if it is not there: what is uploaded belongs to one."""
    governance = Governance(client)
    try:
        governance.project(spec.project)
    except NotFound:
        with suppress(Conflict):  # somebody else was first
            governance.create_project(spec.project, note=spec.note)


def has_functions(spec: ProjectSpec) -> bool:
    """True if something in it is to be executed from the project's code."""
    return bool(spec.trainings or spec.pipelines or any(each.function for each in spec.ingestions))


def upload_code(client: Client, project: str, archive: bytes) -> str:
    """Store a code archive; its digest."""
    path = f"/projects/{project}/code"
    return client.call("POST", path, CodeUpload, content=archive, content_type="application/zip").digest


def upload_sources(client: Client, spec: ProjectSpec, folder: Path, say: Callable[[str], None] = quiet) -> ProjectSpec:
    """The declaration with every local source uploaded and replaced by what was stored.

    Raises:
        NotFound: no file matches a local path.
        InvalidValue: there are too many files.
    """
    ingestions = []
    for ingestion in spec.ingestions:
        sources: list[Source] = []
        for source in ingestion.sources:
            if not is_local(source.url):
                sources.append(source)
                continue
            for place in local_places(folder, source.url):
                say(f"uploading {place.name}")
                sources.append(msgspec.structs.replace(source, url=upload_place(client, spec.project, place).url))
        ingestions.append(msgspec.structs.replace(ingestion, sources=tuple(sources)))
    return msgspec.structs.replace(spec, ingestions=tuple(ingestions))


def is_local(url: str) -> bool:
    """True for a path; everything else has a scheme."""
    return "://" not in url


def local_places(folder: Path, pattern: str) -> list[Path]:
    """The files and folders a path or glob names, in order, relative to the project's folder.

    Raises:
        NotFound: there is none.
        InvalidValue: more than `UPLOADS_MAX`.
    """
    place = Path(pattern).expanduser()
    whole = str(place if place.is_absolute() else Path(glob.escape(str(folder))) / place)
    found = [Path(name) for name in sorted(glob.glob(whole, recursive=True))]
    if not found:
        raise NotFound(f"no file matches {pattern!r} in {folder}.", fix="Paths are relative to the project file.")
    if len(found) > UPLOADS_MAX:
        raise InvalidValue(
            f"{pattern!r} names {len(found)} files; {UPLOADS_MAX} are allowed.",
            fix="Name the folder they lie in, or put them in an object store.",
        )
    return found


def upload_place(client: Client, project: str, place: Path) -> Upload:
    """Upload a file of the user's in pieces; a folder as one archive of the files below it, without hidden ones.

    Raises:
        InvalidValue: it cannot be read, or the folder holds links or devices.
        NotFound: the folder holds no file.
        TooLarge: the folder holds more than `FOLDER_BYTES_MAX`.
    """
    if not place.is_dir():
        return _upload_file(client, project, place)
    if next(_files_in(place), None) is None:
        raise NotFound(f"folder {place} holds no file.", fix="Name one that does.")
    archive = pack(place, ignore=(*IGNORED, ".*"), bytes_max=FOLDER_BYTES_MAX)
    return _send(client, project, f"{place.name}.zip", archive)


def _upload_file(client: Client, project: str, file: Path) -> Upload:
    try:
        with file.open("rb") as opened:
            return _send(client, project, file.name, iter(lambda: opened.read(_CHUNK), b""))
    except OSError as unreadable:
        raise InvalidValue(f"{file} cannot be read: {unreadable.strerror}.") from unreadable


def _send(client: Client, project: str, name: str, content: bytes | Iterable[bytes]) -> Upload:
    return client.call(
        "POST",
        f"/projects/{project}/uploads",
        Upload,
        content=content,
        content_type="application/octet-stream",
        query={"name": name},
        timeout_s=600,
    )


def _files_in(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, in order, without hidden and ignored folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in IGNORED)
        files = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file() and not file.is_symlink())
