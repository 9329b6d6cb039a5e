"""One request to one server over a kept connection, with the standard library alone: what the sender of a journal uses.

An answer is an answer, whatever its status. That there was none, or that the server says it cannot now, is `Away`.
"""

import http.client
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten

CONNECT_S = 2.0
ANSWER_S = 30.0
ANSWER_BYTES_MAX = 16 * 1024**2
AWAY = frozenset({408, 425, 429, 502, 503, 504})
"""What a server that is starting, ending or too busy answers, or a proxy in front of one that is gone."""

Body = bytes | Path | Iterable[bytes]
"""Bytes, a file, or pieces that come as they are made; the last cannot be sent twice."""


class Away(Exception):
    """Nobody answered, or the answer was: not now. Says why."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}

    @property
    def is_success(self) -> bool:
        """True if the server did what was asked."""
        return 200 <= self.status < 300


class Carrier:
    """Connections to one server, one after the other. For one thread.

    Args:
        url: `http://HOST:PORT` or `https://NAME`, with a path if the server lies beneath one.
        headers: sent with every request, such as the authorization.
    Raises:
        InvalidValue: the address is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], answer_s: float = ANSWER_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidValue(f"{shorten(url)!r} is not an address of a server.", fix="Give http://HOST:PORT.")
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._is_secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = dict(headers)
        self._answer_s = answer_s
        self._connection: http.client.HTTPConnection | None = None

    def carry(self, method: str, path: str, headers: Mapping[str, str], body: Body = b"") -> Answer:
        """Send a request and read its answer.

        Raises:
            Away: there is no answer.
        """
        answer = self.open(method, path, headers, body)
        try:
            content = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as broken:
            self.close()
            raise Away(f"the connection broke: {broken or type(broken).__name__}") from broken
        if not answer.isclosed():  # longer than anybody reads here
            self.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(status=answer.status, body=content, headers=found)

    def open(self, method: str, path: str, headers: Mapping[str, str], body: Body = b"") -> http.client.HTTPResponse:
        """Send a request; its answer, to be read to its end or closed before the next is sent.

        A kept connection may have been closed by the server: then it is sent again on a new one. What is sent is thus
        either harmless when repeated or carries an idempotency key.

        Raises:
            Away: there is no answer.
        """
        is_kept = self._connection is not None
        try:
            return self._exchange(method, path, headers, body)
        except (OSError, http.client.HTTPException) as broken:
            self.close()
            if not is_kept or not isinstance(body, bytes | Path):
                raise self._away(broken) from broken
        try:
            return self._exchange(method, path, headers, body)
        except (OSError, http.client.HTTPException) as broken:
            self.close()
            raise self._away(broken) from broken

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: Body) -> http.client.HTTPResponse:
        connection = self._connection or self._connect()
        connection.putrequest(method, self._prefix + path, skip_accept_encoding=True)
        for name, value in {**headers, **self._headers}.items():
            connection.putheader(name, value)
        if isinstance(body, bytes):
            if body or method not in ("GET", "HEAD"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
        elif isinstance(body, Path):
            connection.putheader("Content-Length", str(body.stat().st_size))
            connection.endheaders()
            with body.open("rb") as file:
                connection.send(file)
        else:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=True)
        return connection.getresponse()

    def _away(self, broken: Exception) -> Away:
        return Away(f"nobody answers at {self._host}:{self._port}: {broken or type(broken).__name__}")

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_secure:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_S, context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        made.connect()
        made.sock.settimeout(self._answer_s)
        self._connection = made
        return made
