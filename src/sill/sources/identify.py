"""Says what a file is by its first bytes. A name only decides between kinds of text, which have no such mark."""

import codecs
from pathlib import Path, PurePosixPath

from sill.core.errors import UnsupportedType
from sill.core.names import shorten

HEAD_BYTES = 4_096
KINDS = ("csv", "jsonl", "json", "parquet", "excel", "arrow", "images", "text", "zip", "gzip")

_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1\x00\x00", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # the stream form begins with a continuation mark
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG\r\n\x1a\n", "images"),
    (b"\xff\xd8\xff", "images"),
    (b"GIF87a", "images"),
    (b"GIF89a", "images"),
    (b"BM", "images"),
    (b"II*\x00", "images"),
    (b"MM\x00*", "images"),
)
_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"\x7fELF", "a program", "Only data is read."),
    (b"MZ", "a program", "Only data is read."),
    (b"\xca\xfe\xba\xbe", "a program", "Only data is read."),
    (b"\xcf\xfa\xed\xfe", "a program", "Only data is read."),
    (b"#!", "a script", "Only data is read."),
    (b"\x93NUMPY", "a NumPy array file", "Save it as Parquet or CSV."),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Save it as Parquet."),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)", "Save it as .xlsx or CSV."),
    (b"SQLite format 3\x00", "a SQLite database", "Export its tables as CSV or Parquet."),
    (b"%PDF", "a PDF", "Export its tables as CSV."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Give a zip."),
    (b"Rar!", "a RAR archive", "Give a zip."),
    (b"BZh", "a bzip2 file", "Give it as gzip, zip or plain."),
    (b"\xfd7zXZ", "an xz file", "Give it as gzip, zip or plain."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "Give it as gzip, zip or plain."),
    (b"ORC", "an ORC file", "Save it as Parquet."),
    (b"Obj\x01", "an Avro file", "Save it as Parquet."),
)
_TEXT_ENDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".tab": "csv"}
_PLAIN_ENDS = {".txt", ".md", ".text", ".rst", ".log"}


def identify(path: Path, name: str) -> str:
    """One of `KINDS`.

    Raises:
        UnsupportedType: a program, a pickle, or another format that is not read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    refuse_dangerous(head, name)
    if head[:4] == b"PK\x03\x04":
        return "excel" if is_workbook(path) else "zip"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "images"
    for mark, kind in _MARKS:
        if head.startswith(mark) and not (mark == b"BM" and _is_text(head)):
            return kind
    if not _is_text(head):
        raise _unsupported(name, "bytes of no known kind", "Give CSV, JSON, Parquet, Excel, Arrow, images or text.")
    return _text_kind(head, name)


def refuse_dangerous(head: bytes, name: str) -> None:
    """Refuses programs, pickles and listed formats that are not read.

    Raises:
        UnsupportedType: it is one of them.
    """
    # PROTO opcode, and the STOP or FRAME that follow tell a pickle from text; protocol 0 and 1 look like text and
    # are never loaded either way.
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        raise _unsupported(name, "a pickle, which can run code when it is loaded", "Save it as Parquet or CSV.")
    for mark, what, fix in _REFUSED:
        if head.startswith(mark) and not (mark in (b"MZ", b"ORC", b"BZh", b"#!") and _reads_as_table(head)):
            raise _unsupported(name, what, fix)


def is_workbook(path: Path) -> bool:
    """True if a zip holds an Excel workbook."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _reads_as_table(head: bytes) -> bool:
    """True if text such as a CSV whose first column is named `MZ…` only looks like the mark of another format."""
    first = head.splitlines()[0] if head else b""
    return _is_text(head) and b"\x00" not in head and any(mark in first for mark in (b",", b";", b"\t", b"|"))


def _is_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    # Control characters other than tab, line feed, form feed and carriage return do not stand in text.
    return not any(byte < 32 and byte not in b"\t\n\f\r" for byte in head)


def _text_kind(head: bytes, name: str) -> str:
    end = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    if end in _PLAIN_ENDS:
        return "text"
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if start == b"[" and end != ".csv":
        return "json"
    if start == b"{" and end != ".csv":
        return "json" if end == ".json" else "jsonl"
    return _TEXT_ENDS.get(end, "csv") if end in (".csv", ".tsv", ".tab") else "csv"


def _unsupported(name: str, what: str, fix: str) -> UnsupportedType:
    return UnsupportedType(f"{shorten(name, 200)} is {what}; it is not read.", fix=fix, source=name)
