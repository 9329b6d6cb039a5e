"""Looks at a model's files before they are a version: which runtime takes them, what goes in and comes out, how long it takes.

The files are checked by our own readers; then a confined process of its own loads them, answers rows of zeros, and ends.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, SillError, UnsupportedType
from sill.core.names import shorten
from sill.governance.rules import require
from sill.models.bundle import check_files, check_sizes
from sill.models.types import BundleFiles, Inspected
from sill.runtimes.port import driver, inspect, names
from sill.runtimes.types import Inspection
from sill.safety.formats import identify
from sill.stores.blobs import Blobs

INSPECTED_AT_ONCE = 1
"""Models that are loaded to be looked at, each in a process of its own."""


class Inspections:
    """Looks at uploaded files.

    Args:
        pythons: runtime → interpreter that has its library, where it is not this one.
    """

    def __init__(self, blobs: Blobs, pythons: Mapping[str, str]) -> None:
        self._blobs = blobs
        self._pythons = pythons
        self._room = asyncio.Semaphore(INSPECTED_AT_ONCE)

    async def inspect(self, actor: Actor, project: str, given: BundleFiles) -> Inspected:
        """What uploaded files are, and how they must be named in a bundle.

        Args:
            given: `runtime` may be left out; a single file may have any name.
        Raises:
            InvalidValue, UnsupportedType: no runtime takes the files, or a digest is not that of an uploaded blob.
            Refused: the library cannot load them.
            PluginMissing: it is not installed here.
            Forbidden: they are code, and the actor is no admin of models.
        """
        require(actor, "models:write", project)
        check_files(given.files)
        size_bytes = await asyncio.to_thread(self._size, given.files)
        runtime = given.runtime or await asyncio.to_thread(self._recognised, given.files)
        found = driver(runtime)
        if found.runs_code:
            require(actor, "models:admin", project)
        files = given.files
        if len(files) == 1:
            files = {found.model_file: next(iter(files.values()))}
        said = await self.loaded(runtime, files)
        return Inspected(runtime=runtime, files=files, size_bytes=size_bytes, inspection=said)

    async def loaded(self, runtime: str, files: dict[str, str]) -> Inspection:
        """What a model says of itself. The process that loads its files (path → digest) checks them first."""
        async with self._room:
            return await asyncio.to_thread(self._load, runtime, files)

    def _size(self, files: dict[str, str]) -> int:
        """Bytes of uploaded files, if all of them are."""
        if missing := [path for path, digest in files.items() if not self._blobs.exists(digest)]:
            raise InvalidValue(
                f"no blob was uploaded for {shorten(', '.join(missing))}.", fix="Upload the files first.", field="files"
            )
        sizes = {path: self._blobs.size(digest) for path, digest in files.items()}
        check_sizes(sizes)
        return sum(sizes.values())

    def _load(self, runtime: str, files: dict[str, str]) -> Inspection:
        with tempfile.TemporaryDirectory(prefix="sill-inspect-") as folder:
            for path, digest in files.items():
                place = Path(folder) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                with self._blobs.open(digest) as given, place.open("wb") as kept:
                    shutil.copyfileobj(given, kept)
            return inspect(runtime, Path(folder), self._pythons.get(runtime, ""))

    def _recognised(self, files: dict[str, str]) -> str:
        """The runtime whose check takes the files; of a single one, whatever it is called."""
        only = next(iter(files.values())) if len(files) == 1 else ""
        for name in names():
            try:
                driver(name).check(lambda path: self._blobs.open(only) if only else self._open(files, path))
            except SillError:
                continue
            return name
        if only:
            with self._blobs.open(only) as opened:
                identify(opened)  # says what it is, if it is something we know
        raise UnsupportedType(
            f"no runtime takes {shorten(', '.join(sorted(files)))}; there are {', '.join(names())}.",
            fix="Name the runtime to see what is wrong, or export the model to ONNX.",
        )

    def _open(self, files: dict[str, str], path: str) -> BinaryIO:
        if path not in files:
            raise InvalidValue(f"the bundle has no {path}.", fix="Add it to its files.", field="files")
        return self._blobs.open(files[path])
