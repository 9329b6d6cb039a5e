"""Code archives: checked by unpacking them once, then kept by digest."""

import tempfile
from pathlib import Path

from sill.core.errors import UnsupportedType
from sill.runs.types import CodeUpload
from sill.safety.archive import ArchiveLimits, extract
from sill.safety.paths import Folder
from sill.stores.blobs.port import Blobs

CODE_BYTES_MAX = 64 * 1024**2
CODE_LIMITS = ArchiveLimits(bytes_max=1024**3, entries_max=20_000)


def check_code(blobs: Blobs, digest: str) -> CodeUpload:
    """What the archive holds. Blocks; call it in a thread.

    Raises:
        SillError: it is no zip archive, or one that would be refused when a run is started from it.
    """
    with blobs.open(digest) as archive, tempfile.TemporaryDirectory(prefix="sill-code-") as place:
        if archive.read(2) != b"PK":
            raise UnsupportedType("the code is not a zip archive.", fix="Send what `sill apply` or `sill run` packs.")
        archive.seek(0)
        files = extract(archive, Folder(Path(place)), CODE_LIMITS)
    return CodeUpload(digest=digest, size_bytes=blobs.size(digest), files=len(files))
