"""The output of all workers in one file: bounded, with the rank before each line of a gang. Standard library only."""

import os
from pathlib import Path

OUTPUT_BYTES_MAX = 64 * 1024**2
LINE_BYTES_MAX = 16 * 1024
_NOTICE = b"\n[sill] output is longer than %d bytes; the rest is left out.\n"
_HIDDEN = b"[redacted]"


class Output:
    """Writes lines of workers. Half lines wait until they are whole, too long, or `flush` is called.

    Args:
        redact: texts (of at least 8 bytes) that are replaced wherever they stand in a line.
        prefixed: put `[rank] ` before each line.
    """

    def __init__(self, path: Path, *, redact: list[bytes], prefixed: bool, bytes_max: int = OUTPUT_BYTES_MAX) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._redact = [text for text in redact if len(text) >= 8]
        self._prefixed = prefixed
        self._left = bytes_max
        self._bytes_max = bytes_max
        self._halves: dict[int, bytes] = {}

    def write(self, rank: int, data: bytes) -> None:
        """Take what a worker wrote."""
        lines = (self._halves.pop(rank, b"") + data).split(b"\n")
        whole = b"".join(self._dress(rank, line + b"\n") for line in lines[:-1])
        if len(lines[-1]) > LINE_BYTES_MAX:
            whole += self._dress(rank, lines[-1] + (b"\n" if self._prefixed else b""))
        elif lines[-1]:
            self._halves[rank] = lines[-1]
        self._put(whole)

    def flush(self) -> None:
        """Write half lines too, such as progress bars and prompts; a gang's half lines stay, to keep lines apart."""
        if not self._prefixed:
            self.finish()

    def finish(self) -> None:
        """Write all that is left."""
        for rank, half in sorted(self._halves.items()):
            self._put(self._dress(rank, half + (b"\n" if self._prefixed else b"")))
        self._halves.clear()

    def say(self, text: str) -> None:
        """A line of our own."""
        self._put(f"[sill] {text}\n".encode())

    def close(self) -> None:
        self.finish()
        os.close(self._file)

    def _dress(self, rank: int, line: bytes) -> bytes:
        for text in self._redact:
            line = line.replace(text, _HIDDEN)
        return b"[%d] %s" % (rank, line) if self._prefixed else line

    def _put(self, data: bytes) -> None:
        if not data or self._left <= 0:
            return
        if len(data) > self._left:
            data = data[: self._left] + _NOTICE % self._bytes_max
            self._left = 0
        else:
            self._left -= len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            return  # the disk is full: the run goes on, its output is lost
