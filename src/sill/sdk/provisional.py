"""Ids given while the server was away, and what the server calls the same things. Kept in a file, durable at once."""

import os
import re
import secrets
import threading
from pathlib import Path

import msgspec

from sill.sdk.journal_files import Entry

OFFLINE = "offline-"
_MARK = OFFLINE.encode()
_ID = re.compile(_MARK + rb"[0-9a-f]{24}")


class Provisional:
    """The mapping of one journal.

    A provisional id is random enough to be replaced wherever its letters appear in a request.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.known: dict[str, str] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                given, _, real = line.partition(" ")
                if real:
                    self.known[given] = real

    def new(self) -> str:
        """A fresh id, in a form that MLflow's clients take for a run's and an experiment's."""
        return f"{OFFLINE}{secrets.token_hex(12)}"

    def learn(self, given: str, real: str) -> None:
        """Note what the server calls it; on disk when this returns."""
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(f"{given} {real}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            self.known[given] = real

    def resolve(self, content: bytes) -> bytes:
        """The bytes, with every id the server has a name for replaced."""
        if _MARK not in content:
            return content
        return _ID.sub(lambda found: self.known.get(found[0].decode(), found[0].decode()).encode(), content)

    def resolve_text(self, text: str) -> str:
        """The same for text."""
        return self.resolve(text.encode()).decode() if OFFLINE in text else text

    def resolve_entry(self, entry: Entry) -> Entry:
        """The same for a request: its path, its body and its lane."""
        path, body, lane = self.resolve_text(entry.path), self.resolve(entry.body), self.resolve_text(entry.lane)
        if path == entry.path and body == entry.body:
            return entry
        return msgspec.structs.replace(entry, path=path, body=body, lane=lane)
