"""Finds the files of runs in folders of this machine: those the store itself lies in, and one the user named, no others.

A store is data from elsewhere: an address in it that leads out of these folders is not followed, nor is a link.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sill.core.errors import InvalidValue, NotFound, Refused
from sill.core.names import shorten
from sill.safety.paths import Folder
from sill.transfer.rest import PIECE_BYTES, PROXIED, proxied_path
from sill.transfer.types import File


class LocalFiles:
    """Folders in which files may lie.

    Args:
        roots: the folders.
        proxied: the folder behind addresses that begin with `mlflow-artifacts:`, None if it is not known.
    """

    def __init__(self, roots: list[Path], proxied: Path | None = None) -> None:
        if proxied is not None and not proxied.is_dir():
            raise NotFound(f"there is no folder {str(proxied)!r}.", fix="Give the folder of the server's artifacts.")
        self._roots = [Path(root.absolute()) for root in (*roots, *([proxied] if proxied else []))]
        self._proxied = proxied.absolute() if proxied else None

    def files(self, base: str) -> Iterator[File]:
        """All files below an address, none if its folder was never made.

        Raises:
            Refused: it leads out of the folders.
        """
        folder, at = self._place(base)
        prefix = f"{at}/" if at else ""
        try:
            for path in folder.walk(at):
                yield File(path=path.removeprefix(prefix), size_bytes=folder.stat(path).st_size)
        except NotFound:
            return

    @contextmanager
    def read(self, base: str, path: str) -> Iterator[Iterator[bytes]]:
        """A file's bytes."""
        folder, at = self._place(base)
        with folder.open(f"{at}/{path}" if at else path) as file:
            yield iter(lambda: file.read(PIECE_BYTES), b"")

    def _place(self, base: str) -> tuple[Folder, str]:
        """The folder that holds an address, and the path within it."""
        if base.startswith(PROXIED):
            if self._proxied is None:
                raise Refused(
                    f"files at {shorten(base)!r} lie where the server kept them, which the store does not tell.",
                    fix="Give that folder with --artifacts, or import from the server's address.",
                )
            return Folder(self._proxied), proxied_path(base).rstrip("/")
        place = self._path(base)
        for root in self._roots:
            if place.is_relative_to(root) and root.is_dir():
                within = place.relative_to(root).as_posix()
                return Folder(root), "" if within == "." else within
        raise Refused(
            f"files at {shorten(base)!r} lie outside {', '.join(map(str, self._roots))}.",
            fix="Give the folder they lie in with --artifacts, or import from the server's address.",
        )

    def _path(self, base: str) -> Path:
        """The path of an address of this machine."""
        parts = urlsplit(base)
        if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
            raise Refused(
                f"files at {shorten(base)!r} are not on this machine.", fix="Import from the server's address instead."
            )
        path = Path(unquote(parts.path) if parts.scheme else base)
        if ".." in path.parts:
            raise InvalidValue(f"the address {shorten(base)!r} has '..' in it.")
        return path if path.is_absolute() else self._roots[0] / path
