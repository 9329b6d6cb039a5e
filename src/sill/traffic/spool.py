"""Rows on their way to the control plane, on disk until it has taken them. Oldest go first, also when it is full.

Rows are appended to an open segment, which is sealed when the one before was delivered; a sealed segment is posted
under its own name as batch id until it is acknowledged, so a repeat changes nothing. Each line carries its CRC-32: a
line torn by a crash or damaged on disk is left out and counted, never sent.
"""

import os
import threading
from pathlib import Path
from zlib import crc32

import msgspec

from sill.core.clock import Clock, Ids
from sill.traffic.types import RequestRow

BYTES_MAX = 256 * 1024 * 1024
SEGMENT_ROWS_MAX = 2_000
SEGMENT_BYTES_MAX = 4 * 1024 * 1024
OPEN, SEALED = ".open", ".seg"

_encoder = msgspec.json.Encoder()


class Spool:
    """A bounded queue of rows in a folder. Safe to use from several threads of one process.

    Args:
        folder: made if it is not there; what a former process left there is delivered too.
        bytes_max: the oldest segments beyond it are dropped, and counted.
    """

    def __init__(self, folder: Path, clock: Clock, bytes_max: int = BYTES_MAX) -> None:
        self._folder = folder
        self._ids = Ids(clock)
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._open: Path | None = None
        self._open_rows = 0
        self.rows_dropped = 0
        self.lines_damaged = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in sorted(folder.glob(f"*{OPEN}")):
            left.rename(left.with_suffix(SEALED))
        self._sizes = {path: path.stat().st_size for path in sorted(folder.glob(f"*{SEALED}"))}

    def append(self, rows: list[RequestRow]) -> None:
        """Keep rows; on disk when it returns. One fsync however many rows."""
        lines = b"".join(_line(_encoder.encode(row)) for row in rows)
        with self._lock:
            if self._open is not None and self._sizes[self._open] + len(lines) > SEGMENT_BYTES_MAX:
                self._seal()
            path = self._open or self._begin()
            with path.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            self._sizes[path] += len(lines)
            self._open_rows += len(rows)
            if self._open_rows >= SEGMENT_ROWS_MAX:
                self._seal()
            self._make_room()

    def next(self) -> tuple[str, bytes] | None:
        """The oldest segment's id and body (a `LogBatch`), sealing the open one if need be; None if nothing waits."""
        while True:
            with self._lock:
                if self._open is not None and len(self._sizes) == 1:
                    self._seal()
                oldest = next((path for path in self._sizes if path != self._open), None)
                if oldest is None:
                    return None
                content = oldest.read_bytes()
            rows = self._good_rows(content)
            if rows:
                return oldest.stem, b'{"id":"' + oldest.stem.encode() + b'","rows":[' + b",".join(rows) + b"]}"
            self.remove(oldest.stem)

    def remove(self, segment: str) -> None:
        """Forget a segment that was delivered."""
        with self._lock:
            path = self._folder / f"{segment}{SEALED}"
            path.unlink(missing_ok=True)
            self._sizes.pop(path, None)

    @property
    def size_bytes(self) -> int:
        """Bytes that wait."""
        return sum(self._sizes.values())

    @property
    def has_full(self) -> bool:
        """Whether a segment that takes no more rows waits."""
        return len(self._sizes) > (self._open is not None)

    def _begin(self) -> Path:
        self._open = self._folder / f"{self._ids.new('seg')}{OPEN}"
        self._open_rows = 0
        self._sizes[self._open] = 0
        self._open.touch(mode=0o600)
        self._sync_folder()
        return self._open

    def _seal(self) -> None:
        if self._open is None:
            return
        sealed = self._open.with_suffix(SEALED)
        self._open.rename(sealed)
        self._sync_folder()
        self._sizes[sealed] = self._sizes.pop(self._open)
        self._open = None

    def _make_room(self) -> None:
        while self.size_bytes > self._bytes_max and len(self._sizes) > 1:
            oldest = next(iter(self._sizes))
            self.rows_dropped += oldest.read_bytes().count(b"\n")
            oldest.unlink()
            del self._sizes[oldest]

    def _good_rows(self, content: bytes) -> list[bytes]:
        rows = []
        for line in content.split(b"\n")[:-1]:  # what follows the last line feed was torn
            checksum, _, row = line.partition(b" ")
            if checksum == b"%08x" % crc32(row):
                rows.append(row)
            else:
                self.lines_damaged += 1
        return rows

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _line(row: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(row), row)
