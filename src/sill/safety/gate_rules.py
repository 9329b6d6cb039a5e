"""What the head of a request may look like. Pure: nothing here waits, reads a body or knows a user."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from sill.core.errors import (
    Forbidden,
    HeadersTooLarge,
    InvalidValue,
    MethodNotAllowed,
    NotFound,
    RangeInvalid,
    TooLarge,
    UnsupportedType,
)
from sill.core.names import shorten

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class GateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one request may ask for.

    Attributes:
        header_bytes_max: names and values of all headers, with path and query.
        body_bytes_max: as received and, if it was compressed, as inflated.
        chunks_max: pieces a body may arrive in.
        ratio_max: inflated bytes for each received one, once more than a MiB was inflated.
        body_grace_s: seconds the server waits for a body before a rate is demanded.
        body_bytes_per_s_min: the rate after that.
        body_seconds_max: seconds the server waits for one body in all. Time in which the app works does not count.
        range_bytes_max, range_count_max: length of a Range header, and ranges in it.
        in_flight_max: requests at once.
    """

    header_count_max: int = 100
    header_bytes_max: int = 32 * 1024
    content_type_bytes_max: int = 256
    body_bytes_max: int = 64 * 1000**2
    chunks_max: int = 65_536
    ratio_max: float = 200.0
    body_grace_s: float = 10.0
    body_bytes_per_s_min: float = 1_000.0
    body_seconds_max: float = 900.0
    range_bytes_max: int = 1_000
    range_count_max: int = 16
    in_flight_max: int = 512


class Head(NamedTuple):
    """What the gate needs to know about a head that passed.

    Attributes:
        coding: `gzip`, `deflate` or empty.
        length: the declared length, None if it is not declared.
    """

    has_body: bool
    coding: str
    length: int | None


def check_head(
    scope: Mapping[str, Any],
    limits: GateLimits,
    hosts: frozenset[str],
    origins: frozenset[str],
    body_bytes_max: int | None = None,
) -> Head:
    """Checks sizes, framing, Host, path, verb, Origin, ranges, type and coding, in this order.

    Raises:
        HeadersTooLarge, InvalidValue, Forbidden, NotFound, MethodNotAllowed, RangeInvalid, UnsupportedType, TooLarge:
            the first rule that is broken.
    """
    fields = _collect(scope["headers"], limits, len(scope.get("raw_path") or b"") + len(scope["query_string"]))
    is_websocket = scope["type"] == "websocket"
    method = "GET" if is_websocket else scope["method"]
    length = _check_framing(fields)
    host = _check_host(fields, hosts)
    _check_path(scope.get("raw_path") or scope["path"].encode())
    if _BAD_QUERY.search(scope["query_string"]):
        raise InvalidValue("the query holds control characters.", field="query")
    if method not in METHODS:
        raise MethodNotAllowed(f"method {shorten(method)!r} is not one of {', '.join(METHODS)}.")
    if is_websocket or method not in ("GET", "HEAD"):
        _check_origin(fields, host, origins)
    if (ranges := fields.get(b"range")) is not None:
        _check_range(ranges, limits)
    has_body = b"transfer-encoding" in fields or bool(length)
    _check_type(fields, limits, has_body and method not in ("GET", "HEAD"))
    coding = fields.get(b"content-encoding", b"").strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedType(
            f"content-encoding {shorten(coding.decode('latin-1'))!r} is not known; gzip, deflate and none are."
        )
    body_max = limits.body_bytes_max if body_bytes_max is None else body_bytes_max
    if length is not None and length > body_max:
        raise TooLarge(f"the body has {length:,} bytes; {body_max:,} are allowed.", bytes_max=body_max)
    return Head(has_body, _CODINGS[coding], length)


_ONCE = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"origin",
        b"range",
        b"authorization",
        b"sec-fetch-site",
    }
)
_CODINGS = {b"": "", b"identity": "", b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate"}
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Control characters but 0x1F: the Iceberg REST protocol joins the levels of a namespace with it.
_BAD_IN_SEGMENT = re.compile(rb"[\x00-\x1e\x7f/\\]|%(?:00|2[eEfF]|5[cC])")
_BAD_QUERY = re.compile(rb"[\x00-\x20\x7f]|%(?:00|7[fF])")
# What a browser sends to another site without asking first.
_SIMPLE_TYPES = frozenset({b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"})


def _collect(headers: Iterable[tuple[bytes, bytes]], limits: GateLimits, target_bytes: int) -> dict[bytes, bytes]:
    """The headers that matter here; the others are only counted."""
    fields: dict[bytes, bytes] = {}
    size = target_bytes
    for count, (name, value) in enumerate(headers, 1):
        size += len(name) + len(value) + 4
        if count > limits.header_count_max or size > limits.header_bytes_max:
            raise HeadersTooLarge(
                f"more than {limits.header_count_max} headers, or more than {limits.header_bytes_max:,} bytes of "
                "headers and URL.",
                fix="Send less.",
            )
        if _CONTROL.search(value):
            raise InvalidValue("a header value holds control characters.", field="headers")
        if name in _ONCE and name in fields:
            raise InvalidValue(f"header {name.decode('latin-1')} is given twice.", field="headers")
        fields[name] = value
    return fields


def _check_framing(fields: Mapping[bytes, bytes]) -> int | None:
    length, transfer = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if length is not None and transfer is not None:
        raise InvalidValue("content-length and transfer-encoding are both given; one is allowed.", field="headers")
    if transfer is not None and transfer.strip().lower() != b"chunked":
        raise InvalidValue("transfer-encoding is not 'chunked', the only one that is known.", field="headers")
    if length is None:
        return None
    if not length.isdigit() or len(length) > 18:
        raise InvalidValue("content-length is not a number.", field="headers")
    return int(length)


def _check_host(fields: Mapping[bytes, bytes], hosts: frozenset[str]) -> str:
    given = fields.get(b"host", b"").decode("latin-1").lower()
    if not given:
        raise InvalidValue("the request has no Host header.", field="host")
    match = _HOST.fullmatch(given)
    if match is None:
        raise InvalidValue("the Host header is not a host name.", field="host")
    if given not in hosts and match["name"] not in hosts:
        raise Forbidden(
            f"host {shorten(given)!r} is not a name of this server.",
            fix="Use the address the server printed, or set SILL_PUBLIC_URL.",
        )
    return given


def _check_path(raw: bytes) -> None:
    if not raw.startswith(b"/") or raw.startswith(b"//"):
        raise NotFound("there is nothing under this path.")
    if b"%" not in raw and b"\\" not in raw and b"/." not in raw and not _CONTROL.search(raw):
        return
    if _BAD_PERCENT.search(raw):
        raise InvalidValue("the path has a wrong percent escape.", field="path")
    for segment in raw.split(b"/"):
        decoded = unquote_to_bytes(segment)
        if decoded in (b".", b"..") or _BAD_IN_SEGMENT.search(decoded):
            raise NotFound("there is nothing under this path.")
        try:
            decoded.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise InvalidValue("the path is not UTF-8.", field="path") from wrong


def _check_origin(fields: Mapping[bytes, bytes], host: str, origins: frozenset[str]) -> None:
    site = fields.get(b"sec-fetch-site", b"none").strip().lower()
    origin = fields.get(b"origin", b"").decode("latin-1").lower()
    # Programs send neither. The host was checked before, so its own origin is ours.
    own = (f"http://{host}", f"https://{host}")
    if (origin and origin not in own and origin not in origins) or (
        site not in (b"none", b"same-origin") and origin not in origins
    ):
        raise Forbidden(
            f"the request comes from another site ({shorten(origin) or site.decode('latin-1')!r}).",
            fix="Open the console at its own address.",
        )


def _check_range(ranges: bytes, limits: GateLimits) -> None:
    if len(ranges) > limits.range_bytes_max or ranges.count(b",") >= limits.range_count_max:
        raise RangeInvalid(
            f"more than {limits.range_count_max} ranges, or a Range header over {limits.range_bytes_max:,} bytes.",
            fix="Ask for fewer ranges.",
        )


def _check_type(fields: Mapping[bytes, bytes], limits: GateLimits, changes_with_body: bool) -> None:
    given = fields.get(b"content-type", b"")
    if len(given) > limits.content_type_bytes_max or b"\\" in given or b"<" in given:
        raise UnsupportedType("the content type cannot be read.", fix="Send application/json.")
    if changes_with_body and b"cookie" in fields and given.partition(b";")[0].strip().lower() in _SIMPLE_TYPES:
        raise UnsupportedType(
            "with a session cookie the body must be application/json or another declared type.",
            fix="Send content-type: application/json.",
        )
