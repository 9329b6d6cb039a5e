"""The Huffman code of header fields. Source: RFC 7541, appendix B; the code is canonical, so its lengths say all of it."""

from sill.protocols.grpc.frames import Code, ConnectionFault

_EOS = 256
_LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28),
    *(28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15),
    *(6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20),
    *(20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23),
    *(24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22),
    *(22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27),
    *(24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26),
    *(26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30),
)
"""Bits of each byte's code, and of the end's."""
_PADDING_BITS_MAX = 7

Step = tuple[int, int]
"""Where half a byte leads: the next state, and the byte that was completed on the way (-1: none)."""


def _codes() -> dict[tuple[int, int], int]:
    """Symbol by (length, code)."""
    found: dict[tuple[int, int], int] = {}
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda one: (_LENGTHS[one], one)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        found[length, code] = symbol
        code += 1
    return found


def _machine() -> tuple[list[list[Step] | list[Step | None]], frozenset[int]]:
    """The next step for each state (an unfinished code) and half byte, and the states in which a text may end."""
    codes = _codes()
    prefixes = {(bits, code >> (length - bits)) for length, code in codes for bits in range(length)}
    states = {prefix: number for number, prefix in enumerate(sorted(prefixes))}  # the empty one is 0

    def walk(prefix: tuple[int, int], half: int) -> Step | None:
        length, code = prefix
        done = -1
        for shift in (3, 2, 1, 0):
            length, code = length + 1, code << 1 | (half >> shift & 1)
            symbol = codes.get((length, code))
            if symbol == _EOS:
                return None
            if symbol is not None:
                done, length, code = symbol, 0, 0
        return states[length, code], done

    steps: list[list[Step] | list[Step | None]] = [[walk(prefix, half) for half in range(16)] for prefix in states]
    ends = {states[bits, 2**bits - 1] for bits in range(_PADDING_BITS_MAX + 1)}
    return steps, frozenset(ends)


_STEPS, _ENDS = _machine()


def decode(content: bytes) -> bytes:
    """The text behind a code.

    Raises:
        ConnectionFault: it holds the end's code, or its padding is not a beginning of it.
    """
    written = bytearray()
    state = 0
    for byte in content:
        for half in (byte >> 4, byte & 15):
            step = _STEPS[state][half]
            if step is None:
                raise ConnectionFault(Code.COMPRESSION_ERROR, "a text holds the end of texts")
            state, symbol = step
            if symbol >= 0:
                written.append(symbol)
    if state not in _ENDS:
        raise ConnectionFault(Code.COMPRESSION_ERROR, "a text ends within a code")
    return bytes(written)
