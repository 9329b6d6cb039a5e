"""Content-addressed blobs, digest checked on read, on disk or in an object store."""

from sill.core.errors import InvalidValue
from sill.core.settings import Settings
from sill.stores.blobs.disk import DiskBlobs
from sill.stores.blobs.port import Blobs

__all__ = ["Blobs", "open_blobs"]

SCHEMES = ("s3", "gs", "az")


def open_blobs(settings: Settings) -> Blobs:
    """The blobs the settings name: a folder in the home, or an object store.

    Raises:
        InvalidValue: `blob_url` is of another kind.
    """
    if not settings.blob_url:
        return DiskBlobs(settings.home / "blobs")
    scheme = settings.blob_url.partition("://")[0]
    if scheme not in SCHEMES:
        raise InvalidValue(
            f"blob address of kind {scheme!r} is not known; {', '.join(f'{name}://' for name in SCHEMES)} are.",
            fix="Set SILL_BLOB_URL.",
        )
    from sill.stores.blobs.objects import ObjectBlobs  # obstore takes 7 MB: only who needs it loads it

    return ObjectBlobs(settings.blob_url, settings.home / "spool")
