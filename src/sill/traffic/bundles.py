"""The inference plane's own copy of every bundle it serves, by digest. Nothing is handed out that was not checked."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

import msgspec

from sill.core.errors import Damaged, InvalidValue, Unavailable
from sill.core.names import shorten
from sill.endpoints.types import PlanRevision
from sill.safety.signing import Manifest, verify_manifest

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
FILES_MAX = 1_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Files(Protocol):
    """Where a bundle's files come from."""

    def file(self, project: str, model: str, version: int, path: str) -> bytes:
        """One file of a model version."""
        ...


class Bundles:
    """A folder with one file for each digest.

    Args:
        folder: made if it is not there; readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def model(self, source: Files, project: str, model: str, revision: PlanRevision, public_key: str) -> bytes:
        """The model file of a revision, after the whole bundle was fetched and checked against its signed manifest.

        Raises:
            Damaged: a file or the signature is wrong.
            InvalidValue: the revision has no model file or no manifest.
            Unavailable: a file is not here yet, and the source cannot be reached.
        """
        check_files(revision.files)
        held = {path: self._held(source, project, model, revision, path) for path in revision.files}
        try:
            manifest = msgspec.json.decode(held.pop(MANIFEST_FILE), type=Manifest)
        except msgspec.DecodeError as wrong:
            raise Damaged(f"{MANIFEST_FILE} of {model}/{revision.model_version} is no manifest.") from wrong
        verify_manifest(manifest, public_key, held)
        return held[MODEL_FILE]

    def keep_only(self, digests: set[str]) -> int:
        """Remove every file whose digest is not listed. Returns the bytes freed."""
        freed = 0
        for path in self._folder.iterdir():
            if path.is_file() and path.name not in digests:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _held(self, source: Files, project: str, model: str, revision: PlanRevision, path: str) -> bytes:
        digest, was_damaged = revision.files[path], False
        kept = self._folder / digest
        if kept.is_file():
            content = kept.read_bytes()
            if hashlib.sha256(content).hexdigest() == digest:
                return content
            kept.unlink()  # damaged on this disk: fetched again
            was_damaged = True
        try:
            content = source.file(project, model, revision.model_version, path)
        except Unavailable as away:
            lack = "is damaged here" if was_damaged else "is not here yet"
            raise Unavailable(f"{shorten(path)} of {model}/{revision.model_version} {lack}, and {away}") from away
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(
                f"{shorten(path)} of {model}/{revision.model_version} does not match its digest {digest[:12]}…."
            )
        self._keep(kept, content)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        """All of it or nothing, on disk before it counts."""
        descriptor, beside = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.move(beside, path)


def check_files(files: dict[str, str]) -> None:
    """Refuses a plan's files that could not be a bundle.

    Raises:
        InvalidValue: no model, no manifest, too many files, or a digest that is not one.
    """
    for wanted in (MODEL_FILE, MANIFEST_FILE):
        if wanted not in files:
            raise InvalidValue(f"the bundle has no {wanted}; only signed bundles with a model are served.")
    if len(files) > FILES_MAX or not all(_DIGEST.fullmatch(digest) for digest in files.values()):
        raise InvalidValue(f"the bundle has more than {FILES_MAX} files, or a digest that is not a SHA-256.")
