"""Which requests take too long to be read between two turns of the event loop. Looking takes microseconds.

What counts is not only how long a body is: texts and brackets are looked at one by one, numbers are not, and the bytes
of binary numbers are not read at all.
"""

from sill.safety.bodies import Content

LONG_BYTES = 64 * 1024
"""JSON numbers of a millisecond or two."""
LONG_TEXT_BYTES = 16 * 1024
"""The same for what is looked at one by one: texts in binary form, numbers of a varying length."""
MARKS_MAX = 2_000
"""The same for quotes and brackets in JSON."""


def is_long(body: Content, header_bytes: int | None = None) -> bool:
    """Whether a body is to be read elsewhere.

    Args:
        header_bytes: how much of it is JSON; None for all of it.
    """
    json_bytes = len(body) if header_bytes is None else min(header_bytes, len(body))
    if json_bytes > LONG_BYTES:
        return True
    head = bytes(body[:json_bytes])
    if json_bytes > MARKS_MAX and sum(head.count(mark) for mark in b'"[{') > MARKS_MAX:
        return True
    if len(body) - json_bytes <= LONG_TEXT_BYTES:
        return False
    return b"BYTES" in head or b"\\u" in head  # which may spell it too
