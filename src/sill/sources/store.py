"""What is kept about sources: who uploaded what, and which ingestions are declared."""

from sill.core.values import Value
from sill.sources.types import IngestionSpec
from sill.stores.database import Documents


class UploadRecord(Value, frozen=True, kw_only=True):
    """That a project has an upload. Blobs are shared by content; only this says whose they are."""

    project: str
    digest: str
    name: str
    size_bytes: int
    created_us: int
    revision: int = 0


UPLOADS: Documents[UploadRecord] = Documents("uploads", UploadRecord, key="digest", noun="upload")
INGESTIONS: Documents[IngestionSpec] = Documents("ingestions", IngestionSpec, columns=("table",), noun="ingestion")
