"""HTTP/1.1 as the load generator speaks it: one request that lies ready, answers by length or in chunks."""

import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


class Http:
    """One kept-alive connection.

    Attributes:
        failed: answers that were not 200.
        to_send: what the protocol itself wants to say; HTTP/1.1 has nothing.
    """

    def __init__(self, path: str, headers: dict[str, str], body: bytes, port: int) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._came = b""
        self._opening, self._size = b"", -1
        self.failed = 0
        self.to_send = b""

    def request(self) -> bytes:
        """The next request."""
        return self._request

    def hear(self, data: bytes) -> bool:
        """Take what came; true if the answer is whole."""
        if not self._came and len(data) == self._size and data.startswith(self._opening):
            return True  # as the last one: as long by its own word, and as good
        data = self._came + data if self._came else data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or not self._is_whole(data, end):
            self._came = data
            return False
        self._came = b""
        if not data.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            return True
        length = _LENGTH.search(data, 0, end)
        if length is not None:
            self._opening, self._size = data[: length.end()], end + int(length[1])
        return True

    def _is_whole(self, data: bytes, end: int) -> bool:
        length = _LENGTH.search(data, 0, end)
        if length is not None:
            return len(data) >= end + int(length[1])
        return _CHUNKED.search(data, 0, end) is not None and data.endswith(b"0\r\n\r\n")
