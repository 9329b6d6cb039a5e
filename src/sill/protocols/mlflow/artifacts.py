"""Messages of the artifact proxy and of the routes that list and download artifacts."""

from collections.abc import Iterable

from sill.protocols.mlflow.wire import Int64, Wire
from sill.runs.types import ArtifactEntry


class FileInfo(Wire, frozen=True, kw_only=True):
    """A file or folder. `is_dir` is always written; a folder has no size."""

    path: str
    is_dir: bool | None = None
    file_size: Int64 | None = None


class Files(Wire, frozen=True, kw_only=True):
    """Answer of a list."""

    root_uri: str | None = None
    files: tuple[FileInfo, ...] = ()
    next_page_token: str | None = None


class ListFiles(Wire, frozen=True, kw_only=True):
    """Request of a list at the artifact proxy."""

    path: str | None = None


class ListRunFiles(Wire, frozen=True, kw_only=True):
    """Request of artifacts/list."""

    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None
    page_token: str | None = None


class ListModelFiles(Wire, frozen=True, kw_only=True):
    """Request of a list of a logged model's artifacts."""

    artifact_directory_path: str | None = None
    page_token: str | None = None


class GetRunFile(Wire, frozen=True, kw_only=True):
    """Request of get-artifact and upload-artifact."""

    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None


class GetVersionFile(Wire, frozen=True, kw_only=True):
    """Request of model-versions/get-artifact."""

    name: str | None = None
    version: str | None = None
    path: str | None = None


class GetModelFile(Wire, frozen=True, kw_only=True):
    """Request of a logged model's file."""

    artifact_file_path: str | None = None


class CreateUpload(Wire, frozen=True, kw_only=True):
    """Request of mpu/create. `path` is the file on the client's machine; its last part is the artifact's name."""

    path: str | None = None
    num_parts: Int64 | None = None


class Credential(Wire, frozen=True, kw_only=True):
    """Where a part is sent, and with which headers."""

    url: str
    part_number: Int64
    headers: dict[str, str] = {}


class UploadCreated(Wire, frozen=True, kw_only=True):
    """Answer of mpu/create."""

    upload_id: str
    credentials: tuple[Credential, ...] = ()


class SentPart(Wire, frozen=True, kw_only=True):
    """A part as the client knows it."""

    part_number: Int64 | None = None
    etag: str | None = None
    url: str | None = None


class EndUpload(Wire, frozen=True, kw_only=True):
    """Request of mpu/complete and mpu/abort."""

    path: str | None = None
    upload_id: str | None = None
    parts: tuple[SentPart, ...] | None = None


class Presigned(Wire, frozen=True, kw_only=True):
    """Answer of presigned: where ranges of a file can be had."""

    url: str
    headers: dict[str, str] = {}
    file_size: Int64 | None = None


def shown_files(entries: Iterable[ArtifactEntry], root_uri: str | None = None, *, names_only: bool = False) -> Files:
    """Entries as MLflow's clients read them; by their names alone at the proxy."""
    files = tuple(
        FileInfo(
            path=entry.path.rpartition("/")[2] if names_only else entry.path,
            is_dir=entry.is_folder,
            file_size=entry.size_bytes or None,  # MLflow's server leaves 0 out too
        )
        for entry in entries
    )
    return Files(root_uri=root_uri, files=files)
