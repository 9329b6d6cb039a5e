"""The archive extractor: nothing outside the folder, nothing but files, never more than allowed."""

import gzip
import io
import os
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.clock import ManualClock
from sill.core.errors import Conflict, InvalidValue, Refused, SillError, TooLarge, UnsupportedType
from sill.safety.archive import ArchiveLimits, extract, pack
from sill.safety.paths import Folder


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def tarred(*entries: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def tarred_entry(change: Callable[[tarfile.TarInfo], None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("x")
        change(entry)
        archive.addfile(entry)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "root")


FILES = (("a.txt", b"hello"), ("sub/b.bin", b"\x00" * 5_000), ("sub/deep/empty", b""))


@pytest.mark.parametrize(
    "archive",
    [
        zipped(*FILES),
        zipped(*FILES, method=zipfile.ZIP_STORED),
        tarred(*FILES),
        tarred(*FILES, form=tarfile.GNU_FORMAT),
        tarred(*FILES, form=tarfile.USTAR_FORMAT),
        gzip.compress(tarred(*FILES)),
        gzip.compress(tarred(*FILES)[:700]) + gzip.compress(tarred(*FILES)[700:]),
    ],
    ids=["zip", "stored zip", "pax", "gnu", "ustar", "tar.gz", "two-part tar.gz"],
)
def test_files_come_out_as_they_went_in(folder: Folder, archive: bytes) -> None:
    assert extract(archive, folder) == [name for name, _ in FILES]
    for name, content in FILES:
        assert (folder.root / name).read_bytes() == content


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_survive(folder: Folder, form: int) -> None:
    name = "/".join(["längerer-name-" * 8] * 3)
    assert extract(tarred((name, b"x"), form=form), folder) == [name]


def test_what_tar_writes_for_a_folder_is_read(folder: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("x")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(source, ".")
    assert extract(out.getvalue(), folder) == ["sub/file"]


NAMES = ["../x", "a/../../x", "/x", "a\\x", "..\\x", "a//x", "a/./x", "C:/x", "x\n", "a/\u202ex", "..", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_name_outside_the_grammar_is_refused(folder: Folder, make: Callable[..., bytes], name: str) -> None:
    with pytest.raises((InvalidValue, Refused)):
        extract(make(("good", b"x"), (name, b"x")), folder)
    assert folder.list() == []
    assert os.listdir(folder.root.parent) == ["root"]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_tar_with_anything_but_files_and_folders_is_refused(folder: Folder, kind: bytes) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname = kind, "/etc/passwd"

    with pytest.raises(Refused):
        extract(tarred_entry(change), folder)


def test_zip_with_a_link_is_refused(folder: Folder) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(Refused, match="link"):
        extract(out.getvalue(), folder)


def test_link_that_lies_in_the_folder_already_is_not_followed(folder: Folder) -> None:
    (folder.root / "door").symlink_to(folder.root.parent)
    with pytest.raises(SillError):
        extract(zipped(("door/x", b"x")), folder)
    assert os.listdir(folder.root.parent) == ["root"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a", "A", "a/b"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_name_that_is_there_twice_is_refused(folder: Folder, make: Callable[..., bytes], second: str) -> None:
    with pytest.raises(Refused, match="twice"):
        extract(make(("a", b"1"), (second, b"2")), folder)


def test_file_that_is_there_is_not_overwritten(folder: Folder) -> None:
    folder.create("a.txt").close()
    with pytest.raises(Conflict):
        extract(zipped(*FILES), folder)
    assert folder.list() == ["a.txt"]


def patched(archive: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = archive.index(mark) + offset
    return archive[:at] + value + archive[at + len(value) :]


GOOD = zipped(("name", b"hello"), method=zipfile.ZIP_STORED)
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@pytest.mark.parametrize(
    "archive",
    [
        patched(GOOD, LOCAL, 30, b"evil"),
        patched(GOOD, CENTRAL, 46, b"evil"),
        patched(GOOD, CENTRAL, 8, b"\x01\x00"),
        patched(patched(GOOD, CENTRAL, 8, b"\x01\x00"), LOCAL, 6, b"\x01\x00"),
        patched(GOOD, CENTRAL, 10, b"\x08\x00"),
        patched(GOOD, CENTRAL, 16, b"\x00\x00\x00\x00"),
        patched(GOOD, LOCAL, 30 + 4, b"HELLO"),
        patched(GOOD, CENTRAL, 24, b"\x04\x00\x00\x00"),
        patched(GOOD, CENTRAL, 20, b"\xff\xff\xff\xff"),
        patched(GOOD, CENTRAL, 42, b"\x05\x00\x00\x00"),
        patched(GOOD, END, 10, b"\x02\x00"),
        patched(GOOD, END, 8, b"\x00\x00\x00\x00"),
        patched(GOOD, END, 16, b"\x00\x00\x00\x00"),
        GOOD + b"tail",
        b"PK\x03\x04" + GOOD,
        GOOD[:-1],
        GOOD[:40],
        b"PK\x05\x06",
        zipped(("a", b"x" * 1_000), method=zipfile.ZIP_BZIP2),
        zipped(("a", b"x" * 1_000), method=zipfile.ZIP_LZMA),
    ],
    ids=range(20),
)
def test_zip_that_two_readers_could_see_differently_is_refused(folder: Folder, archive: bytes) -> None:
    with pytest.raises((Refused, UnsupportedType)):
        extract(archive, folder)
    assert folder.list() == []


def test_zip_whose_entries_share_their_data_is_refused(folder: Folder) -> None:
    good = zipped(("aaaa", b"x" * 1_000), ("bbbb", b"y" * 1_000))
    second = good.index(CENTRAL, good.index(CENTRAL) + 1)
    first_at = struct.pack("<L", 0)
    overlapping = good[: second + 42] + first_at + good[second + 46 :]
    overlapping = overlapping.replace(b"bbbb", b"aaaa")
    with pytest.raises(Refused):
        extract(overlapping, folder)


def test_tar_with_a_wrong_checksum_or_cut_short_is_refused(folder: Folder) -> None:
    good = tarred(*FILES)
    for broken in (b"b" + good[1:], good[:600], good[:7_168], good + b"tail", gzip.compress(good)[:-9]):
        with pytest.raises(Refused):
            extract(broken, folder)


def test_neither_zip_nor_tar_is_unsupported(folder: Folder) -> None:
    for other in (b"", b"BZh91AY", b"7z\xbc\xaf", b"x" * 1_000):
        with pytest.raises(UnsupportedType):
            extract(other, folder)


BOMB = b"\x00" * 50_000_000


@pytest.mark.parametrize("archive", [zipped(("a", BOMB)), gzip.compress(tarred(("a", BOMB)))], ids=["zip", "tar.gz"])
def test_bomb_is_refused_by_its_ratio(folder: Folder, archive: bytes) -> None:
    started = time.process_time()
    with pytest.raises(TooLarge, match="times its size"):
        extract(archive, folder)
    assert time.process_time() - started < 1
    assert folder.list() == []


@pytest.mark.parametrize("archive", [zipped(("a", BOMB)), gzip.compress(tarred(("a", BOMB))), tarred(("a", BOMB))])
def test_bytes_are_counted_while_they_are_produced(folder: Folder, archive: bytes) -> None:
    with pytest.raises(TooLarge, match="bytes"):
        extract(archive, folder, ArchiveLimits(bytes_max=1_000_000, ratio_max=1e9))


def test_zip_that_understates_its_size_is_refused(folder: Folder) -> None:
    small = patched(patched(zipped(("a", BOMB)), CENTRAL, 24, struct.pack("<L", 10)), LOCAL, 22, struct.pack("<L", 10))
    with pytest.raises(Refused, match="longer than it says"):
        extract(small, folder)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_entries_are_counted_with_the_folders_they_imply(folder: Folder, make: Callable[..., bytes]) -> None:
    with pytest.raises(TooLarge, match="entries"):
        extract(make(("a/b/c/d", b"")), folder, ArchiveLimits(entries_max=3))


def test_too_many_entries_are_refused_before_the_first_is_written(folder: Folder) -> None:
    many = zipped(*((str(number), b"") for number in range(2_000)))
    with pytest.raises(SillError, match="entries"):
        extract(many, folder, ArchiveLimits(entries_max=1_000))
    assert folder.list() == []


def test_time_is_limited_by_the_clock(folder: Folder) -> None:
    class Slow(ManualClock):
        def monotonic_s(self) -> float:
            self.advance(1)
            return super().monotonic_s()

    with pytest.raises(TooLarge, match="took longer"):
        extract(zipped(*FILES), folder, ArchiveLimits(seconds_max=2), Slow())


def test_nested_archive_stays_a_file(folder: Folder) -> None:
    assert extract(zipped(("inner.zip", zipped(*FILES))), folder) == ["inner.zip"]


def test_pack_gives_the_same_bytes_and_extracts_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for file, content in reversed(FILES) if name == "two" else FILES:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (tmp_path / name / "__pycache__").mkdir()
        (tmp_path / name / "__pycache__" / "x.pyc").write_text(name)
    packed = pack(tmp_path / "one")
    assert packed == pack(tmp_path / "two")
    assert extract(packed, Folder(tmp_path / "out")) == sorted(name for name, _ in FILES)


def test_pack_ignores_refuses_links_and_stops_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "keep").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidValue, match="link"):
        pack(tmp_path)
    with pytest.raises(TooLarge):
        pack(tmp_path, ["link"], bytes_max=99)
    assert pack(tmp_path, ["li*"]) == pack(tmp_path, ["link"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_lead_to_another_error_or_place(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    archive = bytearray(data.draw(st.sampled_from([zipped(*FILES), tarred(*FILES), gzip.compress(tarred(*FILES))])))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    base = tmp_path_factory.mktemp("flip")
    try:
        extract(bytes(archive), Folder(base / "root"))
    except SillError:
        assert list(Folder(base / "root").walk()) == []
    assert os.listdir(base) == ["root"]
