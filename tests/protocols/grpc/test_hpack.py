"""Header compression, by the examples of RFC 7541, appendix C."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.protocols.grpc.frames import ConnectionFault
from sill.protocols.grpc.hpack import Decoder, HeaderListTooLarge, encode


def decoder(**limits: int) -> Decoder:
    return Decoder(**{"list_bytes_max": 4_096, "count_max": 50} | limits)


def test_requests_with_huffman_coding_share_the_table() -> None:
    one = decoder()
    blocks = ("828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf")
    last = "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"

    assert [one.decode(bytes.fromhex(block))[3][1] for block in blocks] == [b"www.example.com"] * 2
    assert one.decode(bytes.fromhex(last))[-1] == (b"custom-key", b"custom-value")


def test_a_field_that_is_not_indexed_leaves_the_table_as_it_was() -> None:
    one = decoder()

    assert one.decode(bytes.fromhex("040c2f73616d706c652f70617468")) == [(b":path", b"/sample/path")]
    assert one.version == 0


@pytest.mark.parametrize(
    "block",
    [
        *("80", "be", "ff", "40", "0085f2b24a84ff", "3fe21f", "8220", "00818fffff", "7fffffffffffff0f", "418cf1e3"),
        *("0084ffffffff00",),
    ],
)
def test_a_malformed_block_ends_the_connection(block: str) -> None:
    with pytest.raises(ConnectionFault):
        decoder().decode(bytes.fromhex(block))


def test_a_bomb_of_references_is_too_large_and_takes_no_memory() -> None:
    one = decoder()
    one.decode(b"\x40\x01a\x7f\x81\x16" + b"x" * 2_944)

    with pytest.raises(HeaderListTooLarge):
        one.decode(b"\xbe" * 16_000)


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=6))
def test_what_is_encoded_is_decoded(fields: list[tuple[bytes, bytes]]) -> None:
    assert decoder().decode(encode(fields)) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_a_fault(block: bytes) -> None:
    with contextlib.suppress(ConnectionFault, HeaderListTooLarge):
        decoder().decode(block)
