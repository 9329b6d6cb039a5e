"""One file of a source, as it lies in the workspace: fetched, unpacked, under a name of our own."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One file to read.

    Attributes:
        name: how a person knows it: a URL without secrets, an upload's name, `archive.zip/inner/path`. Kept as `_source`.
        inner: its path below the source, for labels and for telling kinds of text apart.
        path: where it lies.
        kind: what it is, of `identify.KINDS`.
    """

    name: str
    inner: str
    path: Path
    kind: str = ""
