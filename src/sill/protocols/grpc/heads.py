"""What a request's header fields say: which method, in which coding, until when. Refuses what RFC 9113, 8.2 and 8.3, forbids."""

import re
from typing import Any

from sill.core.names import shorten
from sill.protocols.grpc.hpack import Header
from sill.protocols.grpc.status import CallError, Status

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")
_CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_PSEUDO = (b":method", b":scheme", b":path", b":authority")
_UNITS_S = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])\Z")
_LENGTH = re.compile(rb"[0-9]{1,12}\Z")
CODINGS = ("identity", "gzip", "deflate")
"""How messages may be packed."""
PATH_LENGTH_MAX = 300


class MalformedHead(Exception):
    """The fields are no request at all; the stream ends with PROTOCOL_ERROR."""


class HttpRefusal(Exception):
    """An HTTP request that is no gRPC call; answered by an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Head:
    """A request's head. Equal blocks on a connection share one, so what was decided about it can be kept with it.

    Attributes:
        timeout_s: how long the caller waits; 0 if it did not say.
        length: what content-length said; -1 for nothing.
        method: who answers it, found by the connection.
        memo: what who answers it wants to keep.
        tenant: who asks, as who answers it has found: nobody has more than his part of the memory for messages.
    """

    __slots__ = (
        "authority",
        "coding",
        "length",
        "memo",
        "metadata",
        "method",
        "path",
        "refusal",
        "tenant",
        "timeout_s",
    )

    def __init__(self, path: str, authority: str, metadata: dict[bytes, bytes]) -> None:
        self.path = path
        self.authority = authority
        self.metadata = metadata
        self.coding = "identity"
        self.timeout_s = 0.0
        self.length = -1
        self.refusal: CallError | HttpRefusal | None = None
        self.method: Any = None
        self.memo: Any = None
        self.tenant = ""

    def text(self, name: bytes) -> str:
        """A field's value, empty if it is not there."""
        return self.metadata.get(name, b"").decode("latin-1")


def read_head(fields: list[Header]) -> Head:
    """The head; what makes it no call that can be answered is its `refusal`.

    Raises:
        MalformedHead: it is no HTTP/2 request.
    """
    pseudo, metadata = _sorted(fields)
    missing = {b":method", b":scheme", b":path"} - pseudo.keys()
    if missing or not pseudo[b":path"].startswith(b"/"):
        raise MalformedHead
    authority = pseudo.get(b":authority", metadata.get(b"host", b"")).decode("latin-1")
    head = Head(pseudo[b":path"][:PATH_LENGTH_MAX].decode("latin-1"), authority, metadata)
    if b"content-length" in metadata:
        if not _LENGTH.match(metadata[b"content-length"]):
            raise MalformedHead
        head.length = int(metadata[b"content-length"])
    if pseudo[b":method"] != b"POST":
        head.refusal = HttpRefusal(405)
    elif not _is_grpc(metadata.get(b"content-type", b"")):
        head.refusal = HttpRefusal(415)
    else:
        try:
            head.timeout_s = _timeout_s(head.text(b"grpc-timeout"))
            head.coding = _coding(head.text(b"grpc-encoding"))
        except CallError as refused:
            head.refusal = refused
    return head


def check_trailers(fields: list[Header]) -> None:
    """Raises MalformedHead if fields behind a body are not allowed there."""
    pseudo, _ = _sorted(fields)
    if pseudo:
        raise MalformedHead


def _sorted(fields: list[Header]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    pseudo: dict[bytes, bytes] = {}
    metadata: dict[bytes, bytes] = {}
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise MalformedHead
        if name[:1] == b":":
            if metadata or name in pseudo or name not in _PSEUDO:
                raise MalformedHead
            pseudo[name] = value
            continue
        is_bad = name in _CONNECTION_FIELDS or (name == b"te" and value != b"trailers") or not _NAME.match(name)
        if is_bad or (name in metadata and name in (b"content-length", b"host")):
            raise MalformedHead
        # A field that is given twice is a list of both, so a second token never replaces the first.
        metadata[name] = metadata[name] + b", " + value if name in metadata else value
    return pseudo, metadata


def _is_grpc(kind: bytes) -> bool:
    base = kind.partition(b";")[0].strip()
    return base in (b"application/grpc", b"application/grpc+proto")


def _timeout_s(given: str) -> float:
    if not given:
        return 0.0
    found = _TIMEOUT.match(given)
    if found is None:
        raise CallError(Status.INTERNAL, f"grpc-timeout {shorten(given)!r} is no time, such as 100m or 5S.")
    return max(int(found[1]) * _UNITS_S[found[2]], 1e-6)


def _coding(given: str) -> str:
    if given and given not in CODINGS:
        raise CallError(
            Status.UNIMPLEMENTED, f"grpc-encoding {shorten(given)!r} is not known; {', '.join(CODINGS)} are."
        )
    return given or "identity"
