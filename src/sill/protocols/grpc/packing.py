"""Messages that were packed by gzip or deflate, and packing them. What comes out of a few bytes is bounded."""

import zlib
from concurrent.futures import ThreadPoolExecutor

from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.status import CallError, Status
from sill.safety.bodies import Content, Gathered
from sill.safety.gate_body import RATIO_FREE_BYTES

_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
PACKED_BYTES_MIN = 1_024
"""Smaller answers are not worth packing: they fit one packet."""
SLICE_BYTES, PIECE_BYTES = 16 * 1024, 256 * 1024
"""Taken in, and taken out, at a time."""
UNPACKER = ThreadPoolExecutor(1, "sill-unpack")
"""Where messages of unary calls are unpacked that are longer than `UNPACKED_HERE_BYTES`: it lets go of the interpreter."""
UNPACKED_HERE_BYTES = 4 * 1024


def unpack(content: Content, coding: str, limits: GrpcLimits) -> Content:
    """What was packed. It is taken out piece by piece, so that a bomb is known for one early.

    Raises:
        CallError: it is damaged, was not said to be packed, or holds more than a message may, or than its size allows.
    """
    if coding not in _WBITS:
        raise CallError(Status.INTERNAL, "a message is said to be packed, and grpc-encoding does not say how.")
    unpacker, found, at = zlib.decompressobj(_WBITS[coding]), Gathered(), 0
    try:
        while at < len(content) and not unpacker.eof:
            left, at = bytes(content[at : at + SLICE_BYTES]), at + SLICE_BYTES
            while left and not unpacker.eof:
                found.add(unpacker.decompress(left, PIECE_BYTES))
                left = unpacker.unconsumed_tail
                by_ratio = max(RATIO_FREE_BYTES, int(limits.ratio_max * min(at, len(content))))
                if found.size > min(limits.message_bytes_max, by_ratio):
                    raise too_large(min(limits.message_bytes_max, by_ratio))
    except zlib.error as damaged:
        raise CallError(Status.INTERNAL, f"a message packed by {coding} is damaged.") from damaged
    if not unpacker.eof or unpacker.unused_data or at < len(content):
        raise CallError(Status.INTERNAL, f"a message packed by {coding} is damaged.")
    return found.whole()


def pack(content: bytes, coding: str) -> bytes:
    """The message, packed fast rather than small."""
    packer = zlib.compressobj(1, wbits=_WBITS[coding])
    return packer.compress(content) + packer.flush()


def too_large(bytes_max: int) -> CallError:
    """The error for a message over the limit."""
    return CallError(
        Status.RESOURCE_EXHAUSTED, f"too_large: a message has more than {bytes_max:,} bytes. Send fewer rows at once."
    )
