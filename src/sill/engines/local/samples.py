"""Reads the samples of an attempt. The run's own process could have written among them: what is none is left out."""

from pathlib import Path

import msgspec

from sill.core.errors import InvalidValue, NotFound
from sill.engines.local.sampling import NAME
from sill.engines.types import Sample
from sill.safety.paths import Folder

LINE_BYTES_MAX = 16 * 1024


def read_samples(folder: Path, offset: int, limit: int) -> tuple[list[Sample], int]:
    """Samples from a byte on, in order, at most `limit`; and the byte behind them."""
    found: list[Sample] = []
    if not folder.exists():
        return found, offset
    try:
        with Folder(folder).open(NAME) as file:
            file.seek(offset)
            while len(found) < limit and (line := file.readline(LINE_BYTES_MAX)).endswith(b"\n"):
                offset += len(line)
                found += _sample(line)
    except (NotFound, InvalidValue):
        return found, offset
    return found, offset


def _sample(line: bytes) -> list[Sample]:
    try:
        at_ms, gauges = msgspec.json.decode(line, type=tuple[int, dict[str, float]])
    except msgspec.DecodeError:
        return []
    return [Sample(at_ms, {name: value for name, value in gauges.items() if name.startswith("system/")})]
