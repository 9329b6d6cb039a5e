"""What every blob driver must do. Subclass, and give the fixtures `blobs` and `flip`."""

import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import pytest

from sill.core.errors import Conflict, Damaged, InvalidValue, NotFound, TooLarge
from sill.stores.blobs.port import CHUNK_BYTES, Blobs

Flip = Callable[[Literal["blob", "named"], str, int], None]
"""Turns one bit of what is kept under a digest or name: which, key, number of the bit."""

ABSENT = hashlib.sha256(b"never stored").hexdigest()
BIG = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"end"


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """The data, a piece at a time."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


class BlobsContract:
    """The suite. Subclasses define two fixtures.

    blobs: an empty store. flip: see `Flip`; it reaches around the driver.
    """

    @pytest.mark.parametrize("data", [b"", b"a", b"\x00\xff" * 500, BIG], ids=["empty", "one", "binary", "big"])
    def test_what_was_put_is_got(self, blobs: Blobs, data: bytes) -> None:
        digest = blobs.put_bytes(data)

        assert digest == hashlib.sha256(data).hexdigest()
        assert blobs.get(digest) == data
        assert (blobs.size(digest), blobs.exists(digest)) == (len(data), True)

    def test_the_same_bytes_are_kept_once(self, blobs: Blobs) -> None:
        assert blobs.put_bytes(b"twice") == blobs.put_bytes(b"twice")
        assert list(blobs.digests()) == [hashlib.sha256(b"twice").hexdigest()]

    @pytest.mark.parametrize("data", [b"", BIG], ids=["empty", "big"])
    def test_a_file_is_kept_as_its_bytes_are(self, blobs: Blobs, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "given").write_bytes(data)

        assert blobs.get(blobs.put_file(tmp_path / "given")) == data
        assert (tmp_path / "given").read_bytes() == data

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 70_000), (len(BIG) - 3, len(BIG))])
    def test_a_range_is_that_part_of_the_bytes(self, blobs: Blobs, start: int, end: int) -> None:
        digest = blobs.put_bytes(BIG)

        for _ in range(2):  # verified first, then from what is remembered
            with blobs.open_range(digest, start, end) as file:
                assert file.read(end - start) == BIG[start:end]

    def test_no_range_of_a_damaged_blob_is_handed_out(self, blobs: Blobs, flip: Flip) -> None:
        digest = blobs.put_bytes(BIG)
        blobs.open_range(digest, 0, 10).close()
        flip("blob", digest, 8 * (len(BIG) - 1))

        with pytest.raises(Damaged):
            blobs.open_range(digest, 0, 10)
        with pytest.raises(NotFound):
            blobs.open_range(ABSENT, 0, 10)

    def test_a_link_or_folder_is_no_file(self, blobs: Blobs, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/etc/hostname")
        for path in (tmp_path / "link", tmp_path, tmp_path / "absent"):
            with pytest.raises(NotFound):
                blobs.put_file(path)

    @pytest.mark.anyio
    async def test_a_stream_is_kept_as_its_bytes_are(self, blobs: Blobs) -> None:
        digest, size = await blobs.put_stream(chunks(BIG), len(BIG))

        assert (digest, size) == (hashlib.sha256(BIG).hexdigest(), len(BIG))
        assert blobs.get(digest) == BIG

    @pytest.mark.anyio
    async def test_a_stream_that_is_too_long_leaves_nothing(self, blobs: Blobs) -> None:
        with pytest.raises(TooLarge):
            await blobs.put_stream(chunks(BIG), len(BIG) - 1)

        assert list(blobs.digests()) == []

    @pytest.mark.anyio
    async def test_a_stream_that_breaks_leaves_nothing(self, blobs: Blobs) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionResetError("the client went away")

        with pytest.raises(ConnectionResetError):
            await blobs.put_stream(breaking(), 1_000)
        assert list(blobs.digests()) == []

    def test_open_reads_and_seeks(self, blobs: Blobs) -> None:
        with blobs.open(blobs.put_bytes(BIG)) as file:
            assert file.read() == BIG
            file.seek(-3, 2)
            assert file.read() == b"end"

    def test_what_is_absent_is_not_found(self, blobs: Blobs) -> None:
        for read in (blobs.get, blobs.open, blobs.size):
            with pytest.raises(NotFound):
                read(ABSENT)
        assert blobs.exists(ABSENT) is False
        assert blobs.delete(ABSENT) == 0

    @pytest.mark.parametrize("digest", ["", "x", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
    def test_what_is_no_digest_is_refused(self, blobs: Blobs, digest: str) -> None:
        for use in (blobs.get, blobs.open, blobs.size, blobs.exists, blobs.delete):
            with pytest.raises(InvalidValue):
                use(digest)

    def test_deletion_frees_the_bytes(self, blobs: Blobs) -> None:
        digest = blobs.put_bytes(b"12345")

        assert blobs.delete(digest) == 5
        assert (blobs.exists(digest), list(blobs.digests())) == (False, [])

    @pytest.mark.parametrize("bit", [0, 4_001, 8 * 999 + 7], ids=["first", "middle", "last"])
    def test_a_flipped_bit_is_found_and_the_blob_named(self, blobs: Blobs, flip: Flip, bit: int) -> None:
        digest = blobs.put_bytes(b"s" * 1_000)
        flip("blob", digest, bit)

        for read in (blobs.get, blobs.open):
            with pytest.raises(Damaged, match=digest):
                read(digest)

    def test_putting_the_bytes_again_repairs_a_damaged_blob(self, blobs: Blobs, flip: Flip, tmp_path: Path) -> None:
        digest = blobs.put_bytes(b"sound")
        (tmp_path / "sound").write_bytes(b"sound")

        flip("blob", digest, 1)
        assert blobs.get(blobs.put_bytes(b"sound")) == b"sound"
        flip("blob", digest, 1)
        assert blobs.get(blobs.put_file(tmp_path / "sound")) == b"sound"

    def test_a_named_object_is_got_by_its_name(self, blobs: Blobs) -> None:
        blobs.put_named("churn/customers/data/0.parquet", b"PAR1")
        blobs.put_named("churn/empty", b"")

        assert blobs.get_named("churn/customers/data/0.parquet") == b"PAR1"
        assert blobs.get_named("churn/empty") == b""
        assert blobs.url("churn/empty").endswith("churn/empty")
        assert "://" in blobs.url("churn/empty")

    def test_a_name_is_never_overwritten(self, blobs: Blobs) -> None:
        blobs.put_named("v1.json", b"first")

        with pytest.raises(Conflict):
            blobs.put_named("v1.json", b"second")
        assert blobs.get_named("v1.json") == b"first"

    def test_of_many_that_want_a_name_one_gets_it(self, blobs: Blobs) -> None:
        won: list[bytes] = []

        def put(data: bytes) -> None:
            try:
                blobs.put_named("contested", data)
            except Conflict:
                return
            won.append(data)

        threads = [threading.Thread(target=put, args=(f"writer {n}".encode(),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [blobs.get_named("contested")] == won

    def test_an_absent_name_is_not_found(self, blobs: Blobs) -> None:
        blobs.put_named("there/below", b"x")

        for name in ("absent", "there", "there/below/more"):
            with pytest.raises(NotFound):
                blobs.get_named(name)
        assert blobs.delete_named("absent") == 0

    @pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a//b", "a/./b", "a\\b", "a\x00b", "a/", "x" * 2_000])
    def test_a_name_that_leaves_the_store_is_refused(self, blobs: Blobs, name: str) -> None:
        for use in (blobs.get_named, blobs.delete_named, blobs.url, lambda name: blobs.put_named(name, b"")):
            with pytest.raises(InvalidValue):
                use(name)

    def test_names_are_listed_by_prefix(self, blobs: Blobs) -> None:
        for name in ("a/b/1", "a/b/2", "a/bc", "z"):
            blobs.put_named(name, b"x")

        assert sorted(blobs.names()) == ["a/b/1", "a/b/2", "a/bc", "z"]
        assert sorted(blobs.names("a/b")) == ["a/b/1", "a/b/2", "a/bc"]
        assert sorted(blobs.names("a/b/")) == ["a/b/1", "a/b/2"]
        assert sorted(blobs.names("nobody/")) == []

    def test_a_deleted_name_is_free_again(self, blobs: Blobs) -> None:
        blobs.put_named("again", b"old")

        assert blobs.delete_named("again") == 3
        blobs.put_named("again", b"new one")
        assert blobs.get_named("again") == b"new one"

    @pytest.mark.parametrize("bit", [0, 79], ids=["first", "last"])
    def test_a_flipped_bit_in_a_named_object_is_found(self, blobs: Blobs, flip: Flip, bit: int) -> None:
        blobs.put_named("a/0.parquet", b"0123456789")
        flip("named", "a/0.parquet", bit)

        with pytest.raises(Damaged, match=r"a/0\.parquet"):
            blobs.get_named("a/0.parquet")
