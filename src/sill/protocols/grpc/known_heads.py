"""The heads of a connection's calls: blocks that are equal, byte for byte, to an earlier one mean what it meant."""

from sill.protocols.grpc.frames import Code, ConnectionFault
from sill.protocols.grpc.heads import Head, MalformedHead, check_trailers, read_head
from sill.protocols.grpc.hpack import Decoder, HeaderListTooLarge
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.meter import Meter
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import CallError, Status

HEADS_KNOWN_MAX = 64
"""Header blocks remembered for a connection; they are forgotten whenever the table they were read with changes."""


class KnownHeads:
    """Every block of a connection goes through here, in order: HPACK's table is shared by all of them."""

    def __init__(self, house: House, meter: Meter) -> None:
        limits = house.limits
        self._house = house
        self._meter = meter
        self._decoder = Decoder(limits.header_list_bytes_max, limits.header_count_max)
        self._known: dict[bytes, Head] = {}
        self._version = 0
        """Of the table, when the known ones were read."""

    def read(self, block: bytes) -> Head:
        """The head of a call.

        Raises:
            MalformedHead: it is no request.
            ConnectionFault: the block cannot be read.
        """
        return self._known.get(block) or self._learn(block)

    def read_trailers(self, block: bytes) -> bool:
        """Fields behind a body; false if they are not allowed there.

        Raises:
            ConnectionFault: the block cannot be read, or is too large.
        """
        try:
            fields = self._decoder.decode(block)
        except HeaderListTooLarge as too_large:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "trailers that are too large") from too_large
        self._forget_if_changed()
        try:
            check_trailers(fields)
        except MalformedHead:
            return False
        return True

    def _learn(self, block: bytes) -> Head:
        """A head that was not seen like this before."""
        decoder, before = self._decoder, self._decoder.version
        try:
            fields = decoder.decode(block)
        except HeaderListTooLarge:
            self._known.clear()
            self._meter.noise()
            head = Head("", "", {})
            head.refusal = CallError(Status.RESOURCE_EXHAUSTED, "headers_too_large: the head of the call is too large.")
            return head
        self._forget_if_changed()
        head = read_head(fields)
        if head.refusal is None:
            try:
                self._house.service.check(head)
                head.method = self._house.service.find(head.path)
            except CallError as refused:
                head.refusal = refused
        if before == decoder.version:
            self._known[block] = head
        return head

    def _forget_if_changed(self) -> None:
        if self._decoder.version != self._version or len(self._known) >= HEADS_KNOWN_MAX:
            self._known.clear()
            self._version = self._decoder.version


class BlockInPieces:
    """A head that did not fit its first frame. Nothing may come between its pieces.

    Attributes:
        is_last: whether nothing follows the head.
        began_tick: when its first piece came, by the server's clock of ticks.
    """

    def __init__(self, stream_id: int, first: bytes, tick: int, *, is_last: bool) -> None:
        self.stream_id = stream_id
        self.pieces = [first]
        self.is_last = is_last
        self.began_tick = tick
        self._size = len(first)

    def add(self, piece: bytes, limits: GrpcLimits) -> None:
        """The next one.

        Raises:
            ConnectionFault: they are too many, or too long together.
        """
        self.pieces.append(piece)
        self._size += len(piece)
        if self._size > limits.header_block_bytes_max or len(self.pieces) > limits.continuations_max:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a head that is too long, or in too many pieces")
