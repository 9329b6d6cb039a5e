"""Which blobs were verified lately, so that a range of a large one does not cost reading all of it each time.

A range cannot be checked by the digest of the whole. So the whole is verified before the first range of it is handed
out, and remembered together with what tells one state of the stored object from the next: inode, size, and times of
change of a file, the entity tag in an object store. Whatever writes to it, a flipped bit written by a program too,
changes that, and the whole is verified again; so it is once `RECHECK_S` have passed, for what changes below the file
system. Reads of the whole never ask here.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

VERIFIED_MAX = 10_000
"""Blobs remembered; the one that was asked for longest ago is forgotten first."""
RECHECK_S = 600.0


class Verified:
    """Remembers digests that were right, with the state of what was read. Threads may share it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Hashable, float]] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, digest: str, state: Hashable) -> bool:
        """True if the blob was verified in this very state, and not too long ago."""
        with self._lock:
            known = self._known.get(digest)
            if known is None or known[0] != state or time.monotonic() - known[1] > RECHECK_S:
                return False
            self._known.move_to_end(digest)
            return True

    def note(self, digest: str, state: Hashable) -> None:
        """The blob was just verified in this state."""
        with self._lock:
            self._known[digest] = (state, time.monotonic())
            self._known.move_to_end(digest)
            while len(self._known) > VERIFIED_MAX:
                self._known.popitem(last=False)
