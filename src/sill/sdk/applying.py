"""What `sill apply` does: packs the code, uploads it and the local files it names, and sends the declaration."""

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sill.core.errors import InvalidValue, NotFound
from sill.projects.types import ApplyReport, ProjectSpec
from sill.runs.types import CodeUpload
from sill.safety.archive import IGNORED, pack
from sill.sdk.client import Client
from sill.sdk.loading import load_project, project_spec
from sill.sources.types import Source, Upload

CODE_BYTES_MAX = 64 * 1024**2
CODE_FILE_BYTES_MAX = 4 * 1024**2
"""Larger files in the project's folder are taken for data and left out of the code."""
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
        TooLarge: the folder holds more code than `CODE_BYTES_MAX`.
    """
    folder = path.absolute().parent
    loaded = load_project(path)
    spec = project_spec(loaded, "")
    if has_functions(spec):
        say(f"packing the code in {folder}")
        spec = project_spec(loaded, upload_code(client, spec.project, pack_code(folder)))
    spec = upload_sources(client, spec, folder, say)
    say(f"declaring project {spec.project}")
    return client.call("POST", f"/projects/{spec.project}/apply", ApplyReport, body=spec)


def has_functions(spec: ProjectSpec) -> bool:
    """True if something in it is to be executed from the project's code."""
    return bool(spec.trainings or spec.pipelines or any(each.function for each in spec.ingestions))


def pack_code(folder: Path) -> bytes:
    """The folder's files as a zip, without version control, caches, hidden folders and large files.

    Raises:
        TooLarge: more than `CODE_BYTES_MAX` together.
    """
    return pack(folder, ignore=(*IGNORED, ".*", *_large_files(folder)), bytes_max=CODE_BYTES_MAX)


def upload_code(client: Client, project: str, archive: bytes) -> str:
    """Store a code archive; its digest."""
    path = f"/projects/{project}/code"
    return client.call("POST", path, CodeUpload, content=archive, content_type="application/zip").digest


def upload_sources(client: Client, spec: ProjectSpec, folder: Path, say: Callable[[str], None] = quiet) -> ProjectSpec:
    """The declaration with every local source uploaded and replaced by what was stored.

    Raises:
        NotFound: no file matches a local path.
        InvalidValue: a path leads out of the project's folder by `..`, or there are too many files.
    """
    ingestions = []
    for ingestion in spec.ingestions:
        sources: list[Source] = []
        for source in ingestion.sources:
            if not is_local(source.url):
                sources.append(source)
                continue
            for file in local_files(folder, source.url):
                say(f"uploading {file.name}")
                sources.append(msgspec.structs.replace(source, url=upload_file(client, spec.project, file).url))
        ingestions.append(msgspec.structs.replace(ingestion, sources=tuple(sources)))
    return msgspec.structs.replace(spec, ingestions=tuple(ingestions))


def is_local(url: str) -> bool:
    """True for a path; everything else has a scheme."""
    return "://" not in url


def local_files(folder: Path, pattern: str) -> list[Path]:
    """The files a path or glob names, in order, relative to the project's folder; a folder means all files in it.

    Raises:
        NotFound: there is none.
        InvalidValue: more than `UPLOADS_MAX`.
    """
    place = Path(pattern).expanduser()
    whole = str(place if place.is_absolute() else Path(glob.escape(str(folder))) / place)
    matched = [Path(name) for name in sorted(glob.glob(whole, recursive=True))]
    files = [file for found in matched for file in ([found] if found.is_file() else _files_in(found))]
    if not files:
        raise NotFound(f"no file matches {pattern!r} in {folder}.", fix="Paths are relative to the project file.")
    if len(files) > UPLOADS_MAX:
        raise InvalidValue(
            f"{pattern!r} names {len(files)} files; {UPLOADS_MAX} are allowed.", fix="Put them in an object store."
        )
    return files


def upload_file(client: Client, project: str, file: Path) -> Upload:
    """Upload one file of the user's, in pieces."""
    kind = "application/octet-stream"
    try:
        with file.open("rb") as opened:
            pieces = iter(lambda: opened.read(_CHUNK), b"")
            path = f"/projects/{project}/uploads"
            return client.call(
                "POST", path, Upload, content=pieces, content_type=kind, query={"name": file.name}, timeout_s=600
            )
    except OSError as unreadable:
        raise InvalidValue(f"{file} cannot be read: {unreadable.strerror}.") from unreadable


def _files_in(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, in order, without hidden and ignored folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in IGNORED)
        files = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in files if file.is_file() and not file.is_symlink())


def _large_files(folder: Path) -> list[str]:
    """Paths of files that are too large to be code, as patterns that match just them."""
    large = (file for file in _files_in(folder) if file.stat().st_size > CODE_FILE_BYTES_MAX)
    return [glob.escape(str(file.relative_to(folder))) for file in large]
