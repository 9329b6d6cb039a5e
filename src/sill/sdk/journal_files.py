"""The files a journal consists of: segments of frames, the place that was reached, the lock, bodies, refusals."""

import contextlib
import fcntl
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import msgspec

from sill.core.errors import Conflict, Limited

FRAME_BYTES_MAX = 16 * 1024**2
REFUSED_BYTES_MAX = 256 * 1024**2
SEGMENT, DAMAGED = ".log", ".damaged"
REFUSED = "refused.jsonl"
BODIES, REFUSED_BODIES = "bodies", "refused"

_FRAME = struct.Struct("<II")  # bytes, CRC-32 of the payload
_PLACE = struct.Struct("<QQQI")  # counter, done, sent, CRC-32 of the three
_SLOTS = 2


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request that waits.

    Attributes:
        path: with its query, behind the server's address.
        body: empty if it lies in the file `bodies/<attachment>`.
        lane: neighbours of one lane may be sent as one request; empty for those that travel alone.
        makes: the id that this request's maker was given, until the server gives its own.
    """

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = {}
    attachment: str = ""
    attachment_bytes: int = 0
    lane: str = ""
    makes: str = ""
    at_us: int = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that the server would not take, and why. The entry is whole, so that it can be sent again."""

    seq: int
    status: int
    message: str
    entry: Entry


class Segment:
    """One file of frames, named by the number of its first entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = int(path.stem)
        self.last = self.first - 1
        self.size = 0

    def measure(self) -> None:
        """Count the whole frames."""
        for at, _ in self.frames(0, self.path.stat().st_size):
            self.last += 1
            self.size = at

    def cut_tail(self) -> None:
        """Cut off what follows the last whole frame. What could hold an entry is kept aside; half a frame could not."""
        with self.path.open("rb") as file:
            file.seek(self.size)
            tail = file.read()
        if len(tail) > _FRAME.size and len(tail) >= _FRAME.size + _FRAME.unpack_from(tail)[0] and tail.strip(b"\0"):
            self.path.with_name(f"{self.last + 1:020d}{DAMAGED}").write_bytes(tail)
        os.truncate(self.path, self.size)

    def frames(self, offset: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Whole frames from an offset on: (where the next begins, payload). Stops at one that is not whole."""
        end = self.size if end is None else end
        with self.path.open("rb") as file:
            file.seek(offset)
            while offset + _FRAME.size <= end:
                length, checksum = _FRAME.unpack(file.read(_FRAME.size))
                if length > FRAME_BYTES_MAX or offset + _FRAME.size + length > end:
                    return
                payload = file.read(length)
                if crc32(payload) != checksum:
                    return
                offset += _FRAME.size + length
                yield offset, payload

    def offset_of(self, seq: int) -> int:
        """Where the frame with this number begins."""
        offset = 0
        for number, (at, _) in enumerate(self.frames(0), self.first):
            if number >= seq:
                break
            offset = at
        return offset

    def entries(self, after: int) -> Iterator[tuple[int, Entry]]:
        """Whole entries behind a number."""
        for number, (_, payload) in enumerate(self.frames(0), self.first):
            if number > after:
                yield number, decode_entry(payload)


class Place:
    """How far a journal was acknowledged (`done`), and how far the last request that was sent reaches (`sent`).

    It is written to two slots in turn: one that was torn leaves the other.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._counter = self.done = self.sent = 0
        for slot in range(_SLOTS):
            raw = os.pread(self.descriptor, _PLACE.size, slot * _PLACE.size)
            if len(raw) == _PLACE.size and crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little"):
                counter, done, sent, _ = _PLACE.unpack(raw)
                if counter > self._counter:
                    self._counter, self.done, self.sent = counter, done, sent

    def keep(self) -> None:
        """Write it down."""
        self._counter += 1
        facts = struct.pack("<QQQ", self._counter, self.done, self.sent)
        os.pwrite(self.descriptor, facts + struct.pack("<I", crc32(facts)), self._counter % _SLOTS * _PLACE.size)


class Attachment:
    """A body being written. `close` makes it durable; `discard` removes it again.

    Args:
        room_bytes: how much may be written now.
    """

    def __init__(self, folder: Path, room_bytes: Callable[[], int]) -> None:
        self.name = secrets.token_hex(16)
        self.size_bytes = 0
        self.path = folder / self.name
        self._room_bytes = room_bytes
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, piece: bytes) -> None:
        """Add bytes.

        Raises:
            Limited: the journal has no room for them.
        """
        if self.size_bytes + len(piece) > self._room_bytes():
            raise Limited(
                f"a body of more than {self.size_bytes:,} bytes has no room in {self.path.parent.parent}.",
                fix="Start the server, or allow more (SILL_SPOOL_BYTES_MAX).",
            )
        self._file.write(piece)
        self.size_bytes += len(piece)

    def close(self) -> None:
        """All of it is durable when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def encode_frame(entry: Entry) -> bytes:
    """The entry as it lies in a segment."""
    payload = msgspec.msgpack.encode(entry)
    return _FRAME.pack(len(payload), crc32(payload)) + payload


def decode_entry(payload: bytes) -> Entry:
    """The entry of a frame's payload."""
    return msgspec.msgpack.decode(payload, type=Entry)


def write_frame(descriptor: int, frame: bytes, offset: int) -> None:
    """Write the whole frame; half of one (a full disk) is taken back."""
    written = 0
    try:
        while written < len(frame):
            written += os.pwrite(descriptor, frame[written:], offset + written)
    except OSError:
        os.ftruncate(descriptor, offset)
        raise


def append_refusal(folder: Path, refusal: Refusal) -> None:
    """Keep a refusal, durably. Beyond 256 MiB in all the reasons are kept without the bodies."""
    descriptor = os.open(folder / REFUSED, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        line = msgspec.json.encode(refusal)
        if file.tell() + len(line) > REFUSED_BYTES_MAX:
            line = msgspec.json.encode(
                msgspec.structs.replace(refusal, entry=msgspec.structs.replace(refusal.entry, body=b""))
            )
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_refusals(folder: Path) -> list[Refusal]:
    """What a server would not take of a journal."""
    try:
        lines = (folder / REFUSED).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):  # torn by a power cut
            found.append(msgspec.json.decode(line, type=Refusal))
    return found


def lock_folder(folder: Path) -> int:
    """The lock that says a process has the journal open.

    Raises:
        Conflict: another one has.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        os.close(descriptor)
        raise Conflict(f"another process has the journal {folder} open.", fix="It sends what waits there.") from taken
    return descriptor


def read_or_create_id(path: Path) -> str:
    """The journal's name; made on first use."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    fresh = path.with_suffix(".new")
    fresh.write_text(secrets.token_hex(12))
    fresh.rename(path)
    return path.read_text()


def sync_folder(folder: Path) -> None:
    """Make what was created and renamed in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
