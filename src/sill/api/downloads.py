"""Answers that carry a tenant's bytes: saved, never shown or run, whole or a range of them (RFC 6266, 8187, 9110)."""

import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sill.core.errors import RangeInvalid
from sill.runs.types import ByteRange

BINARY = "application/octet-stream"
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")
_UNPRINTED = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~-]")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TEXTS = frozenset(
    {
        *("txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml", "yaml", "yml"),
        *("xml", "json", "js", "py", "py3", "csv", "tsv", "md", "rst", "MLmodel", "mlproject"),
    }
)
"""Endings, and whole names without one, that are told to be plain text."""

Opener = Callable[[ByteRange | None], Awaitable[AsyncIterator[bytes]]]
"""Opens all of the bytes, or a part of them."""


async def download(
    request: Request, name: str, size_bytes: int, digest: str, opener: Opener, media_type: str = BINARY
) -> Response:
    """The bytes, or the range of them that the request asks for.

    Several ranges at once are answered with the whole, as RFC 9110 allows. A range under `If-Range` counts only while
    the entity tag, which is the digest, is still the same.

    Raises:
        RangeInvalid: the range begins behind the end.
    """
    asked = request.headers.get("range", "")
    tag = f'"{digest}"'
    if request.headers.get("if-range", tag) != tag:
        asked = ""
    part = _part(asked, size_bytes)
    headers = download_headers(name, size_bytes if part is None else part.end - part.start)
    headers |= {"Accept-Ranges": "bytes", "ETag": tag}
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size_bytes}"
    chunks = await opener(part)
    return StreamingResponse(
        chunks,
        status_code=200 if part is None else 206,
        media_type=BINARY,
        headers=headers | {"Content-Type": media_type},
    )


def download_headers(path: str, size_bytes: int) -> dict[str, str]:
    """A tenant's bytes are saved, never shown or run: attachment, sandbox, no guessing of types."""
    name = path.rpartition("/")[2]
    plain = name if _TOKEN.fullmatch(name) else f'"{_UNPRINTED.sub("_", name)}"'
    encoded = "" if _TOKEN.fullmatch(name) else f"; filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Length": str(size_bytes),
        "Content-Disposition": f"attachment; filename={plain}{encoded}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }


def media_type_of(path: str) -> str:
    """The type that MLflow's server tells for a file of that name."""
    name = path.rpartition("/")[2]
    ending = name.rpartition(".")[2] if "." in name else name
    return "text/plain" if ending in _TEXTS else mimetypes.guess_type(name)[0] or BINARY


def _part(asked: str, size_bytes: int) -> ByteRange | None:
    """The one range that is asked for; None for the whole."""
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        start, end = max(0, size_bytes - int(found[2])), size_bytes
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise RangeInvalid(
            f"the range {asked[:60]!r} begins behind the end: the file has {size_bytes} bytes.", size_bytes=size_bytes
        )
    return ByteRange(start=start, end=end)
