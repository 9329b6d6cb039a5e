"""Brings the files a source names into a workspace: uploads, web addresses, objects; archives are unpacked on the way."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from sill.core.errors import InvalidValue, TooLarge
from sill.core.names import shorten
from sill.safety.archive import ArchiveLimits, extract
from sill.safety.outbound import Limits, Outbound
from sill.safety.paths import Folder
from sill.safety.tar_reader import Gunzip
from sill.sources import objects
from sill.sources.databases import SCHEMES as DATABASE_SCHEMES
from sill.sources.failures import too_large, unreadable
from sill.sources.identify import identify
from sill.sources.limits import ReadLimits
from sill.sources.parts import Part
from sill.sources.types import Source

SCHEMES = ("upload", "https", "http", *objects.SCHEMES, *DATABASE_SCHEMES)
REDIRECTS_MAX = 5
UNPACK_S = 120.0
_PLACE = "{secret}"

OpenUpload = Callable[[str], BinaryIO]


class Fetcher:
    """Fetches files into one workspace, which the caller removes.

    Args:
        open_upload: opens an upload's blob by its digest; it checks that the tenant has it.
        own_url: where the platform keeps its own blobs.
        environ: where object store credentials are looked for.
    """

    def __init__(
        self,
        workspace: Path,
        open_upload: OpenUpload,
        outbound: Outbound,
        limits: ReadLimits,
        environ: Mapping[str, str],
        own_url: str = "",
    ) -> None:
        self._workspace = workspace
        self._open_upload = open_upload
        self._outbound = outbound
        self._limits = limits
        self._environ = environ
        self._own_url = own_url

    def fetch(self, source: Source, secret: str) -> list[Part]:
        """The files, identified, archives unpacked.

        Raises:
            InvalidValue: a malformed address.
            UnsupportedType: a file of a kind that is not read.
            NotFound, Forbidden, Unavailable, TooLarge: as the way there says.
        """
        scheme = source.url.partition("://")[0]
        if scheme == "upload":
            found = [self._upload(source.url)]
        elif scheme in ("http", "https"):
            found = [self._download(source.url, secret)]
        else:
            credentials = secret if _PLACE not in source.url else ""
            found = objects.fetch_objects(
                fill(source.url, secret),
                credentials,
                self._workspace,
                self._limits,
                self._outbound,
                self._environ,
                self._own_url,
            )
        return [unpacked for number, part in enumerate(found) for unpacked in self._unpack(part, number, source)]

    def _upload(self, url: str) -> Part:
        digest, name = split_upload(url)
        target = self._workspace / "upload"
        with self._open_upload(digest) as blob, target.open("wb") as file:
            shutil.copyfileobj(blob, file, 1024**2)
        return Part(name, name, target)

    def _download(self, url: str, secret: str) -> Part:
        target = self._workspace / "download"
        limits = Limits(
            answer_bytes_max=self._limits.source_bytes_max,
            seconds_max=self._limits.seconds_max,
            redirects_max=REDIRECTS_MAX,
            same_origin=False,
        )
        with target.open("wb") as file:
            self._outbound.download_sync(fill(url, secret), file, limits)
        return Part(shown(url), Path(unquote(urlsplit(url).path)).name or "download", target)

    def _unpack(self, part: Part, number: int, source: Source) -> list[Part]:
        kind = identify(part.path, part.inner)
        if kind == "gzip":
            return self._unpack(self._gunzip(part, number), number, source)
        if kind == "zip":
            return self._unzip(part, number)
        return [Part(part.name, part.inner, part.path, kind)]

    def _gunzip(self, part: Part, number: int) -> Part:
        target = self._workspace / f"plain-{number:06d}-{len(part.path.name)}"
        if len(part.path.name) > 64:
            raise unreadable(part.name, "it is packed within packed files.", "Unpack it first.")
        produced = 0
        with part.path.open("rb") as packed, target.open("wb") as file:
            stream = Gunzip(packed)
            while piece := stream.read(1024**2):
                produced += len(piece)
                if produced > self._limits.source_bytes_max:
                    limit = self._limits.source_bytes_max
                    raise too_large(part.name, "source_bytes_max", f"it unpacks to more than {limit:,} bytes", limit)
                file.write(piece)
        return Part(part.name, part.inner.removesuffix(".gz"), target)

    def _unzip(self, part: Part, number: int) -> list[Part]:
        folder = Folder(self._workspace / f"unpacked-{number:06d}")
        bounds = ArchiveLimits(
            bytes_max=self._limits.source_bytes_max, entries_max=self._limits.parts_max * 2, seconds_max=UNPACK_S
        )
        with part.path.open("rb") as packed:
            inner = sorted(path for path in extract(packed, folder, bounds) if not _is_clutter(path))
        if not inner:
            raise unreadable(part.name, "the archive holds no file.", "Give one that does.")
        if len(inner) > self._limits.parts_max:
            raise TooLarge(f"{part.name} holds {len(inner):,} files; parts_max allows {self._limits.parts_max:,}.")
        parts = []
        for path in inner:
            name = f"{part.name}/{path}"
            kind = identify(folder.root / path, path)
            if kind in ("zip", "gzip"):
                raise unreadable(name, "it is packed within an archive.", "Unpack it first.")
            parts.append(Part(name, path, folder.root / path, kind))
        return parts


def split_upload(url: str) -> tuple[str, str]:
    """(digest, file name) of an upload's address.

    Raises:
        InvalidValue: it is not `upload://DIGEST/NAME`.
    """
    digest, _, name = url.removeprefix("upload://").partition("/")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name:
        raise InvalidValue(f"{shorten(url)!r} is not an upload; upload://DIGEST/NAME is.", field="url")
    return digest, unquote(name)


def fill(url: str, secret: str) -> str:
    """The address with the secret put where `{secret}` stands, percent-encoded."""
    return url.replace(_PLACE, quote(secret, safe="")) if _PLACE in url else url


def shown(url: str) -> str:
    """The address as it may be shown and kept: without user, password, query and fragment."""
    scheme, _, rest = url.partition("://")
    if scheme == "upload":
        return split_upload(url)[1]
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _is_clutter(path: str) -> bool:
    """What archivers and desktops leave behind."""
    names = path.split("/")
    return "__MACOSX" in names or names[-1] in (".DS_Store", "Thumbs.db") or names[-1].startswith("._")
