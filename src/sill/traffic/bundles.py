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
from sill.safety.paths import check_relative
from sill.safety.signing import Manifest, file_digest, verify_signature

MANIFEST_FILE = "manifest.json"
FILES_MAX = 1_000
TREES = "trees"
"""Folder of the bundles as runtimes open them: one for each manifest, with links to the files by digest."""
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

    def folder(self, source: Files, project: str, model: str, revision: PlanRevision, public_key: str) -> Path:
        """A folder with a revision's files, after each was fetched and checked against the signed manifest.

        Two revisions of the same bundle share it. It stays until `keep_only` is not told of its manifest any more.

        Raises:
            Damaged: a file or the signature is wrong.
            InvalidValue: the revision has no manifest, or a path or digest that cannot be one.
            Unavailable: a file is not here yet, and the source cannot be reached.
        """
        check_files(revision.files)
        held = {path: self._held(source, project, model, revision, path) for path in revision.files}
        listed = _listed(held.pop(MANIFEST_FILE), public_key, f"{model}/{revision.model_version}")
        if listed != {path: digest for path, digest in revision.files.items() if path != MANIFEST_FILE}:
            raise Damaged(f"the files of {model}/{revision.model_version} are not those its signed manifest lists.")
        return self._tree(revision.files[MANIFEST_FILE], held)

    def keep_only(self, digests: set[str]) -> int:
        """Remove every file whose digest is not listed, and every tree whose manifest's is not; returns the bytes freed."""
        freed = 0
        for path in self._folder.iterdir():
            if path.is_file() and path.name not in digests:
                freed += path.stat().st_size
                path.unlink()
        trees = self._folder / TREES
        for tree in trees.iterdir() if trees.is_dir() else ():
            if tree.name not in digests:
                shutil.rmtree(tree, ignore_errors=True)
        return freed

    def _held(self, source: Files, project: str, model: str, revision: PlanRevision, path: str) -> Path:
        """Where a file lies, its bytes just compared with its digest."""
        digest, was_damaged = revision.files[path], False
        kept = self._folder / digest
        if kept.is_file():
            if file_digest(kept) == digest:
                return kept
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
        return kept

    def _keep(self, path: Path, content: bytes) -> None:
        """All of it or nothing, on disk before it counts."""
        descriptor, beside = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.move(beside, path)

    def _tree(self, name: str, held: dict[str, Path]) -> Path:
        """The folder of a bundle: hard links, so that it costs no bytes. One that is whole is used again."""
        tree = self._folder / TREES / name
        if tree.is_dir() and all(_is_same(tree / path, kept) for path, kept in held.items()):
            return tree
        tree.parent.mkdir(mode=0o700, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=tree.parent, prefix=".new-"))
        for path, kept in held.items():
            place = made / path
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(kept, place)
        shutil.rmtree(tree, ignore_errors=True)
        os.rename(made, tree)
        return tree


def check_files(files: dict[str, str]) -> None:
    """Refuses a plan's files that could not be a bundle.

    Raises:
        InvalidValue: no manifest, no or too many files, a path that climbs, or a digest that is not one.
    """
    if MANIFEST_FILE not in files or len(files) < 2:
        raise InvalidValue(f"the bundle has no {MANIFEST_FILE}, or nothing else; only signed bundles are served.")
    if len(files) > FILES_MAX or not all(_DIGEST.fullmatch(digest) for digest in files.values()):
        raise InvalidValue(f"the bundle has more than {FILES_MAX} files, or a digest that is not a SHA-256.")
    for path in files:
        check_relative(path)


def _listed(manifest: Path, public_key: str, name: str) -> dict[str, str]:
    """Path → digest of a manifest whose signature is the key's."""
    try:
        read = msgspec.json.decode(manifest.read_bytes(), type=Manifest)
    except msgspec.DecodeError as wrong:
        raise Damaged(f"{MANIFEST_FILE} of {name} is no manifest.") from wrong
    verify_signature(read, public_key)
    return read.files


def _is_same(link: Path, kept: Path) -> bool:
    try:
        return os.path.samefile(link, kept)
    except FileNotFoundError:
        return False
