"""Messages that were packed by gzip or deflate, and packing them. What comes out of a few bytes is bounded."""

import zlib

from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.status import CallError, Status
from sill.safety.gate_body import RATIO_FREE_BYTES

_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
PACKED_BYTES_MIN = 1_024
"""Smaller answers are not worth packing: they fit one packet."""


def unpack(content: bytes, coding: str, limits: GrpcLimits) -> bytes:
    """What was packed.

    Raises:
        CallError: it is damaged, was not said to be packed, or holds more than a message may, or than its size allows.
    """
    bytes_max = min(limits.message_bytes_max, max(RATIO_FREE_BYTES, int(limits.ratio_max * len(content))))
    if coding not in _WBITS:
        raise CallError(Status.INTERNAL, "a message is said to be packed, and grpc-encoding does not say how.")
    unpacker = zlib.decompressobj(_WBITS[coding])
    try:
        found = unpacker.decompress(content, bytes_max + 1)
    except zlib.error as damaged:
        raise CallError(Status.INTERNAL, f"a message packed by {coding} is damaged.") from damaged
    if len(found) > bytes_max:
        raise too_large(bytes_max)
    if not unpacker.eof or unpacker.unused_data:
        raise CallError(Status.INTERNAL, f"a message packed by {coding} is damaged.")
    return found


def pack(content: bytes, coding: str) -> bytes:
    """The message, packed fast rather than small."""
    packer = zlib.compressobj(1, wbits=_WBITS[coding])
    return packer.compress(content) + packer.flush()


def too_large(bytes_max: int) -> CallError:
    """The error for a message over the limit."""
    return CallError(
        Status.RESOURCE_EXHAUSTED, f"too_large: a message has more than {bytes_max:,} bytes. Send fewer rows at once."
    )
