"""Where the requests in a journal go: kept beside them, so that nobody sends them, and a token with them, elsewhere."""

import os
import time
from pathlib import Path

import msgspec

NAME = "place.json"


class SpoolPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the process that wrote it down last."""

    url: str = ""
    pid: int = 0
    at_us: int = 0


def write_place(folder: Path, url: str) -> None:
    """Keep where the journal in the folder goes."""
    place = SpoolPlace(url=url, pid=os.getpid(), at_us=time.time_ns() // 1_000)
    fresh = folder / f"{NAME}.new"
    fresh.write_bytes(msgspec.json.encode(place))
    fresh.rename(folder / NAME)


def read_place(folder: Path) -> SpoolPlace:
    """Where the journal in the folder goes; nowhere, if that is not known."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=SpoolPlace)
    except (OSError, msgspec.DecodeError):
        return SpoolPlace()
