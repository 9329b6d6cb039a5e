"""Messages out of the pieces they came in. A long one grows in place: no turn of the event loop copies all of it."""

from sill.protocols.grpc.packing import too_large
from sill.protocols.grpc.status import CallError, Status
from sill.safety.bodies import HERE_BYTES, Content, Gathered

PREFIX_BYTES = 5
"""In front of each message: whether it is packed, and its length in four bytes."""


class Assembly:
    """What came of a call and was not taken yet.

    Args:
        bytes_max: of a message.
    Attributes:
        size: bytes that are held.
        is_packed: whether the message that is being put together is packed.
    """

    __slots__ = ("_bytes_max", "_long", "_needed", "_pieces", "is_packed", "size")

    def __init__(self, bytes_max: int) -> None:
        self.size = 0
        self.is_packed = False
        self._bytes_max = bytes_max
        self._needed = -1
        self._pieces: list[bytes] = []
        self._long: Gathered | None = None

    def add(self, content: bytes) -> None:
        """What came next.

        Raises:
            CallError: the prefix of a message is none, or says that it is too long.
        """
        self.size += len(content)
        if self._long is not None:
            room = self._needed - self._long.size
            self._long.add(content[:room])
            content = content[room:]
        if content:
            self._pieces.append(content)
        if self._needed < 0 and self.size >= PREFIX_BYTES:
            self._read_prefix()

    def take(self) -> tuple[Content, int] | None:
        """The next message as it came, and the bytes it took with its prefix; None while it is not there in full.

        Raises:
            CallError: see `add`, about the message behind it.
        """
        taken = PREFIX_BYTES + self._needed
        if self._needed < 0 or self.size < taken:
            return None
        if self._long is not None:
            content, self._long = self._long.whole(), None
        else:
            content = self._take_short()
        self.size -= taken
        self._needed = -1
        return content, taken

    def go_on(self) -> None:
        """Look at what lies behind a message that was taken, its `is_packed` too. Errors as `add`."""
        if self._needed < 0 and self.size >= PREFIX_BYTES:
            self._read_prefix()

    def clear(self) -> None:
        """Let go of everything."""
        self._pieces, self._long, self.size, self._needed = [], None, 0, -1

    def _take_short(self) -> bytes:
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        content, rest = whole[: self._needed], whole[self._needed :]
        self._pieces = [rest] if rest else []
        return content

    def _read_prefix(self) -> None:
        """The prefix is taken off; what is behind it stays."""
        first = self._pieces[0]
        if len(first) < PREFIX_BYTES:
            first = b"".join(self._pieces)
            self._pieces = [first]
        length = int.from_bytes(first[1:PREFIX_BYTES], "big")
        if first[0] > 1:
            raise CallError(Status.INTERNAL, "a message begins with neither 0 nor 1.")
        if length > self._bytes_max:
            raise too_large(self._bytes_max)
        self.is_packed, self._needed = first[0] == 1, length
        self._pieces[0] = first[PREFIX_BYTES:]
        if length > HERE_BYTES:
            self._long, pieces, self._pieces = Gathered(), self._pieces, []
            for piece in pieces:
                self._long.add(piece)
