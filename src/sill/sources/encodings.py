"""Finds out how a text file is encoded and makes UTF-8 of it, streaming."""

import codecs
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from sill.core.names import shorten
from sill.sources.failures import unreadable

CHUNK_BYTES = 1024 * 1024
ENCODINGS = (
    *("utf-8", "utf-8-sig", "ascii", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "cp1250", "cp1251"),
    *("cp1253", "cp1254", "cp1256", "cp437", "cp850", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-9"),
    *("iso-8859-15", "koi8-r", "mac-roman", "shift_jis", "cp932", "euc-jp", "euc-kr", "gb18030", "big5"),
)
_KNOWN = {codecs.lookup(name).name: name for name in ENCODINGS}


class Decoded(NamedTuple):
    """A text file as UTF-8 without byte order mark, and how it was read (empty note: as plain UTF-8)."""

    path: Path
    encoding: str
    note: str


def to_utf8(path: Path, where: str, encoding: str, workspace: Path) -> Decoded:
    """The file itself if it is plain UTF-8, else a UTF-8 copy in the workspace.

    Raises:
        InvalidValue: an encoding that is not listed, or bytes that are not valid in it.
    """
    chosen, note = (_check_encoding(encoding, where), "") if encoding else _detect(path, where)
    if chosen in ("utf-8", "ascii") and not encoding:
        return Decoded(path, chosen, "")
    descriptor, copied = tempfile.mkstemp(dir=workspace, suffix=".utf8")
    os.close(descriptor)
    copy = Path(copied)
    _transcode(path, copy, chosen, where)
    return Decoded(copy, chosen, note or f"read as {chosen}")


def _check_encoding(encoding: str, where: str) -> str:
    try:
        return _KNOWN[codecs.lookup(encoding).name]
    except (LookupError, KeyError, ValueError) as unknown:
        listed = ", ".join(ENCODINGS)
        raise unreadable(where, f"encoding {shorten(encoding)!r} is not known; allowed are {listed}.") from unknown


def _detect(path: Path, where: str) -> tuple[str, str]:
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise unreadable(where, "it is encoded in UTF-32, which is not read.", "Save it as UTF-8.")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "read as utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", "read as utf-8-sig"
    if b"\x00" in head:
        at = head.index(b"\x00")
        raise unreadable(where, f"byte {at} is NUL: it is not text, or UTF-16 without a mark.", "Save it as UTF-8.")
    if _decodes(path, "utf-8"):
        return "utf-8", ""
    fallback = "cp1252" if _decodes(path, "cp1252") else "latin-1"
    return fallback, f"not UTF-8; read as {fallback}"


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _transcode(path: Path, copy: Path, encoding: str, where: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as source, copy.open("wb") as target:
        try:
            while chunk := source.read(CHUNK_BYTES):
                target.write(decoder.decode(chunk).removeprefix("\ufeff" if done == 0 else "").encode())
                done += len(chunk)
            target.write(decoder.decode(b"", final=True).encode())
        except (UnicodeDecodeError, UnicodeEncodeError) as wrong:
            bad = wrong.object[wrong.start : wrong.start + 4] if isinstance(wrong, UnicodeDecodeError) else b""
            raise unreadable(
                where,
                f"bytes {bad.hex(' ')!r} near byte {done + wrong.start} are not valid in {encoding}.",
                "Leave `encoding` empty to have it detected, or name the right one.",
            ) from wrong
