"""Packs a folder as a run's code: bounded, without what is no code, and with a list of what was left out and why."""

import fnmatch
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from sill.core.errors import NotFound, TooLarge
from sill.core.values import Value
from sill.safety.archive import IGNORED, pack

CODE_BYTES_MAX = 64 * 1024**2
CODE_FILE_BYTES_MAX = 4 * 1024**2
"""Larger files are taken for data and left out of the code."""
CODE_FILES_MAX = 10_000
NOT_CODE = (*IGNORED, ".*")
"""Version control, environments, caches, and everything else that is hidden."""
NAMED = 5


class PackedCode(Value, frozen=True, kw_only=True):
    """A folder's code as a zip archive, and a phrase for each file that was left out although it is not hidden."""

    archive: bytes
    files: int
    left_out: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """A sentence about what was left out; empty if that is nothing."""
        if not self.left_out:
            return ""
        more = f" and {len(self.left_out) - NAMED} more" if len(self.left_out) > NAMED else ""
        return f"not sent with the code: {', '.join(self.left_out[:NAMED])}{more}."


def pack_folder(folder: Path) -> PackedCode:
    """The folder's files, without hidden ones, caches, environments, links, and files above `CODE_FILE_BYTES_MAX`.

    Raises:
        NotFound: it is no folder.
        TooLarge: it holds more files or bytes than code does; the message names where they lie.
    """
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}.", fix="Run it from the folder the code lies in.")
    sizes: dict[str, int] = {}
    left_out: dict[str, str] = {}
    total = 0
    for path, entry in _walk(folder, ""):
        if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
            left_out[path] = f"{path} (a link)" if entry.is_symlink() else f"{path} (a device)"
            continue
        size = entry.stat(follow_symlinks=False).st_size
        if size > CODE_FILE_BYTES_MAX:
            left_out[path] = f"{path} ({size / 1024**2:,.1f} MiB)"
            continue
        sizes[path] = size
        total += size
        if len(sizes) > CODE_FILES_MAX or total > CODE_BYTES_MAX:
            raise _too_large(folder, sizes)
    archive = pack(folder, ignore=(*NOT_CODE, *map(glob.escape, left_out)), bytes_max=CODE_BYTES_MAX)
    return PackedCode(archive=archive, files=len(sizes), left_out=tuple(left_out.values()))


def _too_large(folder: Path, sizes: dict[str, int]) -> TooLarge:
    by_place: dict[str, list[int]] = {}
    for path, size in sizes.items():
        place, mark, _ = path.partition("/")
        by_place.setdefault(f"{place}{mark}", []).append(size)
    shares = {place: len(found) / CODE_FILES_MAX + sum(found) / CODE_BYTES_MAX for place, found in by_place.items()}
    most = sorted(shares, key=lambda place: (-shares[place], place))[:NAMED]
    named = ", ".join(
        f"{place} ({len(by_place[place]):,} files, {sum(by_place[place]) / 1024**2:,.1f} MiB)" for place in most
    )
    return TooLarge(
        f"{folder} holds more than code: over {CODE_FILES_MAX:,} files, or over {CODE_BYTES_MAX // 1024**2} MiB in files "
        f"of up to {CODE_FILE_BYTES_MAX // 1024**2} MiB. So far most lie in {named}.",
        fix="Start it from the folder the code lies in, move the data elsewhere, or send no code: --no-code.",
    )


def _walk(folder: Path, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Paths below the folder in order, without what is hidden or known to be no code."""
    with os.scandir(folder / above) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{above}/{entry.name}" if above else entry.name
        if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in NOT_CODE):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder, path)
        else:
            yield path, entry
