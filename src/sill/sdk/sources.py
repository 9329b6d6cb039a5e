"""Sources from a client: uploads (local paths and folders too), previews, declared ingestions."""

import glob
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from sill.core.errors import InvalidValue, NotFound
from sill.sdk.client import Client
from sill.sdk.pages import Page
from sill.sources.types import IngestionSpec, Preview, Source, Upload

CHUNK_BYTES = 1024 * 1024
FILES_MAX = 100_000
UPLOAD_TIMEOUT_S = 3_600.0


class Sources:
    """What a project reads from."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def upload(self, path: str | Path) -> Upload:
        """Upload a file; a folder or glob goes as one zip, so that its inner folders are kept as labels.

        Raises:
            NotFound: nothing is there.
        """
        found = Path(path)
        if found.is_file():
            with found.open("rb") as file:
                return self._send(file, found.name)
        files, root = _find(str(path))
        with tempfile.TemporaryFile() as packed:
            _pack(packed, files, root)
            packed.seek(0)
            return self._send(packed, f"{root.name or 'files'}.zip")

    def resolve(self, source: Source | str) -> Source:
        """The source with a local path uploaded and replaced by its address; others as they are."""
        given = Source(url=source) if isinstance(source, str) else source
        if "://" in given.url and not given.url.startswith("file://"):
            return given
        uploaded = self.upload(given.url.removeprefix("file://"))
        return msgspec.structs.replace(given, url=uploaded.url)

    def preview(self, source: Source | str, rows: int = 20) -> Preview:
        """The first rows of a source and what would be unified."""
        path = "/projects/{project}/sources/preview"
        return self._client.call("POST", path, Preview, body=self.resolve(source), query={"rows": rows})

    def declare(self, spec: IngestionSpec) -> IngestionSpec:
        """Declare an ingestion; local paths among its sources are uploaded first."""
        resolved = tuple(self.resolve(source) for source in spec.sources)
        sent = msgspec.structs.replace(spec, sources=resolved, project=self._client.project)
        return self._client.call("PUT", f"/projects/{{project}}/ingestions/{spec.name}", IngestionSpec, body=sent)

    def ingestion(self, name: str) -> IngestionSpec:
        """The declared ingestion."""
        return self._client.call("GET", f"/projects/{{project}}/ingestions/{name}", IngestionSpec)

    def ingestions(self) -> Iterator[IngestionSpec]:
        """All declared ingestions, by name."""
        after = ""
        while True:
            path = "/projects/{project}/ingestions"
            page: Page[IngestionSpec] = self._client.call(
                "GET", path, Page[IngestionSpec], query={"after": after, "limit": 100}
            )
            yield from page.items
            if not page.next:
                return
            after = page.next

    def delete_ingestion(self, name: str) -> None:
        """Forget an ingestion; its table stays."""
        self._client.call("DELETE", f"/projects/{{project}}/ingestions/{name}", None)

    def _send(self, file: IO[bytes], name: str) -> Upload:
        return self._client.call(
            "POST",
            "/projects/{project}/uploads",
            Upload,
            query={"name": name},
            content=iter(lambda: file.read(CHUNK_BYTES), b""),
            content_type="application/octet-stream",
            timeout_s=UPLOAD_TIMEOUT_S,
        )


def _find(path: str) -> tuple[list[Path], Path]:
    """The files a folder or glob means, and the folder their names in the archive start from."""
    given = Path(path)
    if given.is_dir():
        files, root = [one for one in sorted(given.rglob("*")) if one.is_file()], given
    else:
        files = [Path(one) for one in sorted(glob.glob(path, recursive=True)) if Path(one).is_file()]
        fixed = next((at for at, part in enumerate(given.parts) if glob.has_magic(part)), len(given.parts))
        root = Path(*given.parts[:fixed])
    if not files:
        raise NotFound(f"there is no file at {path!r}.", fix="Correct the path; it is looked for on this machine.")
    if len(files) > FILES_MAX:
        raise InvalidValue(f"{path!r} means {len(files):,} files; at most {FILES_MAX:,} are uploaded at once.")
    return files, root


def _pack(target: IO[bytes], files: list[Path], root: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(root).as_posix())
