"""What the headers of a request to the inference plane say, its body, and how answers are sent. Used by all its doors."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sill.core.errors import InvalidValue, UnsupportedType
from sill.core.names import check_name
from sill.core.values import Value
from sill.protocols.oip.codec import BINARY_HEADER, BINARY_TYPE, JSON_TYPE, Inference
from sill.protocols.oip.errors import Message, Receive, Send
from sill.protocols.oip.paths import Target
from sill.safety.bodies import Content, Gathered
from sill.safety.tokens import bearer
from sill.traffic.admission import INTERACTIVE
from sill.traffic.recording import Asked

DEFAULT_PROJECT = "default"
STICKY_LENGTH_MAX = 200
LENGTH_DIGITS_MAX = 12
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
PACKED_BYTES_MIN = 1_024
"""Smaller answers are not worth packing: they fit one packet."""
PRIORITIES = ("", "interactive", "batch", "background")

Headers = Mapping[bytes, bytes]


class Wishes(Value, frozen=True, kw_only=True):
    """What a request's head says of how it is to be answered."""

    sticky_key: str = ""
    timeout_ms: float = 0.0
    """0 if nothing was said."""
    priority: str = ""

    def asked(
        self,
        place: tuple[str, str],
        version: int,
        request_id: str,
        tensors: dict[str, Any],
        request: Inference | None = None,
    ) -> Asked:
        """The request as the plane takes it.

        Args:
            place: project and endpoint.
            request: says more, where the protocol has words for it; the head's come first.
        """
        return Asked(
            id=request_id,
            project=place[0],
            endpoint=place[1],
            tensors=tensors,
            version=version,
            entity={} if request is None else request.entity,
            sticky_key=self.sticky_key,
            timeout_ms=self.timeout_ms or (0.0 if request is None else request.timeout_ms),
            priority=self.priority or ("" if request is None else request.priority) or INTERACTIVE,
        )


def wishes_of(headers: Headers) -> Wishes:
    """What the headers say.

    Raises:
        InvalidValue: something that cannot be meant.
    """
    return Wishes(sticky_key=sticky_key(headers), timeout_ms=timeout_ms(headers), priority=priority(headers))


def secret(headers: Headers) -> str:
    """The bearer secret; empty if there is none."""
    return bearer(headers.get(b"authorization", b"").decode("latin-1"))


def project_of(headers: Headers, target: Target | None = None) -> str:
    """The project a request is about: as its path says, else its header, else `DEFAULT_PROJECT`."""
    named = headers.get(b"x-sill-project", b"").decode("latin-1")
    return (target.project if target is not None else "") or check_name(named or DEFAULT_PROJECT, "project")


def kind_of(headers: Headers) -> bytes:
    """The content type without its parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def header_bytes(headers: Headers) -> int | None:
    """How much of the body is JSON, if something else follows.

    Raises:
        UnsupportedType: the body is neither JSON nor JSON with binary tensors behind it.
        InvalidValue: the header is no number.
    """
    kind = kind_of(headers)
    said = headers.get(BINARY_HEADER)
    if said is None:
        check_json(headers)
        return None
    if kind not in (b"", JSON_TYPE, BINARY_TYPE):
        raise UnsupportedType("a body with binary tensors is application/octet-stream.", fix="Send it as such.")
    if not said.isdigit() or len(said) > LENGTH_DIGITS_MAX:
        raise InvalidValue(
            "Inference-Header-Content-Length is a number of bytes.", field="inference-header-content-length"
        )
    return int(said)


def check_json(headers: Headers) -> None:
    """Refuse a body that is said to be something else than JSON (UnsupportedType).

    tritonclient's asyncio form calls its JSON application/octet-stream; so Triton takes it, and so do we.
    """
    if kind_of(headers) not in (b"", JSON_TYPE, BINARY_TYPE):
        raise UnsupportedType(
            "the body must be application/json.", fix="Send content-type: application/json, or the binary extension."
        )


def coding_of(headers: Headers) -> str:
    """The coding an answer may be packed in: the first we know of those accepted; empty for none."""
    for given in headers.get(b"accept-encoding", b"").decode("latin-1").lower().split(","):
        name, _, quality = given.strip().partition(";")
        if name in CODINGS and quality.strip() not in ("q=0", "q=0.0"):
            return name
    return ""


def timeout_ms(headers: Headers) -> float:
    """How long the answer may take; 0 if nothing was said."""
    given = headers.get(b"x-sill-timeout-ms")
    if given is None:
        return 0.0
    if not given.isdigit() or len(given) > 9 or int(given) == 0:
        raise InvalidValue("X-Sill-Timeout-Ms is a whole number of milliseconds, 1 or more.", field="x-sill-timeout-ms")
    return float(given)


def sticky_key(headers: Headers) -> str:
    """Requests with the same key go to the same revision."""
    return check_sticky(headers.get(b"x-sill-sticky-key", b"").decode("latin-1"))


def check_sticky(key: str) -> str:
    """The key, if it is short enough.

    Raises:
        InvalidValue: it is not.
    """
    if len(key) > STICKY_LENGTH_MAX:
        raise InvalidValue(f"X-Sill-Sticky-Key has at most {STICKY_LENGTH_MAX} characters.", field="x-sill-sticky-key")
    return key


def priority(headers: Headers) -> str:
    """The class of a request; empty if nothing was said."""
    given = headers.get(b"x-sill-priority", b"").decode("latin-1").lower()
    if given not in PRIORITIES:
        raise InvalidValue(f"X-Sill-Priority is one of {', '.join(PRIORITIES[1:])}.", field="x-sill-priority")
    return given


async def read_body(receive: Receive) -> Content | None:
    """All of the body, as far as the gate lets it through; None if the client left."""
    message: Message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return bytes(message.get("body", b""))
    gathered = Gathered()
    while message["type"] == "http.request":
        gathered.add(message.get("body", b""))
        if not message.get("more_body", False):
            return gathered.whole()
        message = await receive()
    return None


async def send_value(send: Send, value: Value | tuple[Value, ...]) -> None:
    """Answer with a message of the protocol."""
    await send_bytes(send, msgspec.json.encode(value))


async def send_packed(send: Send, body: bytes, asked: Headers, json_bytes: int | None = None) -> None:
    """Answer, packed if the client takes it so and it is worth it.

    Args:
        asked: the request's headers.
        json_bytes: how much of the body is JSON; None for all of it.
    """
    more = [] if json_bytes is None else [(BINARY_HEADER, str(json_bytes).encode())]
    coding = coding_of(asked) if len(body) >= PACKED_BYTES_MIN else ""
    if coding:
        packer = zlib.compressobj(1, wbits=CODINGS[coding])
        body = packer.compress(body) + packer.flush()
        more.append((b"content-encoding", coding.encode()))
    await send_bytes(send, body, JSON_TYPE if json_bytes is None else BINARY_TYPE, more)


async def send_bytes(
    send: Send, body: bytes, kind: bytes = JSON_TYPE, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer 200 with these bytes."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
