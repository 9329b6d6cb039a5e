"""An append-only journal in a folder: requests that wait for a server, on disk, read back in the order they came.

One process has a journal open at a time (a lock held by the kernel). A request is in the operating system's hands when
`append` returns, so it outlives a `kill -9` of its process; it is on the platter at most `SYNC_S` later, or at once if
`is_durable` is asked for: that is what a power cut may take. In the folder, which only its owner can read:

    lock              held while a process has the journal open
    id                names the journal; begins every idempotency key
    00…01.log         segments: frames of (bytes, CRC-32) and one entry each; removed once all of it was acknowledged
    done              how far it was acknowledged, and how far the last request that was sent reaches
    bodies/           what is too large for a frame
    refused.jsonl     what the server would not take, with its reason; the bodies that were in files are in refused/
    00…01.damaged     bytes that are not what was written, kept aside
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from sill.core.errors import Conflict, Damaged, Limited, TooLarge
from sill.sdk.journal_files import (
    BODIES,
    DAMAGED,
    FRAME_BYTES_MAX,
    REFUSED,
    REFUSED_BODIES,
    SEGMENT,
    Attachment,
    Entry,
    Place,
    Refusal,
    Segment,
    append_refusal,
    decode_entry,
    encode_frame,
    lock_folder,
    read_or_create_id,
    read_refusals,
    sync_folder,
    write_frame,
)

_log = logging.getLogger("sill.spool")

SYNC_S = 0.2
"""At most this much of what was appended is lost by a power cut; nothing by the end of a process."""
BYTES_MAX = 1024**3
SEGMENT_BYTES_MAX = 8 * 1024**2


class Journal:
    """One journal. Safe to use from several threads of one process; one of them reads.

    Args:
        folder: made if it is not there; what a former process left in it is read first.
        bytes_max: what frames and bodies that wait may take on disk.
        sync: makes a file's bytes durable; `os.fdatasync` unless a test says otherwise.
    Raises:
        Conflict: another process has it open.
    """

    def __init__(self, folder: Path, bytes_max: int = BYTES_MAX, sync: Callable[[int], None] = os.fdatasync) -> None:
        self.folder = folder
        self._bytes_max = bytes_max
        self._sync = sync
        self._bodies = folder / BODIES
        self._bodies.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._lock_file = lock_folder(folder)
        self.id = read_or_create_id(folder / "id")
        self._changed = threading.Condition()
        self._place = Place(folder / "done")
        self._segments: list[Segment] = []
        self._attached: dict[int, tuple[str, int]] = {}
        self._writer = -1
        self._is_dirty = False
        self._is_closed = False
        self._flusher: threading.Thread | None = None
        self._open_segments()
        self._read_seq = self.done
        self._read_at: tuple[Segment, int] | None = None

    @property
    def done(self) -> int:
        """Number of the last entry that was acknowledged; the first is 1."""
        return self._place.done

    @property
    def sent(self) -> int:
        """Number of the last entry of the last request that was sent."""
        return self._place.sent

    @property
    def last(self) -> int:
        """Number of the last entry."""
        return self._segments[-1].last if self._segments else self.done

    @property
    def waiting(self) -> int:
        """Entries that are not acknowledged."""
        return self.last - self.done

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(segment.size for segment in self._segments) + sum(size for _, size in self._attached.values())

    @property
    def room_bytes(self) -> int:
        """How much more it may take."""
        return max(0, self._bytes_max - self.size_bytes)

    def append(self, entry: Entry, *, is_durable: bool = False) -> int:
        """Keep an entry; its number. It has left this process when this returns, and is on the platter if durable.

        Raises:
            Limited: the journal has no room for it until something was delivered.
            TooLarge: the entry alone is larger than a frame may be.
        """
        frame = encode_frame(entry)
        if len(frame) > FRAME_BYTES_MAX:
            raise TooLarge(f"a request of {len(frame):,} bytes is more than {FRAME_BYTES_MAX:,}.", fix="Attach it.")
        with self._changed:
            self._check_room(len(frame) + entry.attachment_bytes)
            segment = self._segment_for(len(frame))
            write_frame(self._writer, frame, segment.size)
            segment.size += len(frame)
            segment.last += 1
            if entry.attachment:
                self._attached[segment.last] = (entry.attachment, entry.attachment_bytes)
            if is_durable:
                self._sync(self._writer)
            else:
                self._is_dirty = True
                self._start_flusher()
            self._changed.notify_all()
            return segment.last

    def attach(self) -> Attachment:
        """A new file for a body that is too large for a frame; name it in the entry's `attachment`."""
        return Attachment(self._bodies, lambda: self.room_bytes)

    def attachment(self, entry: Entry) -> Path:
        """Where an entry's body lies."""
        return self._bodies / entry.attachment

    def read(self, entries_max: int, bytes_max: int) -> list[tuple[int, Entry]]:
        """The next entries that were not read yet, with their numbers; at least one if any waits.

        Raises:
            Damaged: the next one is not what was written; `skip_damaged` goes on behind it.
        """
        found: list[tuple[int, Entry]] = []
        size = 0
        with self._changed:
            for segment in [each for each in self._segments if each.last > self._read_seq]:
                for at, payload in segment.frames(self._offset_in(segment)):
                    if found and (len(found) >= entries_max or size + len(payload) > bytes_max):
                        return found
                    self._read_seq += 1
                    self._read_at = (segment, at)
                    size += len(payload)
                    found.append((self._read_seq, decode_entry(payload)))
                if self._read_seq < segment.last:
                    break  # what was read comes first; the damage is told when it is the next
            if not found and self._read_seq < self.last:
                raise Damaged(f"entry {self._read_seq + 1} of the journal {self.folder} is damaged.")
        return found

    def skip_damaged(self) -> int:
        """Go on behind a damaged part, which is kept aside in a file; how many entries were in it."""
        with self._changed:
            segment = next(each for each in self._segments if each.last > self._read_seq)
            with segment.path.open("rb") as file:
                file.seek(self._offset_in(segment))
                content = file.read()
            (self.folder / f"{self._read_seq + 1:020d}{DAMAGED}").write_bytes(content)
            lost = segment.last - self._read_seq
            self._read_seq = segment.last
            return lost

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until there is something to read, or the journal is closed; False if neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closed or self.last > self._read_seq, timeout_s)

    def intend(self, last_seq: int) -> None:
        """Note that a request with everything up to this number is about to be sent: a repeat must be the same one."""
        with self._changed:
            self._place.sent = last_seq
            self._place.keep()

    def acknowledge(self, seq: int) -> None:
        """Everything up to this number has arrived, or was refused and is kept as such: forget it."""
        with self._changed:
            self._place.done = max(self.done, seq)
            self._place.keep()
            for number in [each for each in self._attached if each <= self.done]:
                (self._bodies / self._attached.pop(number)[0]).unlink(missing_ok=True)
            while len(self._segments) > 1 and self._segments[0].last <= self.done:
                self._segments.pop(0).path.unlink(missing_ok=True)
            self._changed.notify_all()

    def refuse(self, refusal: Refusal) -> None:
        """Keep what the server would not take, with its reason, until somebody looks at it."""
        if refusal.entry.attachment:
            kept = self.folder / REFUSED_BODIES
            kept.mkdir(mode=0o700, exist_ok=True)
            self.attachment(refusal.entry).rename(kept / refusal.entry.attachment)
        append_refusal(self.folder, refusal)

    def retry_refused(self) -> int:
        """Put what was refused at the end again; how many entries.

        Raises:
            Limited: there is no room for all of it; what was put back is sent twice if this is repeated.
        """
        refusals = read_refusals(self.folder)
        for refusal in refusals:
            kept = self.folder / REFUSED_BODIES / refusal.entry.attachment
            if refusal.entry.attachment and kept.is_file():
                kept.rename(self.attachment(refusal.entry))
            self.append(refusal.entry, is_durable=True)
        (self.folder / REFUSED).unlink(missing_ok=True)
        return len(refusals)

    def sync(self) -> None:
        """Everything appended so far is durable when this returns."""
        with self._changed:
            if self._writer >= 0:
                self._sync(self._writer)
            self._sync(self._place.descriptor)
            self._is_dirty = False

    def close(self) -> None:
        """Make all of it durable and let go of it. What waits stays in the folder."""
        with self._changed:
            if self._is_closed:
                return
            self.sync()
            self._is_closed = True
            self._changed.notify_all()
            for descriptor in (self._writer, self._place.descriptor, self._lock_file):
                if descriptor >= 0:
                    os.close(descriptor)

    def _open_segments(self) -> None:
        """Find what a former process left."""
        self._segments = [Segment(path) for path in sorted(self.folder.glob(f"*{SEGMENT}"))]
        for at, segment in enumerate(self._segments):
            segment.measure()
            if at + 1 < len(self._segments):  # whole but for damage: the next one's name says how much was in it
                segment.last = self._segments[at + 1].first - 1
                segment.size = segment.path.stat().st_size
            else:
                segment.cut_tail()
                self._writer = os.open(segment.path, os.O_WRONLY | os.O_CLOEXEC)
            for number, entry in segment.entries(self.done):
                if entry.attachment:
                    self._attached[number] = (entry.attachment, entry.attachment_bytes)
        if self._segments:  # a place that was lost by a power cut: what is gone was acknowledged
            self._place.done = max(self.done, self._segments[0].first - 1)
        known = {name for name, _ in self._attached.values()}
        for left in self._bodies.iterdir():
            if left.name not in known:
                left.unlink()

    def _segment_for(self, size: int) -> Segment:
        """The segment to append to; a new one if the last is full."""
        if self._segments and self._segments[-1].size + size <= SEGMENT_BYTES_MAX:
            return self._segments[-1]
        if self._writer >= 0:
            self._sync(self._writer)
            os.close(self._writer)
        segment = Segment(self.folder / f"{self.last + 1:020d}{SEGMENT}")
        self._writer = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        sync_folder(self.folder)
        self._segments.append(segment)
        while len(self._segments) > 1 and self._segments[0].last <= self.done:
            self._segments.pop(0).path.unlink(missing_ok=True)
        return segment

    def _check_room(self, size: int) -> None:
        if self._is_closed:
            raise Conflict(f"the journal {self.folder} is closed.")
        if self.size_bytes + size <= self._bytes_max:
            return
        if self.waiting == 0 and self._segments and self._segments[-1].size:
            self._segment_for(SEGMENT_BYTES_MAX)  # all was delivered: a new segment lets the old one go
        if self.size_bytes + size > self._bytes_max:
            raise Limited(
                f"{self.waiting:,} requests ({self.size_bytes:,} bytes) wait in {self.folder}; {self._bytes_max:,} bytes "
                "are allowed.",
                fix="Start the server, or allow more (SILL_SPOOL_BYTES_MAX).",
                retry_after_s=5,
            )

    def _offset_in(self, segment: Segment) -> int:
        """Where reading goes on in a segment."""
        if self._read_at is not None and self._read_at[0] is segment:
            return self._read_at[1]
        return segment.offset_of(self._read_seq + 1)

    def _start_flusher(self) -> None:
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_forever, name="sill-journal", daemon=True)
            self._flusher.start()

    def _flush_forever(self) -> None:
        """Make what was appended durable, soon after it came."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_dirty or self._is_closed)
                self._changed.wait_for(lambda: self._is_closed, SYNC_S)
                if self._is_closed:
                    return
                self._is_dirty = False
                descriptor = os.dup(self._writer)
            try:  # outside the lock: nobody waits for the disk
                self._sync(descriptor)
            except OSError as broken:
                _log.error("the journal %s cannot be made durable: %s", self.folder, broken)
            finally:
                os.close(descriptor)
