"""Blobs in an object store (S3, Google Cloud Storage, Azure), through obstore.

A named object carries its digest in its own metadata, written by the same request as the bytes. Credentials and
endpoint come from the environment, in each cloud's own variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from sill.core.errors import Conflict, Unavailable
from sill.core.names import shorten
from sill.stores.blobs.port import CHUNK_BYTES, check_object_name, damaged, fan_out, no_blob, no_object, sha256
from sill.stores.blobs.spool import Spool, make_spool_folder, spool_file, spool_stream
from sill.stores.blobs.verified import Verified

TIMEOUT_S = 60
RETRIES_MAX = 5
RETRY_S = 60
_DIGEST_KEY = "sha256"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


class ObjectBlobs:
    """The driver for an object store.

    Args:
        url: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
        spool: folder of this machine where bytes wait until their digest is known.
    """

    def __init__(self, url: str, spool: Path) -> None:
        self._url = url.rstrip("/")
        self._spool = make_spool_folder(spool)
        self._store = _open_store(self._url)
        self._verified = Verified()

    def put_bytes(self, data: bytes) -> str:
        """Keep the bytes; returns their digest."""
        digest = sha256(data)
        with _told_put(self._url):
            try:
                obstore.put(self._store, _blob(digest), data, mode="create", attributes={_DIGEST_KEY: digest})
            except AlreadyExistsError:
                # Known bytes are read back once: a damaged copy must not swallow the sound one.
                if sha256(self._read(_blob(digest))[0]) != digest:
                    obstore.put(self._store, _blob(digest), data, attributes={_DIGEST_KEY: digest})
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a copy of the file; returns its digest."""
        with Spool(self._spool) as spool:
            spool_file(spool, path)
            return self._keep(spool)

    async def put_stream(self, chunks: AsyncIterator[bytes], size_max: int) -> tuple[str, int]:
        """Keep what the chunks come to; returns digest and size."""
        with Spool(self._spool) as spool:
            await spool_stream(spool, chunks, size_max)
            return await asyncio.to_thread(self._keep, spool), spool.size

    def get(self, digest: str) -> bytes:
        """The bytes, verified."""
        try:
            with _told(self._url):
                data, _ = self._read(_blob(digest))
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing
        if sha256(data) != digest:
            raise damaged(f"blob {digest}")
        return data

    def open(self, digest: str) -> BinaryIO:
        """The bytes as a file, verified before it is handed out; a copy on this machine's disk, gone when closed."""
        spool = Spool(self._spool)
        try:
            with _told(self._url):
                for chunk in obstore.get(self._store, _blob(digest)).stream(CHUNK_BYTES):
                    spool.write(bytes(chunk))
            if spool.digest != digest:
                raise damaged(f"blob {digest}")
        except FileNotFoundError as missing:
            spool.close()
            raise no_blob(digest) from missing
        except BaseException:
            spool.close()
            raise
        spool.path.unlink()
        return spool.reader()

    def open_range(self, digest: str, start: int, end: int) -> BinaryIO:
        """A copy of the range on this machine's disk, gone when closed; the whole was verified."""
        try:
            with _told(self._url):
                state = obstore.head(self._store, _blob(digest))["e_tag"]
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing
        if state is None or not self._verified.holds(digest, state):
            whole = self.open(digest)
            self._verified.note(digest, state)
            whole.seek(start)
            return whole
        spool = Spool(self._spool)
        try:
            with _told(self._url):
                found = obstore.get(self._store, _blob(digest), options={"range": (start, end), "if_match": state})
                for chunk in found.stream(CHUNK_BYTES):
                    spool.write(bytes(chunk))
        except BaseException as wrong:
            spool.close()
            if isinstance(wrong, FileNotFoundError):
                raise no_blob(digest) from wrong
            raise
        spool.path.unlink()
        return spool.reader()

    def size(self, digest: str) -> int:
        """Size in bytes."""
        found = self._size(_blob(digest))
        if found is None:
            raise no_blob(digest)
        return found

    def exists(self, digest: str) -> bool:
        """True if something is kept under the digest."""
        return self._size(_blob(digest)) is not None

    def delete(self, digest: str) -> int:
        """Remove the blob; returns the bytes freed."""
        return self._remove(_blob(digest))

    def digests(self) -> Iterator[str]:
        """Digests of all blobs."""
        for key in self._keys("blobs"):
            yield key.removeprefix("blobs/").replace("/", "")

    def put_named(self, name: str, data: bytes) -> None:
        """Keep the bytes under a name that is not taken."""
        with _told_put(self._url):
            try:
                obstore.put(self._store, _named(name), data, mode="create", attributes={_DIGEST_KEY: sha256(data)})
            except AlreadyExistsError as there:
                raise Conflict(
                    f"object {shorten(name)!r} exists already; it is never overwritten.", fix="Choose another name."
                ) from there

    def get_named(self, name: str) -> bytes:
        """The bytes under the name, verified."""
        try:
            with _told(self._url):
                data, attributes = self._read(_named(name))
        except FileNotFoundError as missing:
            raise no_object(name) from missing
        if attributes.get(_DIGEST_KEY) != sha256(data):
            raise damaged(f"object {name!r}")
        return data

    def delete_named(self, name: str) -> int:
        """Remove the named object; returns the bytes freed."""
        return self._remove(_named(name))

    def names(self, prefix: str = "") -> Iterator[str]:
        """All names that start with the prefix."""
        above = prefix.rpartition("/")[0]  # stores list whole path parts only
        for key in self._keys(f"named/{above}" if above else "named"):
            name = key.removeprefix("named/")
            if name.startswith(prefix):
                yield name

    def url(self, name: str) -> str:
        """The object's address."""
        return f"{self._url}/{_named(name)}"

    def _keep(self, spool: Spool) -> str:
        """Send the spool to its place. The place is its digest, so that sending it twice changes nothing."""
        digest, body = spool.digest, spool.reader()
        with _told_put(self._url):
            if spool.size:
                obstore.put(self._store, _blob(digest), body, attributes={_DIGEST_KEY: digest})
            else:
                obstore.put(self._store, _blob(digest), b"", attributes={_DIGEST_KEY: digest})
        return digest

    def _read(self, key: str) -> tuple[bytes, dict[str, str]]:
        found = obstore.get(self._store, key)
        return bytes(found.bytes()), found.attributes

    def _size(self, key: str) -> int | None:
        try:
            with _told(self._url):
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def _remove(self, key: str) -> int:
        freed = self._size(key)
        if freed is None:
            return 0
        try:
            with _told(self._url):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            return 0  # somebody else was first
        return freed

    def _keys(self, prefix: str) -> Iterator[str]:
        with _told(self._url):
            for page in obstore.list(self._store, prefix=prefix):
                for entry in page:
                    yield str(entry["path"])


def _open_store(url: str) -> Any:
    # Plain http is spoken only to an endpoint that the operator wrote as http:// himself, such as a store next door.
    is_plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
    return from_url(
        url,
        client_options={"timeout": f"{TIMEOUT_S}s", "allow_http": is_plain},
        retry_config={"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=RETRY_S)},
    )


def _blob(digest: str) -> str:
    return f"blobs/{fan_out(digest)}"


def _named(name: str) -> str:
    return f"named/{check_object_name(name)}"


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turns what the object store says into our errors; `FileNotFoundError` passes, its message is the caller's."""
    try:
        yield
    except BaseError as broken:
        raise _unavailable(url, broken) from broken


@contextmanager
def _told_put(url: str) -> Iterator[None]:
    """The same for writes, where what is not found is the bucket."""
    try:
        with _told(url):
            yield
    except FileNotFoundError as broken:
        raise _unavailable(url, broken) from broken


def _unavailable(url: str, broken: Exception) -> Unavailable:
    return Unavailable(
        f"the object store {url} did not do as asked ({type(broken).__name__}).",
        fix="Check that it is up, that the bucket exists, and that the credentials in the environment may use it.",
    )
