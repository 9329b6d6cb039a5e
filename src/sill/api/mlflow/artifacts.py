"""The artifact proxy for MLflow's clients: files by path, whole, by ranges, or in parts; and the routes that name a run."""

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote

from starlette.responses import Response

from sill.api.downloads import download, download_headers, media_type_of
from sill.api.mlflow.registry import version_of
from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import check_id, shorten
from sill.models.origins import check_source
from sill.models.placing import proxied_path
from sill.models.types import MANIFEST_FILE, ModelVersion
from sill.protocols.mlflow.artifacts import (
    CreateUpload,
    Credential,
    EndUpload,
    Files,
    GetModelFile,
    GetRunFile,
    GetVersionFile,
    ListFiles,
    ListModelFiles,
    ListRunFiles,
    Presigned,
    UploadCreated,
    shown_files,
)
from sill.protocols.mlflow.errors import RESOURCE_DOES_NOT_EXIST, invalid, missing_value, refusal
from sill.protocols.mlflow.mlmodel import MLMODEL_FILE, describe
from sill.runs.tracking.artifacts import pieces
from sill.runs.tracking.places import Place, VersionPlace, place_of
from sill.runs.types import ArtifactEntry, ByteRange
from sill.safety.paths import check_relative

ROUTES = WireRoutes(tag="artifacts")

_PROXY = "/mlflow-artifacts/artifacts"
_UPLOAD = "/mlflow-artifacts/mpu"
_SLASHES = re.compile(r"[/\\]")


@ROUTES.get(_PROXY, scope="runs:read", body=ListFiles)
async def list_proxied(call: Call) -> Files:
    """Files and folders right in a folder of the proxy, by name."""
    place = _place(call.body.path or "")
    return shown_files(await _children(call, place), names_only=True)


@ROUTES.get(f"{_PROXY}/{{path:path}}", scope="runs:read")
async def get_proxied(call: Call) -> Response:
    """Download a file of the proxy."""
    return await _download(call, _place(call.path["path"]))


@ROUTES.put(f"{_PROXY}/{{path:path}}", scope="runs:write", is_raw=True)
async def put_proxied(call: Call) -> None:
    """Keep a file at a path of the proxy."""
    place = _writable(call.path["path"])
    await call.services.artifacts.put(call.actor, call.project, *place, call.request.stream())


@ROUTES.delete(f"{_PROXY}/{{path:path}}", scope="runs:write")
async def delete_proxied(call: Call) -> None:
    """Delete a file or folder of the proxy."""
    place = _place(call.path["path"])
    if isinstance(place, VersionPlace):
        raise _read_only(call.path["path"])
    await call.services.artifacts.delete(call.actor, call.project, *place, is_missing_ok=True)


@ROUTES.post(f"{_UPLOAD}/create/{{path:path}}", scope="runs:write", body=CreateUpload, required=("path",))
async def create_upload(call: Call) -> UploadCreated:
    """Begin the upload of a file in parts."""
    body: CreateUpload = call.body
    place = _writable(_target(call.path["path"], body.path or ""))
    count = 1 if body.num_parts is None else body.num_parts
    begun = await call.services.uploads.begin(call.actor, call.project, *place, count)
    base = f"{_base(call)}{_UPLOAD}/part/{begun.id}"
    headers = _credentials(call)
    credentials = (Credential(url=f"{base}/{n}", part_number=n, headers=headers) for n in range(1, count + 1))
    return UploadCreated(upload_id=begun.id, credentials=tuple(credentials))


@ROUTES.put(f"{_UPLOAD}/part/{{upload_id}}/{{number}}", scope="runs:write", is_raw=True)
async def put_part(call: Call) -> Response:
    """Keep one part; its ETag is its digest."""
    number = version_of(call.path["number"])
    stream = call.request.stream()
    part = await call.services.uploads.put_part(call.actor, call.project, call.path["upload_id"], number, stream)
    return Response(b"{}", media_type="application/json", headers={"ETag": f'"{part.digest}"'})


@ROUTES.post(f"{_UPLOAD}/complete/{{path:path}}", scope="runs:write", body=EndUpload, required=("path", "upload_id"))
async def complete_upload(call: Call) -> None:
    """Put the parts together."""
    body: EndUpload = call.body
    place = _writable(_target(call.path["path"], body.path or ""))
    named = tuple((part.part_number or 0, (part.etag or "").strip('"')) for part in body.parts or ())
    await call.services.uploads.complete(call.actor, call.project, body.upload_id or "", place.path, named)


@ROUTES.post(f"{_UPLOAD}/abort/{{path:path}}", scope="runs:write", body=EndUpload, required=("path", "upload_id"))
async def abort_upload(call: Call) -> None:
    """Give an upload up."""
    await call.services.uploads.abort(call.actor, call.project, call.body.upload_id)


@ROUTES.get("/mlflow-artifacts/presigned/{path:path}", scope="runs:read")
async def get_presigned(call: Call) -> Presigned:
    """Where ranges of a file can be had: at the proxy itself."""
    place = _place(call.path["path"])
    if isinstance(place, VersionPlace):
        raise NotFound("files of a registered version are not handed out in ranges.", fix="Download it whole.")
    found = await call.services.artifacts.find(call.actor, call.project, *place)
    url = f"{_base(call)}{_PROXY}/{quote(call.path['path'])}"
    return Presigned(url=url, headers=_credentials(call), file_size=found.size_bytes)


@ROUTES.get("/mlflow/artifacts/list", scope="runs:read", body=ListRunFiles)
async def list_run_files(call: Call) -> Files:
    """Files and folders right in a folder of a run's artifacts."""
    body: ListRunFiles = call.body
    run_id = _run_id(body.run_id, body.run_uuid)
    folder = _folder(body.path)
    run = await call.services.runs.run(call.actor, call.project, run_id)
    entries = await call.services.artifacts.children(call.actor, call.project, run_id, folder)
    return shown_files(entries, run.artifact_uri)


@ROUTES.root("GET", "/get-artifact", scope="runs:read", body=GetRunFile, required=("path",))
async def get_run_file(call: Call) -> Response:
    """Download an artifact of a run."""
    body: GetRunFile = call.body
    path = _safe(body.path or "")
    return await _download(call, Place(_run_id(body.run_id, body.run_uuid), path))


@ROUTES.post("/mlflow/upload-artifact", scope="runs:write", is_raw=True)
async def upload_run_file(call: Call) -> None:
    """Keep an artifact of a run, named in the query."""
    run_id, path = call.request.query_params.get("run_uuid", ""), call.request.query_params.get("path", "")
    if not run_id:
        raise invalid("Request must specify run_uuid.")
    if not path:
        raise invalid("Request must specify path.")
    _safe(path)
    stream = call.request.stream()
    begin = await anext(stream, b"")
    if not begin:
        raise invalid("Request must specify data.")
    await call.services.artifacts.put(call.actor, call.project, run_id, path, _chained(begin, stream))


@ROUTES.root(
    "GET",
    "/model-versions/get-artifact",
    scope="models:read",
    body=GetVersionFile,
    required=("name", "version", "path"),
)
async def get_version_file(call: Call) -> Response:
    """Download a file of a registered version."""
    body: GetVersionFile = call.body
    path = _safe(body.path or "")
    found = await call.services.tracked.get(call.actor, call.project, body.name or "", version_of(body.version))
    root = proxied_path(check_source(found.version.address, run_id=found.version.spec.run_id))
    if root is None:
        raise NotFound("the version's files are kept elsewhere.", fix=f"They are at {shorten(found.version.source)}.")
    return await _download(call, _place(f"{root}/{path}".lstrip("/")))


@ROUTES.get("/mlflow/logged-models/{model_id}/artifacts/directories", scope="runs:read", body=ListModelFiles)
async def list_model_files(call: Call) -> Files:
    """Files and folders right in a folder of a logged model's artifacts."""
    model_id = call.path["model_id"]
    model = await call.services.logged_models.get(call.actor, call.project, model_id)
    folder = _folder(call.body.artifact_directory_path)
    entries = await call.services.artifacts.children(call.actor, call.project, model_id, folder)
    return shown_files(entries, model.artifact_uri)


@ROUTES.get("/mlflow/logged-models/{model_id}/artifacts/files", scope="runs:read", body=GetModelFile)
async def get_model_file(call: Call) -> Response:
    """Download an artifact of a logged model."""
    path = call.body.artifact_file_path
    if not path:
        raise missing_value("artifact_file_path")
    return await _download(call, Place(call.path["model_id"], _safe(path)))


async def _download(call: Call, place: Place | VersionPlace) -> Response:
    """The file at a place, or the range of it that is asked for."""
    if isinstance(place, VersionPlace):
        return await _download_bundled(call, place)
    found = await call.services.artifacts.find(call.actor, call.project, *place)
    opener = partial(call.services.artifacts.open, found)
    kind = media_type_of(found.path)
    return await download(call.request, found.path, found.size_bytes, found.digest, opener, kind)


async def _download_bundled(call: Call, place: VersionPlace) -> Response:
    """A file of a version that went through a gate, checked against its signed manifest."""
    models = call.services.models
    version = await models.version(call.actor, call.project, place.model, place.version)
    kind = media_type_of(place.path)
    if place.path in (MLMODEL_FILE, MANIFEST_FILE) or place.path not in version.spec.files:
        is_made = place.path == MLMODEL_FILE and not version.is_tracked
        text = describe(version) if is_made else await asyncio.to_thread(models.file_of, version, place.path)
        return Response(text, headers=download_headers(place.path, len(text)) | {"Content-Type": kind})
    file, size = await asyncio.to_thread(models.open_file, version, place.path)

    async def opener(part: ByteRange | None) -> AsyncIterator[bytes]:
        file.seek(part.start if part else 0)
        return pieces(file, part.end - part.start if part else size)

    return await download(call.request, place.path, size, version.spec.files[place.path], opener, kind)


async def _children(call: Call, place: Place | VersionPlace) -> tuple[ArtifactEntry, ...]:
    if isinstance(place, VersionPlace):
        models = call.services.models
        version = await models.version(call.actor, call.project, place.model, place.version)
        sizes = await asyncio.to_thread(models.sizes_of, version)
        return _bundled(version, sizes, place.path)
    return await call.services.artifacts.children(call.actor, call.project, *place)


def _bundled(version: ModelVersion, sizes: dict[str, int], folder: str) -> tuple[ArtifactEntry, ...]:
    """Files and folders right in a folder of a version's bundle, with the `MLmodel` file that describes it."""
    known = sizes | {MLMODEL_FILE: len(describe(version))}
    start = f"{folder}/" if folder else ""
    found: dict[str, ArtifactEntry] = {}
    for path in sorted(known):
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            size = 0 if slash else known[path]
            found[name] = ArtifactEntry(path=start + name, is_folder=bool(slash), size_bytes=size)
    return tuple(found.values())


def _writable(path: str) -> Place:
    """The place of a file that is to be kept.

    Raises:
        InvalidValue: the path is not allowed, or is that of a registered version, whose files never change.
    """
    place = _place(path)
    if isinstance(place, VersionPlace):
        raise _read_only(path)
    return place


def _read_only(path: str) -> Exception:
    return invalid(f"{shorten(path)!r} belongs to a registered version; its files never change.")


def _target(folder: str, local_path: str) -> str:
    """Where a file of the client's machine goes: into the folder, under its own name."""
    return f"{folder.strip('/')}/{_SLASHES.split(local_path)[-1]}".lstrip("/")


def _place(path: str) -> Place | VersionPlace:
    """What a path means; told in MLflow's words if it is not allowed."""
    try:
        return place_of(path)
    except InvalidValue as wrong:
        raise invalid("Invalid path") from wrong


def _safe(path: str) -> str:
    """The path itself, if it is allowed."""
    try:
        return check_relative(path)
    except InvalidValue as wrong:
        raise invalid("Invalid path") from wrong


def _folder(given: str | None) -> str:
    """The folder that is asked for, empty for all of them."""
    folder = (given or "").rstrip("/")
    return _safe(folder) if folder else ""


async def _chained(begin: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for piece in rest:
        yield piece


def _run_id(run_id: str | None, run_uuid: str | None) -> str:
    found = run_id or run_uuid
    if not found:
        raise missing_value("run_id")
    try:
        return check_id(found)
    except InvalidValue as wrong:
        raise refusal(RESOURCE_DOES_NOT_EXIST, f"Run with id={shorten(found)} not found") from wrong


def _base(call: Call) -> str:
    """The address under which the client reached us, with its project named."""
    url = call.request.base_url
    return f"{url.scheme}://{url.netloc}/projects/{call.project}/api/2.0"


def _credentials(call: Call) -> dict[str, str]:
    """What the client itself sent to be let in; it sends the parts of a file without a session of its own."""
    given = call.request.headers.get("authorization")
    return {"Authorization": given} if given else {}
