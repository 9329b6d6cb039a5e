"""The blob contract on disk and on S3, and what only one of them can show."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from sill.core.errors import Damaged, InvalidValue, Unavailable
from sill.core.settings import Settings
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.blobs.disk import DiskBlobs
from sill.stores.blobs.objects import ObjectBlobs
from sill.stores.blobs.port import fan_out
from sill.stores.blobs.spool import LEFTOVER_AGE_S, make_spool_folder
from sill.testing.blobs import BlobsContract


def turned(data: bytes, bit: int) -> bytes:
    """The data with one bit turned."""
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


class TestDisk(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return DiskBlobs(tmp_path / "store")

    @pytest.fixture
    def flip(self, tmp_path: Path) -> Callable[[str, str, int], None]:
        def flip(kind: str, key: str, bit: int) -> None:
            path = (
                tmp_path
                / "store"
                / ("blobs" if kind == "blob" else "named")
                / (fan_out(key) if kind == "blob" else key)
            )
            path.write_bytes(turned(path.read_bytes(), bit))

        return flip


class TestS3(BlobsContract):
    @pytest.fixture
    def blobs(self, s3_url: str, tmp_path: Path) -> Blobs:
        return ObjectBlobs(s3_url, tmp_path / "spool")

    @pytest.fixture
    def flip(self, blobs: ObjectBlobs) -> Callable[[str, str, int], None]:
        def flip(kind: str, key: str, bit: int) -> None:
            path = f"blobs/{fan_out(key)}" if kind == "blob" else f"named/{key}"
            found = obstore.get(blobs._store, path)
            obstore.put(blobs._store, path, turned(bytes(found.bytes()), bit), attributes=found.attributes)

        return flip


def test_files_and_folders_are_the_owners_alone(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "store")
    blobs.put_bytes(b"x")
    blobs.put_named("a/b", b"x")

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "store")
    blobs.put_bytes(b"x")
    blobs.put_bytes(b"x")
    blobs.put_named("a", b"x")

    assert list((tmp_path / "store" / "spool").iterdir()) == []


def test_leftovers_of_dead_processes_are_removed_at_start(tmp_path: Path) -> None:
    old, young = tmp_path / "spool-old", tmp_path / "spool-young"
    old.touch()
    young.touch()
    os.utime(old, (0, young.stat().st_mtime - LEFTOVER_AGE_S - 1))
    make_spool_folder(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["spool-young"]


def test_everything_is_on_the_disk_before_a_put_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd))[1])
    blobs = DiskBlobs(tmp_path)
    digest = blobs.put_bytes(b"x")
    blobs.put_named("a/b", b"x")

    place = tmp_path / "blobs" / fan_out(digest)
    assert {str(place.parent), str(place.parent.parent), str(tmp_path / "blobs")} <= set(synced)
    assert {str(tmp_path / "named/a"), str(tmp_path / "named"), str(tmp_path / "sums/a/b.sha256")} <= set(synced)
    assert sum("spool-" in path for path in synced) == 2


def test_a_put_that_was_killed_after_its_digest_line_can_be_made_again(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    blobs._add_sum("a", "0" * 64)
    blobs.put_named("a", b"made again")

    assert blobs.get_named("a") == b"made again"


def test_a_damaged_digest_file_is_found(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    blobs.put_named("a", b"x")
    path = tmp_path / "sums" / "a.sha256"
    path.write_bytes(turned(path.read_bytes(), 3))

    with pytest.raises(Damaged):
        blobs.get_named("a")


def test_an_object_without_its_digest_is_damaged(blobs_s3: ObjectBlobs) -> None:
    obstore.put(blobs_s3._store, "named/a", b"put by somebody else")

    with pytest.raises(Damaged):
        blobs_s3.get_named("a")


@pytest.fixture
def blobs_s3(s3_url: str, tmp_path: Path) -> ObjectBlobs:
    return ObjectBlobs(s3_url, tmp_path / "spool")


def test_a_bucket_that_is_not_there_is_unavailable(s3_endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        ObjectBlobs("s3://nobody-made-this", tmp_path).put_bytes(b"x")


def test_settings_choose_the_driver(s3_url: str, tmp_path: Path) -> None:
    assert isinstance(open_blobs(Settings(home=tmp_path)), DiskBlobs)
    assert isinstance(open_blobs(Settings(home=tmp_path, blob_url=s3_url)), ObjectBlobs)
    with pytest.raises(InvalidValue):
        open_blobs(Settings(home=tmp_path, blob_url="ftp://host/x"))
