"""The one archive extractor, and its counterpart that packs. Nested archives are files like others."""

import fnmatch
import io
import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from sill.core.clock import Clock, SystemClock
from sill.core.errors import InvalidValue, Refused, SillError, TooLarge, UnsupportedType
from sill.core.names import shorten
from sill.safety.paths import Folder, check_relative
from sill.safety.tar_reader import Gunzip, TarStream
from sill.safety.zip_reader import Member as ZipMember
from sill.safety.zip_reader import inflate, read_members

IGNORED = (".git", "__pycache__", "*.pyc", ".venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache")


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an archive may become. All is counted while producing; what headers say is not believed.

    Attributes:
        bytes_max: produced by all files together.
        entries_max: files and folders, also those that are only implied by a path.
        seconds_max: from start to end, by the injected clock.
        ratio_max: produced bytes for each packed byte, once more than a MiB was produced.
    """

    bytes_max: int = 1024**3
    entries_max: int = 10_000
    seconds_max: float = 60.0
    ratio_max: float = 200.0


def extract(
    archive: BinaryIO | bytes,
    into: Folder,
    limits: ArchiveLimits = ArchiveLimits(),  # noqa: B008  # frozen
    clock: Clock | None = None,
) -> list[str]:
    """Unpacks a zip, tar or tar.gz (told by its bytes) and returns the paths of the files, in archive order.

    Only regular files and folders; modes and times of the archive are not taken over. When it is refused, what was
    written so far is removed again; the caller still should extract into a fresh folder.

    Raises:
        UnsupportedType: neither of the three.
        Refused: damaged, ambiguous, or with links, devices or names twice.
        InvalidValue: a name that is not allowed as a path.
        TooLarge: a limit was passed.
        Conflict: a file is there already.
    """
    file = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    meter = _Meter(limits, clock or SystemClock())
    written: list[str] = []
    try:
        for name, is_folder, pieces in _members(file, meter):
            path = _clean(name)
            if path == "":
                continue
            meter.add_entry(path, is_folder)
            if is_folder:
                into.make_folder(path)
                continue
            with into.create(path) as target:
                written.append(path)
                for piece in pieces:
                    meter.add_bytes(len(piece))
                    target.write(piece)
    except BaseException:
        for path in reversed(written):
            with suppress(OSError, SillError):
                into.remove(path)
        raise
    return written


def pack(folder: Path, ignore: Iterable[str] = IGNORED, bytes_max: int = 512 * 1024**2) -> bytes:
    """A zip of the folder's files, the same bytes for the same contents: sorted, fixed times and modes.

    Args:
        ignore: shell patterns, matched against each path and each single name.
        bytes_max: of all files together.
    Raises:
        InvalidValue: a link or device, or a name that could not be unpacked again.
        TooLarge: more than `bytes_max`.
    """
    packed = io.BytesIO()
    total = 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as archive:
        for path in _files(folder, "", tuple(ignore)):
            content = (folder / check_relative(path)).read_bytes()
            total += len(content)
            if total > bytes_max:
                raise TooLarge(f"{folder} holds more than {bytes_max:,} bytes.", fix="Ignore what is not needed.")
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o600) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=6)
    return packed.getvalue()


class _Meter:
    """Counts what is produced and says when it is too much."""

    def __init__(self, limits: ArchiveLimits, clock: Clock) -> None:
        self.entries_max = limits.entries_max
        self._limits = limits
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._produced = 0
        self._kinds: dict[str, tuple[str, bool]] = {}

    def add_entry(self, path: str, is_folder: bool) -> None:
        self._check_time()
        parts = path.split("/")
        for depth in range(1, len(parts)):
            self._add_one("/".join(parts[:depth]), is_folder=True, is_implied=True)
        self._add_one(path, is_folder, is_implied=False)

    def add_bytes(self, count: int) -> None:
        self._check_time()
        self._produced += count
        if self._produced > self._limits.bytes_max:
            raise TooLarge(f"the archive unpacks to more than {self._limits.bytes_max:,} bytes.")

    def check_ratio(self, produced: int, packed: int) -> None:
        if produced > 1024**2 and produced > self._limits.ratio_max * max(packed, 1):
            raise TooLarge(f"the archive unpacks to more than {self._limits.ratio_max:g} times its size.")

    def _add_one(self, path: str, is_folder: bool, is_implied: bool) -> None:
        # Names that only differ in case or Unicode form would be one file on other systems.
        key = unicodedata.normalize("NFC", path).casefold()
        former = self._kinds.get(key)
        if former is not None:
            if former == (path, True) and is_folder:
                return
            raise Refused(f"the archive is not accepted: {shorten(path)!r} is there twice.", fix="Rename one.")
        self._kinds[key] = (path, is_folder)
        if len(self._kinds) > self._limits.entries_max:
            raise TooLarge(f"the archive has more than {self._limits.entries_max:,} entries.")

    def _check_time(self) -> None:
        if self._clock.monotonic_s() - self._started_s > self._limits.seconds_max:
            raise TooLarge(f"unpacking took longer than {self._limits.seconds_max:g} s.")


def _members(file: BinaryIO, meter: _Meter) -> Iterator[tuple[str, bool, Iterator[bytes]]]:
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zip_members(file, meter)
    elif start.startswith(b"\x1f\x8b"):
        yield from _tar_gz_members(file, meter)
    elif start[257:262] == b"ustar":
        for tar_member, pieces in TarStream(file.read).members():
            yield tar_member.name, tar_member.is_folder, pieces
    else:
        raise UnsupportedType("the archive is neither zip, tar nor tar.gz.", fix="Pack it as one of these.")


def _zip_members(file: BinaryIO, meter: _Meter) -> Iterator[tuple[str, bool, Iterator[bytes]]]:
    for member in read_members(file, meter.entries_max):
        yield member.name, member.is_folder, _inflate_metered(file, member, meter)


def _inflate_metered(file: BinaryIO, member: ZipMember, meter: _Meter) -> Iterator[bytes]:
    produced = 0
    for piece in inflate(file, member):
        produced += len(piece)
        meter.check_ratio(produced, member.packed_bytes)
        yield piece


def _tar_gz_members(file: BinaryIO, meter: _Meter) -> Iterator[tuple[str, bool, Iterator[bytes]]]:
    gunzip = Gunzip(file)
    produced = 0

    def read(size: int) -> bytes:
        nonlocal produced
        piece = gunzip.read(size)
        produced += len(piece)
        # Also for padding and what follows the end, which become no file.
        meter.check_ratio(produced, gunzip.packed_bytes)
        return piece

    for member, pieces in TarStream(read).members():
        yield member.name, member.is_folder, pieces


def _clean(name: str) -> str:
    """The path of an entry; empty for the root itself, which `tar` writes as `./`."""
    path = name.removeprefix("./").removesuffix("/")
    if path in ("", ".") and name in (".", "./"):
        return ""
    return check_relative(path, field="archive entry")


def _files(folder: Path, above: str, ignore: Sequence[str]) -> Iterator[str]:
    with os.scandir(folder / above) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{above}/{entry.name}" if above else entry.name
        if any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(entry.name, pattern) for pattern in ignore):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder, path, ignore)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise InvalidValue(
                f"{shorten(path)!r} is a link or a device; only files and folders are packed.",
                fix="Copy the file there, or ignore it.",
                field="path",
            )
